"""Reads the text of a `filter`.

    filter = condition *("," condition)
    condition = column "=" ["not."] operator "." value

Commas divide only outside of parentheses and quotes; a quote opens only right after ``.``,
``(`` or ``,``; within quotes a backslash takes the next character as it is. Every function
looks at each character a bounded number of times. Source: wire specification 6.6, 6.7.
"""

from __future__ import annotations

import json

from tidewire.core.errors import InvalidFilterError
from tidewire.core.filter import Condition, Operator

FILTER_CHARS_MAX = 65_536
CONDITIONS_MAX = 100

_OPERATORS = {operator.value: operator for operator in Operator}
_QUOTE_OPENS_AFTER = (".", "(", ",")
_SPACE = " \t\n\r\v\f"  # what PostgreSQL's array reader takes for white space


def parse_filter(text: str) -> tuple[Condition, ...]:
    """Read a filter; blank gives no conditions.

    Raises:
        InvalidFilterError: It does not parse; the message is the one of the wire.
    """
    if not text.strip():
        return ()
    if len(text) > FILTER_CHARS_MAX:
        raise _refusal(f"filter is longer than {FILTER_CHARS_MAX} characters")
    segments = [segment.strip() for segment in _split_conditions(text)]
    if not all(segments):
        raise _refusal("filter must not contain empty segments (check for extra commas)")
    if len(segments) > CONDITIONS_MAX:
        raise _refusal(f"filter has more than {CONDITIONS_MAX} conditions")
    return tuple(map(_parse_condition, segments))


def _refusal(detail: str) -> InvalidFilterError:
    return InvalidFilterError(f"Error parsing `filter` params: {detail}")


def _wrong_parts(*parts: str) -> InvalidFilterError:
    listed = ", ".join(json.dumps(part, ensure_ascii=False) for part in parts)
    return _refusal(f"[{listed}]")


def _split_conditions(text: str) -> list[str]:
    segments: list[str] = []
    start = depth = position = 0
    previous = ""
    while position < len(text):
        char = text[position]
        if char == '"' and previous in _QUOTE_OPENS_AFTER:
            closing = _quote_end(text, position)
            position = closing if closing >= 0 else len(text)
        elif char == "(":
            depth += 1
        elif char == ")":
            depth = max(0, depth - 1)
        elif char == "," and not depth:
            segments.append(text[start:position])
            start = position + 1
        previous = char
        position += 1
    segments.append(text[start:])
    return segments


def _quote_end(text: str, opening: int) -> int:
    """Index of the quote that closes the one at `opening`; -1 when none does."""
    position = opening + 1
    while position < len(text):
        if text[position] == '"':
            return position
        position += 2 if text[position] == "\\" else 1
    return -1


def _parse_condition(segment: str) -> Condition:
    column, equals, rest = segment.partition("=")
    if not equals:
        raise _wrong_parts(segment)
    negated = rest.startswith("not.")
    name, dot, raw = rest.removeprefix("not.").partition(".")
    if not dot:
        raise _wrong_parts(name)
    operator = _OPERATORS.get(name)
    if operator is None:
        raise _wrong_parts(name, raw)
    if operator is Operator.IN:
        return Condition(column, operator, _parse_list(raw), negated)
    return Condition(column, operator, (_unquote(raw),), negated)


def _unquote(raw: str) -> str:
    """The text within quotes that span all of `raw`; else `raw` as it is."""
    if raw[:1] != '"' or _quote_end(raw, 0) != len(raw) - 1:
        return raw
    return _unescape(raw[1:-1])


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    out: list[str] = []
    position = 0
    while position < len(text):
        if text[position] == "\\" and position + 1 < len(text):
            position += 1
        out.append(text[position])
        position += 1
    return "".join(out)


def _parse_list(raw: str) -> tuple[str | None, ...]:
    if len(raw) < 2 or raw[0] != "(" or raw[-1] != ")":
        raise _refusal("`in` filter value must be wrapped by parentheses")
    body = raw[1:-1]
    if not body.strip(_SPACE):
        return ()
    items: list[str | None] = []
    position = 0
    while True:
        item, position = _read_item(body, position)
        items.append(item)
        if position >= len(body):
            return tuple(items)
        position += 1  # the comma


def _read_item(body: str, position: int) -> tuple[str | None, int]:
    """One item and the index of the comma after it, or the end.

    Source: PostgreSQL manual, "Array Input and Output Syntax".
    """
    while position < len(body) and body[position] in _SPACE:
        position += 1
    if position < len(body) and body[position] == '"':
        return _read_quoted_item(body, position)
    start = position
    while position < len(body) and body[position] != ",":
        if body[position] in '{}"':
            raise _malformed_list()
        position += 2 if body[position] == "\\" else 1
    if position > len(body):
        raise _malformed_list()
    item = body[start:position]
    if "\\" not in item:
        item = item.rstrip(_SPACE)
        if not item:
            raise _malformed_list()
        return (None if item.upper() == "NULL" else item), position
    return _unescape(_strip_unescaped(item)), position


def _read_quoted_item(body: str, opening: int) -> tuple[str, int]:
    closing = _quote_end(body, opening)
    if closing < 0:
        raise _malformed_list()
    position = closing + 1
    while position < len(body) and body[position] in _SPACE:
        position += 1
    if position < len(body) and body[position] != ",":
        raise _malformed_list()
    return _unescape(body[opening + 1 : closing]), position


def _strip_unescaped(item: str) -> str:
    """Without trailing white space, but with a space that a backslash escapes."""
    stripped = item.rstrip(_SPACE)
    backslashes = len(stripped) - len(stripped.rstrip("\\"))
    escaped = len(stripped) < len(item) and backslashes % 2 == 1
    return stripped + item[len(stripped)] if escaped else stripped


def _malformed_list() -> InvalidFilterError:
    return _refusal("malformed list in `in` filter")
