from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.protocol.journal.records import (
    BODY_BYTES_MAX,
    COVER,
    RELATION,
    TRANSACTION,
    TRANSACTION_END,
    DamagedError,
    Header,
    decode_cover,
    decode_header,
    encode_cover,
    encode_record,
    encode_transaction_records,
    split_records,
)

HEADERS = st.builds(
    Header,
    st.integers(0, 2**64 - 1),
    st.from_regex(r"[0-9a-f]{1,16}-[0-9a-f]{1,9}", fullmatch=True),
    st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1)),
    st.integers(0, 2**60),
)
BODIES = st.lists(st.tuples(st.sampled_from([RELATION, COVER]), st.binary(max_size=50)), max_size=8)


@given(HEADERS, st.binary(max_size=20))
def test_a_header_round_trips_and_says_where_it_ends(header: Header, rest: bytes) -> None:
    data = header.encode()
    assert decode_header(data + rest) == (header, len(data))


@given(HEADERS, st.data())
def test_a_header_that_is_cut_or_changed_is_refused(header: Header, data: st.DataObject) -> None:
    whole = header.encode()
    with pytest.raises(DamagedError):
        decode_header(whole[: data.draw(st.integers(0, len(whole) - 1))])
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedError):
        decode_header(bytes(changed))


def written(bodies: list[tuple[int, bytes]], *, salt: int, offset: int) -> bytes:
    data = b""
    for kind, body in bodies:
        data += encode_record(kind, body, seed=salt + offset + len(data))
    return data


@given(BODIES, st.integers(0, 2**32 - 1), st.integers(0, 2**40), st.integers(0, 60))
def test_records_come_back_and_a_cut_one_does_not(
    bodies: list[tuple[int, bytes]], salt: int, offset: int, cut: int
) -> None:
    data = written(bodies, salt=salt, offset=offset)
    kept = max(0, len(data) - cut)
    found = list(split_records(data[:kept], salt=salt, offset=offset))
    assert [(kind, body) for kind, _, body in found] == bodies[: len(found)]
    assert len(found) == len(bodies) or kept < len(data)
    ends = [end for _, end, _ in found]
    assert data[: ends[-1] if ends else 0] == written(
        bodies[: len(found)], salt=salt, offset=offset
    )


@given(BODIES.filter(bool), st.data())
def test_no_flipped_bit_passes(bodies: list[tuple[int, bytes]], data: st.DataObject) -> None:
    whole = bytearray(written(bodies, salt=5, offset=100))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    found: list[tuple[int, bytes]] = []
    with contextlib.suppress(DamagedError):
        for kind, _, body in split_records(bytes(whole), salt=5, offset=100):
            found.append((kind, body))
    assert found == bodies[: len(found)]
    assert len(found) < len(bodies)


def test_a_record_from_elsewhere_does_not_pass() -> None:
    record = encode_record(COVER, b"x" * 30, seed=100)
    for salt, offset in ((0, 101), (1, 100), (0, 0)):
        with pytest.raises(DamagedError):
            list(split_records(record, salt=salt, offset=offset))
    assert len(list(split_records(record, salt=0, offset=100))) == 1


def test_a_length_beyond_the_bound_is_refused_before_anything_is_read() -> None:
    with pytest.raises(DamagedError):
        list(split_records(b"\0" * 4 + b"\xff\xff\xff\x7f" + b"\3" + b"x" * 50, salt=0))


@pytest.mark.parametrize(
    ("size", "kinds"),
    [
        (0, [TRANSACTION_END]),
        (BODY_BYTES_MAX, [TRANSACTION_END]),
        (BODY_BYTES_MAX + 1, [TRANSACTION, TRANSACTION_END]),
        (2 * BODY_BYTES_MAX + 5, [TRANSACTION, TRANSACTION, TRANSACTION_END]),
    ],
)
def test_a_large_transaction_goes_on_and_only_its_last_record_ends_it(
    size: int, kinds: list[int]
) -> None:
    blob = random.Random(size).randbytes(size)
    found = list(split_records(encode_transaction_records(blob, seed=7), salt=7))
    assert [kind for kind, _, _ in found] == kinds
    assert b"".join(body for _, _, body in found) == blob


@given(st.integers(0, 2**64 - 1))
def test_a_note_round_trips(lsn: int) -> None:
    assert decode_cover(encode_cover(lsn)) == lsn


def test_a_note_of_another_length_is_refused() -> None:
    with pytest.raises(DamagedError):
        decode_cover(b"1234567")
