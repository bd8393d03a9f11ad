import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.errors import InvalidRequestError
from tidewire.core.lsn import Lsn

numbers = st.integers(0, 2**64 - 1)


@given(numbers)
def test_text_form_round_trips(value):
    assert Lsn.parse(str(Lsn(value))) == value


@given(numbers, numbers)
def test_it_orders_as_the_log_does(a, b):
    assert (Lsn(a) < Lsn(b)) == (a < b)


def test_it_reads_and_writes_what_postgresql_does():
    assert Lsn.parse("16/B374D848") == 0x16_B374D848
    assert str(Lsn(0x16_B374D848)) == "16/B374D848"


@pytest.mark.parametrize("text", ["", "/", "1", "1/", "/1", "x/1", "1/100000000", "-1/2", "1/-2"])
def test_what_is_no_position_is_refused(text):
    with pytest.raises(InvalidRequestError):
        Lsn.parse(text)
