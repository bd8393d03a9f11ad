from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.policy_tokens import TokenKind, tokenize


def values(text: str) -> list[str] | None:
    tokens = tokenize(text)
    return None if tokens is None else [token.value for token in tokens]


def test_a_deparsed_expression_is_split() -> None:
    assert values("(org = ((auth.jwt() ->> 'org_id'::text))::bigint)") == [
        "(", "org", "=", "(", "(", "auth", ".", "jwt", "(", ")", "->>", "org_id", "::", "text",
        ")", ")", "::", "bigint", ")",
    ]  # fmt: skip


def test_quotes_belong_to_the_text_and_not_to_the_value() -> None:
    tokens = tokenize('''("odd ""name""" = 'it''s') AND (x = E'a\\\\b''c')''')
    assert tokens is not None
    found = [token.value for token in tokens if token.kind is TokenKind.STRING or token.is_quoted]
    assert found == ['odd "name"', "it's", "a\\b'c"]


@pytest.mark.parametrize(
    "text", ["a -- comment", "a /* b */", "'open", '"open', "$$a$$", "E'\\n'", "\\"]
)
def test_what_the_deparser_never_prints_makes_everything_unknown(text: str) -> None:
    assert tokenize(text) is None


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_string_of_any_content_is_one_token(content: str) -> None:
    escaped = content.replace("'", "''")
    literal = f"'{escaped}'"
    if "\\" in content:
        literal = "E" + literal.replace("\\", "\\\\")
    assert values(literal) == [content]


@given(st.text(alphabet="ab'\"\\()[]. \n-/*:=<>|E01$"))
def test_any_text_is_split_into_all_of_itself_or_refused(text: str) -> None:
    tokens = tokenize(text)
    position = 0
    for token in tokens or ():
        place = text.index(token.text, position)
        assert not text[position:place].strip()
        position = place + len(token.text)
    assert tokens is None or not text[position:].strip()
