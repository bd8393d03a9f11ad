"""What the database's catalogue says, as one immutable value.

A `Catalog` is read whole and replaced whole: whoever holds one sees one state of the
database. Lookups never raise; an absent thing is None.
"""

from __future__ import annotations

import enum

import msgspec

from tidewire.core.row_policy import RowPolicy


class TypeKind(enum.Enum):
    """Source: `pg_type.typtype`, with arrays told apart (`typelem` and `typlen` = -1)."""

    BASE = "b"
    COMPOSITE = "c"
    DOMAIN = "d"
    ENUM = "e"
    MULTIRANGE = "m"
    PSEUDO = "p"
    RANGE = "r"
    ARRAY = "a"


class TypeInfo(msgspec.Struct, frozen=True):
    """One data type.

    Attributes:
        oid: `pg_type.oid`.
        name: `typname`, such as ``int8`` or ``_text``.
        kind: What it is built as.
        base_oid: The domain's base type; 0 otherwise.
        element_oid: The array's element type; 0 otherwise.
        delimiter: Separator between array elements, nearly always a comma.
        fields: A composite's (column name, type oid), dropped columns left out.
        labels: An enum's labels in sort order.
        category: `typcategory`; ``S`` for text-like types.
    """

    oid: int
    name: str
    kind: TypeKind = TypeKind.BASE
    base_oid: int = 0
    element_oid: int = 0
    delimiter: str = ","
    fields: tuple[tuple[str, int], ...] = ()
    labels: tuple[str, ...] = ()
    category: str = "U"


class TableColumn(msgspec.Struct, frozen=True):
    """One column of a table, in attribute order.

    Attributes:
        name: Column name.
        type_oid: Its data type.
        is_primary_key: Whether the primary key holds it.
        is_collation_c: Whether its text sorts by bytes (C, POSIX or builtin C.UTF-8), so that
            order can be judged without asking the database. True for types without collation.
        is_deterministic: False for a non-deterministic collation: equal does not mean same bytes.
    """

    name: str
    type_oid: int
    is_primary_key: bool = False
    is_collation_c: bool = True
    is_deterministic: bool = True


class Table(msgspec.Struct, frozen=True):
    """One table of the publication.

    Attributes:
        oid: `pg_class.oid`.
        schema: Schema name.
        name: Table name.
        columns: In attribute order, dropped ones left out.
        has_row_security: `relrowsecurity`.
        publishes: Which of INSERT, UPDATE, DELETE the publication carries.
    """

    oid: int
    schema: str
    name: str
    columns: tuple[TableColumn, ...]
    has_row_security: bool = False
    publishes: frozenset[str] = frozenset({"INSERT", "UPDATE", "DELETE"})


class TableAccess(msgspec.Struct, frozen=True):
    """What one role may read of one table.

    Attributes:
        columns: Names with the SELECT privilege; empty when it has none.
        bypasses_row_security: Row security is off, or does not bind this role (superuser,
            BYPASSRLS, owner without FORCE).
        has_whole_table: The privilege is on the table itself, so it covers columns that the
            catalogue no longer has under the name that an earlier change knows them by.
        policy: What every row must be judged by; None where row security does not bind.
    """

    columns: frozenset[str]
    bypasses_row_security: bool
    has_whole_table: bool = False
    policy: RowPolicy | None = None


class Catalog(msgspec.Struct, frozen=True):
    """One state of the catalogue.

    Attributes:
        fingerprint: Changes whenever anything here may have changed.
        tables: Tables of the publication by oid.
        types: Data types by oid: all of pg_catalog, and user types.
        access: For each role that was asked about, table oid to access. A role that does not
            exist maps to None.
        default_collation_is_c: Whether the database sorts text by bytes.
    """

    fingerprint: str
    tables: dict[int, Table]
    types: dict[int, TypeInfo]
    access: dict[str, dict[int, TableAccess] | None]
    default_collation_is_c: bool = True

    def find_tables(self, schema: str, name: str) -> list[Table]:
        """Tables that match; ``*`` stands for any schema or any table."""
        return [
            table
            for table in self.tables.values()
            if schema in ("*", table.schema) and name in ("*", table.name)
        ]
