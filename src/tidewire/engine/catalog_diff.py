"""What differs between two states of the catalogue, as far as subscriptions care."""

from __future__ import annotations

from tidewire.core.catalog import Catalog


class CatalogDiff:
    """Compares two states once; then answers are look-ups.

    Attributes:
        tables: Tables that came, went or changed, also by a type of one of their columns.
        access: (role, table) pairs whose access differs.
    """

    __slots__ = ("access", "tables")

    def __init__(self, old: Catalog, new: Catalog) -> None:
        types: set[int] = set()
        if old.types is not new.types:
            oids = old.types.keys() | new.types.keys()
            types = {oid for oid in oids if old.types.get(oid) != new.types.get(oid)}
        self.tables: set[int] = set()
        for oid in old.tables.keys() | new.tables.keys():
            table = new.tables.get(oid)
            if old.tables.get(oid) != table or (
                table is not None and any(column.type_oid in types for column in table.columns)
            ):
                self.tables.add(oid)
        self.access: set[tuple[str, int]] = set()
        for role, accesses in new.access.items():
            before, after = old.access.get(role) or {}, accesses or {}
            self.access.update(
                (role, oid)
                for oid in before.keys() | after.keys()
                if before.get(oid) != after.get(oid)
            )

    def __bool__(self) -> bool:
        return bool(self.tables or self.access)

    def touches(self, role: str, table_oid: int) -> bool:
        """Whether what a role may expect of a table may have changed."""
        return table_oid in self.tables or (role, table_oid) in self.access
