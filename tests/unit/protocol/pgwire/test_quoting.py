"""Names and literals in simple queries."""

from __future__ import annotations

import pytest

from tidewire.core.errors import InvalidRequestError
from tidewire.protocol.pgwire.quoting import quote_identifier, quote_literal


def test_quotes_are_doubled() -> None:
    assert quote_identifier('a"b') == '"a""b"'
    assert quote_literal("a'b") == "'a''b'"


def test_a_backslash_means_itself_whatever_the_server_s_setting() -> None:
    assert quote_literal("a\\'b") == " E'a\\\\''b'"


@pytest.mark.parametrize("quote", [quote_identifier, quote_literal])
@pytest.mark.parametrize("text", ["", "a\0b"])
def test_what_cannot_be_quoted_is_refused(quote, text: str) -> None:
    with pytest.raises(InvalidRequestError):
        quote(text)
