"""PostgreSQL's text forms to JSON text, in pure Python: the twin of `_render.pyx`.

Each function takes one value's text as the stream has it (UTF-8; ISO dates, UTC, hex bytea)
and gives JSON text as `to_jsonb` would, but with the digits of numbers kept as they are.
`docs/reference/values.md` lists the types.

Anything that PostgreSQL could not have printed raises ProtocolViolationError, or ValueError or
IndexError, which `render` turns into one; the compiled twin refuses the same texts.

Source: PostgreSQL manual, "Array Input and Output Syntax", "Composite Type Input and Output
Syntax"; `datum_to_jsonb_internal` in `src/backend/utils/adt/jsonb.c`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from json.encoder import encode_basestring

from tidewire.protocol.pgoutput.row import malformed_row
from tidewire.protocol.pgoutput.shape import Shape, ShapeKind

ValueRenderer = Callable[[bytes], bytes]

DIMENSIONS_MAX = 6
"""Depth of braces in an array's text. Source: `MAXDIM`."""

_LONG = 100
_SPECIAL = bytes(range(32)) + b'"\\'
_usual_timestamp_tz = re.compile(rb"(\d{4}-\d\d-\d\d) (\d\d:\d\d:[\d.]+\+\d\d)").fullmatch
_QUOTE, _COMMA, _OPEN, _CLOSE, _BRACKET, _BACKSLASH = b'",{}[\\'
_PAREN_OPEN, _PAREN_CLOSE = b"()"


def render_string(text: bytes) -> bytes:
    """A JSON string, escaped as PostgreSQL's `escape_json` does."""
    # Looking first pays for long texts only (0.4 against 0.8 us at 200 bytes).
    if len(text) > _LONG and len(text.translate(None, _SPECIAL)) == len(text):
        return b'"' + text + b'"'
    try:
        return encode_basestring(text.decode()).encode()
    except UnicodeDecodeError:
        # No UTF-8 (a SQL_ASCII database) passes through here; `render` mends the whole row.
        escaped = encode_basestring(text.decode("utf-8", "surrogateescape"))
        return escaped.encode("utf-8", "surrogateescape")


def render_number(text: bytes) -> bytes:
    """The number's own digits; NaN and the infinities as strings, which end in a letter."""
    return text if text[-1] < 58 else render_string(text)


def render_boolean(text: bytes) -> bytes:
    """``t`` or ``f``."""
    return b"true" if text == b"t" else b"false"


def render_json(text: bytes) -> bytes:
    """Already JSON."""
    if not text:
        raise malformed_row()
    return text


def render_timestamp(text: bytes) -> bytes:
    """ISO 8601: a ``T`` between date and time; ``infinity`` stays a word."""
    return render_string(text.replace(b" ", b"T", 1) if _is_moment(text) else text)


def render_timestamp_tz(text: bytes) -> bytes:
    """As `render_timestamp`, the offset always with minutes: ``+00`` becomes ``+00:00``."""
    usual = _usual_timestamp_tz(text)
    if usual is not None:
        return b'"%bT%b:00"' % usual.groups()
    if not _is_moment(text):
        return render_string(text)
    era = b" BC" if text.endswith(b" BC") else b""
    moment = text[: len(text) - len(era)].replace(b" ", b"T", 1)
    minutes = b":00" if moment[-3:-2] in (b"+", b"-") else b""
    return render_string(moment + minutes + era)


def _is_moment(text: bytes) -> bool:
    return text[:1].isdigit() and b" " in text


def renderer_of(shape: Shape) -> ValueRenderer:
    """The function that renders texts of this shape."""
    scalar = _SCALARS.get(shape.kind)
    if scalar is not None:
        return scalar
    if shape.kind is ShapeKind.COMPOSITE:
        return _CompositeRenderer(shape)
    assert shape.element is not None, "an array has an element"
    element = renderer_of(shape.element)
    if shape.kind is ShapeKind.VECTOR:
        return lambda text: b"[" + b",".join([element(item) for item in text.split()]) + b"]"
    return _ArrayRenderer(element, shape.delimiter)


_SCALARS: dict[ShapeKind, ValueRenderer] = {
    ShapeKind.STRING: render_string,
    ShapeKind.NUMBER: render_number,
    ShapeKind.BOOLEAN: render_boolean,
    ShapeKind.JSON: render_json,
    ShapeKind.TIMESTAMP: render_timestamp,
    ShapeKind.TIMESTAMP_TZ: render_timestamp_tz,
}


class _ArrayRenderer:
    """Renders ``{1,NULL,"a b"}``, nested and with bounds, as a JSON array."""

    def __init__(self, element: ValueRenderer, delimiter: bytes) -> None:
        self._element = element
        self._delimiter = delimiter[0]
        stop = re.escape(delimiter)
        # An element without quotes holds no brace, quote, backslash or delimiter.
        self._bare = re.compile(rb'[^{}"\\' + stop + rb"]+")
        self._flat = re.compile(rb'\{[^{}"\\]+\}').fullmatch
        self._split = delimiter

    def __call__(self, text: bytes) -> bytes:
        if text == b"{}":
            return b"[]"
        if self._flat(text) is not None:  # flat and without quotes: the usual case
            items = text[1:-1].split(self._split)
            return b"[" + b",".join([self._bare_item(item) for item in items]) + b"]"
        start = text.index(b"=") + 1 if text[0] == _BRACKET else 0
        out: list[bytes] = []
        end = self._nested(text, start, 1, out)
        if end != len(text):
            raise malformed_row()
        return b"".join(out)

    def _bare_item(self, item: bytes) -> bytes:
        if not item:
            raise malformed_row()
        return b"null" if item == b"NULL" else self._element(item)

    def _nested(self, text: bytes, position: int, depth: int, out: list[bytes]) -> int:
        """Render the braces that open at `position`; returns the place behind them."""
        if depth > DIMENSIONS_MAX or text[position] != _OPEN:
            raise malformed_row()
        out.append(b"[")
        position += 1
        if text[position] == _CLOSE:
            out.append(b"]")
            return position + 1
        while True:
            position = self._item(text, position, depth, out)
            mark = text[position]
            position += 1
            if mark == _CLOSE:
                out.append(b"]")
                return position
            if mark != self._delimiter:
                raise malformed_row()
            out.append(b",")

    def _item(self, text: bytes, position: int, depth: int, out: list[bytes]) -> int:
        first = text[position]
        if first == _OPEN:
            return self._nested(text, position, depth + 1, out)
        if first == _QUOTE:
            value, position = _unquote(text, position, doubled=False)
            out.append(self._element(value))
            return position
        bare = self._bare.match(text, position)
        if bare is None:
            raise malformed_row()
        out.append(self._bare_item(bare[0]))
        return bare.end()


class _CompositeRenderer:
    """Renders ``(1,"a b",)`` as an object of the composite's fields."""

    _bare = re.compile(rb'[^"\\,()]*')

    def __init__(self, shape: Shape) -> None:
        renderers = [renderer_of(field) for field in shape.fields]
        self._plan = list(zip(shape.names, renderers, strict=True))

    def __call__(self, text: bytes) -> bytes:
        if text[0] != _PAREN_OPEN:
            raise malformed_row()
        position = 1
        out: list[bytes] = []
        for index, (name, render) in enumerate(self._plan):
            if index:
                if text[position] != _COMMA:
                    raise malformed_row()
                position += 1
            value, position = self._field(text, position)
            out.append(name + (b"null" if value is None else render(value)))
        if text[position] != _PAREN_CLOSE or position + 1 != len(text):
            raise malformed_row()
        return b"{" + b",".join(out) + b"}"

    def _field(self, text: bytes, position: int) -> tuple[bytes | None, int]:
        if text[position] == _QUOTE:
            return _unquote(text, position, doubled=True)
        bare = self._bare.match(text, position)
        assert bare is not None, "the pattern matches the empty text"
        return bare[0] or None, bare.end()


_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_DOUBLED = re.compile(rb'\\(.)|"(")', re.DOTALL)
# Possessive, so that a text without its closing quote is refused in linear time.
_QUOTED = re.compile(rb'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_QUOTED_DOUBLED = re.compile(rb'"((?:[^"\\]++|\\.|"")*+)"', re.DOTALL)


def _unquote(text: bytes, position: int, *, doubled: bool) -> tuple[bytes, int]:
    """The value whose opening quote stands at `position`, and the place behind the closing one.

    Args:
        text: The whole array or record.
        position: Where the opening quote is.
        doubled: Whether ``""`` stands for a quote, as in records.
    """
    quoted = (_QUOTED_DOUBLED if doubled else _QUOTED).match(text, position)
    if quoted is None:
        raise malformed_row()
    body = quoted[1]
    if doubled and (b"\\" in body or b'"' in body):
        body = _DOUBLED.sub(_kept_byte, body)
    elif b"\\" in body:
        body = _ESCAPED.sub(rb"\1", body)
    return body, quoted.end()


def _kept_byte(match: re.Match[bytes]) -> bytes:
    return match[1] or match[2]
