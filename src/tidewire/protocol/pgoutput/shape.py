"""How a column's text becomes JSON, worked out once per column from the catalogue.

A `Shape` is a small tree that both renderers (`text_values` and the compiled `_render`) walk,
so the rules of which type renders how stand here only.

Source: PostgreSQL's `to_jsonb`: `json_categorize_type` in `src/backend/utils/adt/jsonfuncs.c`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from json.encoder import encode_basestring

import msgspec

from tidewire.core.catalog import TypeInfo, TypeKind

NESTING_MAX = 32
"""Types nested deeper render as strings; PostgreSQL forbids recursive types."""


class ShapeKind(enum.IntEnum):
    """What the text is. The numbers are known to `_render.pyx` too."""

    STRING = 0
    NUMBER = 1
    BOOLEAN = 2
    JSON = 3
    TIMESTAMP = 4
    TIMESTAMP_TZ = 5
    ARRAY = 6
    VECTOR = 7
    COMPOSITE = 8


class Shape(msgspec.Struct, frozen=True):
    """How one type's text is to be read.

    Attributes:
        kind: What the text is.
        element: Shape of an array's or vector's elements.
        delimiter: Separator between an array's elements, one byte.
        names: For a composite, each field's name as JSON text with a colon, UTF-8.
        fields: For a composite, the shapes of its fields.
    """

    kind: ShapeKind
    element: Shape | None = None
    delimiter: bytes = b","
    names: tuple[bytes, ...] = ()
    fields: tuple[Shape, ...] = ()


STRING = Shape(ShapeKind.STRING)
NUMBER = Shape(ShapeKind.NUMBER)

_SCALARS: dict[int, Shape] = {
    16: Shape(ShapeKind.BOOLEAN),  # bool
    20: NUMBER,  # int8
    21: NUMBER,  # int2
    23: NUMBER,  # int4
    700: NUMBER,  # float4
    701: NUMBER,  # float8
    1700: NUMBER,  # numeric
    114: Shape(ShapeKind.JSON),  # json
    3802: Shape(ShapeKind.JSON),  # jsonb
    1114: Shape(ShapeKind.TIMESTAMP),
    1184: Shape(ShapeKind.TIMESTAMP_TZ),
    22: Shape(ShapeKind.VECTOR, element=NUMBER),  # int2vector
    30: Shape(ShapeKind.VECTOR, element=STRING),  # oidvector
}


def key_prefix(name: str) -> bytes:
    """`name` as a JSON object's key with its colon."""
    return encode_basestring(name).encode() + b":"


def shape_of(type_oid: int, types: Mapping[int, TypeInfo], *, depth: int = 0) -> Shape:
    """The shape of a type.

    Args:
        type_oid: `pg_type.oid`.
        types: The catalogue; a type it lacks renders as a string unless it is built in.
        depth: How deep in another type this one stands.
    """
    scalar = _SCALARS.get(type_oid)
    info = types.get(type_oid)
    if scalar is not None:
        return scalar
    if info is None or depth >= NESTING_MAX:
        return STRING
    if info.kind is TypeKind.DOMAIN:
        return shape_of(info.base_oid, types, depth=depth + 1)
    if info.kind is TypeKind.ARRAY:
        return _array_shape(info, types, depth)
    if info.kind is TypeKind.COMPOSITE:
        return Shape(
            ShapeKind.COMPOSITE,
            names=tuple(key_prefix(name) for name, _ in info.fields),
            fields=tuple(shape_of(oid, types, depth=depth + 1) for _, oid in info.fields),
        )
    return STRING


def _array_shape(info: TypeInfo, types: Mapping[int, TypeInfo], depth: int) -> Shape:
    # The manual: the delimiter belongs to the element's type, not to the array's.
    element = types.get(info.element_oid)
    delimiter = element.delimiter if element is not None else info.delimiter
    return Shape(
        ShapeKind.ARRAY,
        element=shape_of(info.element_oid, types, depth=depth + 1),
        delimiter=delimiter.encode()[:1] or b",",
    )
