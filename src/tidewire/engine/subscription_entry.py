"""One requested entry of a join's `postgres_changes`, read and checked in itself.

Source: wire specification 6.5, 6.7.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from tidewire.core.change import ChangeKind
from tidewire.core.errors import InvalidSubscriptionError
from tidewire.core.filter import Condition, Operator
from tidewire.core.filter_parse import parse_filter

ANY = "*"
ALL_KINDS = frozenset({ChangeKind.INSERT, ChangeKind.UPDATE, ChangeKind.DELETE})
_KINDS = {kind.value: frozenset({kind}) for kind in ALL_KINDS}
_SHOWN_CHARS_MAX = 500


class Entry(msgspec.Struct, frozen=True):
    """What one entry asks for.

    Attributes:
        kinds: Which changes.
        schema: Schema name or ``*``.
        table: Table name or ``*``.
        conditions: What rows must meet.
        select: Columns wanted, besides the primary key; None for all.
        event: The event for messages, ``*`` for all.
        leaves: Whether it wants to hear of rows that leave its filter or its sight.
    """

    kinds: frozenset[ChangeKind]
    schema: str
    table: str
    conditions: tuple[Condition, ...] = ()
    select: frozenset[str] | None = None
    event: str = ANY
    leaves: bool = False

    @property
    def is_wildcard(self) -> bool:
        """Whether it may mean several tables."""
        return ANY in (self.schema, self.table)

    def describe(self) -> str:
        """The entry as error messages show it."""
        filters = ", ".join(map(_describe_condition, self.conditions))
        select = (
            "nil" if self.select is None else f"[{', '.join(map(_quote, sorted(self.select)))}]"
        )
        return (
            f"[event: {self.event}, schema: {self.schema}, table: {self.table}, "
            f"filters: [{filters}], select: {select}]"
        )


def parse_entry(request: dict[str, Any]) -> Entry:
    """Read an entry.

    Raises:
        InvalidSubscriptionError: It names nothing, or its `select` is no list or stands with a
            wildcard; the message is the wire's.
        InvalidFilterError: Its filter does not parse; the message is the wire's.
    """
    schema, table, text = request.get("schema"), request.get("table"), request.get("filter", "")
    names_fit = all(name is None or isinstance(name, str) for name in (schema, table))
    if not names_fit or (schema is None and table is None) or not isinstance(text, str):
        raise InvalidSubscriptionError(
            "No subscription params provided. Please provide at least a `schema` or `table` "
            f"to subscribe to: {_show(request)}"
        )
    event = request.get("event")
    name = event.upper() if isinstance(event, str) else ANY
    entry = Entry(
        kinds=_KINDS.get(name, ALL_KINDS),
        schema="public" if schema is None else schema,
        table=ANY if table is None else table,
        conditions=parse_filter(text),
        select=_parse_select(request.get("select")),
        event=name if name in _KINDS else ANY,
        leaves=request.get("leaves") is True,
    )
    if entry.select is not None and entry.is_wildcard:
        raise InvalidSubscriptionError(
            "Column selection is not supported for wildcard subscriptions. "
            "Provide an explicit schema and table name."
        )
    return entry


def _parse_select(value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise InvalidSubscriptionError(
            "Error parsing `select` params: expected a list of column name strings, "
            'e.g. select: ["col1", "col2"]'
        )
    items = cast("list[Any]", value)
    return frozenset(item for item in items if isinstance(item, str)) or None


def _show(request: dict[str, Any]) -> str:
    """The request for an error message, without secrets and not at any length."""
    shown = {
        key: "<redacted>" if _is_secret(key, value) else value for key, value in request.items()
    }
    return msgspec.json.encode(shown).decode()[:_SHOWN_CHARS_MAX]


def _is_secret(key: str, value: Any) -> bool:
    looks_like_token = isinstance(value, str) and value.startswith(("eyJ", "sb_"))
    return looks_like_token or any(word in key.lower() for word in ("token", "key", "jwt"))


def _describe_condition(condition: Condition) -> str:
    values = ",".join("NULL" if value is None else value for value in condition.values)
    value = f"({values})" if condition.operator is Operator.IN else values
    operator = f"not.{condition.operator.value}" if condition.negated else condition.operator.value
    return f"{{{_quote(condition.column)}, {_quote(operator)}, {_quote(value)}}}"


def _quote(text: str) -> str:
    return msgspec.json.encode(text).decode()
