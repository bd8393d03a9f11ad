"""Rows as JSON: fixed cases by each twin, then the twins against each other on anything."""

# ruff: noqa: E501 - tables of cases keep one case a line

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rows import make_row
from tidewire.core.catalog import TypeInfo, TypeKind
from tidewire.core.change import Relation, RelationColumn, ReplicaIdentity
from tidewire.core.errors import ProtocolViolationError
from tidewire.protocol.pgoutput import compiled
from tidewire.protocol.pgoutput.render import RowRenderer, renderer_name

BOOL, INT8, TEXT, JSON, NUMERIC, TIMESTAMP, TIMESTAMPTZ = 16, 20, 25, 114, 1700, 1114, 1184
TYPES = {
    info.oid: info
    for info in (
        TypeInfo(INT8, "int8"),
        TypeInfo(TEXT, "text"),
        TypeInfo(603, "box", delimiter=";"),
        TypeInfo(22, "int2vector", TypeKind.ARRAY, element_oid=21),
        TypeInfo(1016, "_int8", TypeKind.ARRAY, element_oid=INT8),
        TypeInfo(1009, "_text", TypeKind.ARRAY, element_oid=TEXT),
        TypeInfo(199, "_json", TypeKind.ARRAY, element_oid=JSON),
        TypeInfo(1020, "_box", TypeKind.ARRAY, element_oid=603),
        TypeInfo(9001, "mood", TypeKind.ENUM, labels=("ok",)),
        TypeInfo(9002, "posint", TypeKind.DOMAIN, base_oid=INT8),
        TypeInfo(9003, "ints", TypeKind.DOMAIN, base_oid=1016),
        TypeInfo(9004, "_ints", TypeKind.ARRAY, element_oid=9003),
        TypeInfo(9005, "pair", TypeKind.COMPOSITE, fields=(("a", INT8), ('b"', TEXT))),
        TypeInfo(9006, "_pair", TypeKind.ARRAY, element_oid=9005),
        TypeInfo(9007, "deep", TypeKind.COMPOSITE, fields=(("p", 9005), ("l", 9006))),
        TypeInfo(9008, "none", TypeKind.COMPOSITE),
        TypeInfo(3904, "int4range", TypeKind.RANGE),
    )
}


def relation(*type_oids: int) -> Relation:
    columns = (RelationColumn(f"c{i}", oid, is_key=i == 0) for i, oid in enumerate(type_oids))
    return Relation(1, "public", "t", ReplicaIdentity.DEFAULT, tuple(columns))


CASES = [
    (BOOL, b"t", "true"),
    (BOOL, b"f", "false"),
    (INT8, b"9007199254740993", "9007199254740993"),
    (NUMERIC, b"123.4500", "123.4500"),
    (NUMERIC, b"NaN", '"NaN"'),
    (NUMERIC, b"-Infinity", '"-Infinity"'),
    (701, b"1e+20", "1e+20"),
    (26, b"42", '"42"'),
    (TEXT, b"", '""'),
    (TEXT, b'a"\\\b\f\n\r\t\x01\x7f', '"a\\"\\\\\\b\\f\\n\\r\\t\\u0001\x7f"'),
    (TEXT, "日本é".encode(), '"日本é"'),
    (TEXT, b"bad \xff\xc3", '"bad ��"'),
    (17, b"\\xdead", '"\\\\xdead"'),
    (JSON, b'{"a": [1]}', '{"a": [1]}'),
    (TIMESTAMP, b"2024-01-02 03:04:05.6", '"2024-01-02T03:04:05.6"'),
    (TIMESTAMP, b"infinity", '"infinity"'),
    (TIMESTAMP, b"0044-03-15 00:00:00 BC", '"0044-03-15T00:00:00 BC"'),
    (TIMESTAMPTZ, b"2024-01-02 03:04:05+00", '"2024-01-02T03:04:05+00:00"'),
    (TIMESTAMPTZ, b"123456-01-02 03:04:05-05:30", '"123456-01-02T03:04:05-05:30"'),
    (TIMESTAMPTZ, b"0044-03-15 00:00:00+00 BC", '"0044-03-15T00:00:00+00:00 BC"'),
    (TIMESTAMPTZ, b"-infinity", '"-infinity"'),
    (9001, b"ok", '"ok"'),
    (9002, b"5", "5"),
    (3904, b"[1,5)", '"[1,5)"'),
    (99999, b"{1,2}", '"{1,2}"'),
    (22, b"1 2 3", "[1,2,3]"),
    (22, b"", "[]"),
    (1016, b"{}", "[]"),
    (1016, b"{1,NULL,3}", "[1,null,3]"),
    (1016, b"[2:3]={7,8}", "[7,8]"),
    (1016, b"{{1,2},{3,NULL}}", "[[1,2],[3,null]]"),
    (1009, b'{a,"b,c","d\\"e",NULL,"NULL","x\\\\y",""}', '["a","b,c","d\\"e",null,"NULL","x\\\\y",""]'),
    (199, b'{"{\\"k\\": \\"v,\\\\\\"q\\"}"}', '[{"k": "v,\\"q"}]'),
    (1020, b"{(1,1),(0,0);(3,3),(2,2)}", '["(1,1),(0,0)","(3,3),(2,2)"]'),
    (9003, b"{1,2}", "[1,2]"),
    (9004, b'{"{1,2}",NULL,"{}"}', "[[1,2],null,[]]"),
    (9005, b"(1,x)", '{"a":1,"b\\"":"x"}'),
    (9005, b"(,)", '{"a":null,"b\\"":null}'),
    (9005, b'(1,"")', '{"a":1,"b\\"":""}'),
    (9005, b'(1,"q ""z"" \\\\ (p), \n")', '{"a":1,"b\\"":"q \\"z\\" \\\\ (p), \\n"}'),
    (9006, b'{"(1,x)",NULL,"(,\\"a,b\\")"}', '[{"a":1,"b\\"":"x"},null,{"a":null,"b\\"":"a,b"}]'),
    (9007, b'("(1,x)","{""(2,y)""}")', '{"p":{"a":1,"b\\"":"x"},"l":[{"a":2,"b\\"":"y"}]}'),
    (9008, b"()", "{}"),
]  # fmt: skip


@pytest.mark.usefixtures("renderer")
@pytest.mark.parametrize(("type_oid", "text", "expected"), CASES)
def test_a_value(type_oid: int, text: bytes, expected: str) -> None:
    rendered = RowRenderer(relation(type_oid), TYPES).render(make_row(text))
    assert rendered.decode() == f'{{"c0":{expected}}}'


@pytest.mark.usefixtures("renderer")
@pytest.mark.parametrize(
    ("type_oid", "text"),
    [(INT8, b""), (JSON, b""), (1016, b""), (1016, b"1"), (1016, b"{"), (1016, b"{1"),
     (1016, b"{1,}"), (1016, b"{,1}"), (1016, b"{1}x"), (1016, b"{1}{2}"), (1016, b"[1:2]"),
     (1016, b"{{{{{{{1}}}}}}}"), (1016, b'{""}'), (1009, b'{"a'), (1009, b'{"a\\'), (1009, b'{"a"b}'),
     (9005, b""), (9005, b"1,x"), (9005, b"(1)"), (9005, b"(1,x"), (9005, b"(1,x)y"),
     (9005, b"(1,x,y)"), (9005, b'(1,"x)'), (9008, b"(1)")],
)  # fmt: skip
def test_text_that_postgres_never_prints_is_refused(type_oid: int, text: bytes) -> None:
    with pytest.raises(ProtocolViolationError):
        RowRenderer(relation(type_oid), TYPES).render(make_row(text))


@pytest.mark.usefixtures("renderer")
def test_chosen_columns_the_key_and_their_names() -> None:
    three = relation(INT8, TEXT, 88888)
    row = make_row(b"1", b"x", None)
    assert RowRenderer(three, TYPES).render(row) == b'{"c0":1,"c1":"x","c2":null}'
    assert RowRenderer(three, TYPES).render_key(row) == b'{"c0":1}'
    some = RowRenderer(three, TYPES, frozenset({"c1", "c2"}))
    assert some.render(row) == b'{"c1":"x","c2":null}'
    assert some.render_key(row) == b"{}", "a key column that may not be seen is not shown"
    assert json.loads(some.columns_json) == [
        {"name": "c1", "type": "text"}, {"name": "c2", "type": "unknown"},
    ]  # fmt: skip
    assert RowRenderer(three, TYPES, frozenset()).render(row) == b"{}"


@pytest.mark.usefixtures("renderer")
def test_an_unchanged_value_comes_from_the_old_row_or_is_left_out() -> None:
    renderer = RowRenderer(relation(INT8, TEXT), TYPES)
    row = make_row(b"1", ...)
    assert renderer.render(row) == b'{"c0":1}'
    assert renderer.render(row, make_row(b"1", b"long")) == b'{"c0":1,"c1":"long"}'
    assert renderer.render(row, make_row(b"1", None)) == b'{"c0":1}'
    assert renderer.render(row, make_row(b"1", ...)) == b'{"c0":1}'
    with pytest.raises(ProtocolViolationError):
        renderer.render(row, make_row(b"1"))


@pytest.mark.usefixtures("renderer")
@pytest.mark.parametrize(
    "row", [b"", b"\0", make_row(b"1"), make_row(b"1", b"2", b"3"), make_row(b"1", b"2") + b"x",
            make_row(b"1", b"2")[:-1], b"\0\2nb\0\0\0\0", b"\0\2t\xff\xff\xff\xffn"],
)  # fmt: skip
def test_a_row_of_another_shape_is_refused(row: bytes) -> None:
    with pytest.raises(ProtocolViolationError):
        RowRenderer(relation(INT8, TEXT), TYPES).render(row)


def test_which_renderer_runs_can_be_chosen(renderer: str) -> None:
    assert renderer_name() == renderer


OIDS = sorted({case[0] for case in CASES})
texts = st.sampled_from([case[1] for case in CASES]) | st.binary(max_size=24) | st.text(
    st.sampled_from('{}()[]",;\\=: NULLt1-+.eB C'), max_size=24
).map(str.encode)  # fmt: skip


@given(
    st.lists(st.tuples(st.sampled_from(OIDS), texts | st.none() | st.just(...)), max_size=4),
    st.data(),
)
def test_the_twins_give_the_same_bytes_and_refuse_the_same(
    columns: list, data: st.DataObject
) -> None:
    """Any text in any type, whole rows and mutated ones."""
    shape = relation(*(oid for oid, _ in columns))
    row = bytearray(make_row(*(text for _, text in columns)))
    if data.draw(st.booleans()):
        row[data.draw(st.integers(0, len(row) - 1))] = data.draw(st.integers(0, 255))
    outcomes = []
    for choose in (compiled.use_compiled, compiled.use_python):
        choose()
        renderer = RowRenderer(shape, TYPES)
        try:
            outcomes.append(renderer.render(bytes(row), bytes(row)))
        except ProtocolViolationError:
            outcomes.append(b"refused")
    compiled.use_compiled()
    assert outcomes[0] == outcomes[1]
