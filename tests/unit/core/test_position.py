import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.errors import InvalidRequestError
from tidewire.core.lsn import Lsn
from tidewire.core.position import Position

epochs = st.from_regex(r"[0-9a-f]{8}-[0-9]{1,4}", fullmatch=True)
positions = st.builds(
    Position, epochs, st.integers(0, 2**64 - 1).map(Lsn), st.integers(0, 2**63 - 1)
)


@given(positions)
def test_a_cursor_round_trips(position):
    assert Position.from_cursor(position.to_cursor()) == position


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2))
def test_within_an_epoch_order_is_commit_then_sequence(pairs):
    ordered = sorted(Position("e", Lsn(lsn), seq) for lsn, seq in pairs)
    assert [(position.commit_lsn, position.seq) for position in ordered] == sorted(pairs)


@pytest.mark.parametrize("cursor", ["", "e", "e.1", ".1.2", "e.x.1", "e.-1.0", "e.1.-1"])
def test_what_is_no_cursor_is_refused(cursor):
    with pytest.raises(InvalidRequestError):
        Position.from_cursor(cursor)


@given(st.text(max_size=40))
def test_random_text_raises_nothing_else(text):
    try:
        Position.from_cursor(text)
    except InvalidRequestError:
        return
