from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.like_pattern import LikePattern, PatternError


def by_regex(pattern: str) -> re.Pattern[str]:
    out, position = "", 0
    while position < len(pattern):
        char = pattern[position]
        if char == "\\":
            position += 1
            out += re.escape(pattern[position])
        else:
            out += {"%": ".*", "_": "."}.get(char, re.escape(char))
        position += 1
    return re.compile(out, re.DOTALL)


texts = st.text(alphabet="ab%_\\é\n", max_size=14)
patterns = st.lists(
    st.sampled_from(["a", "b", "%", "_", "\\%", "\\_", "\\\\", "é", "ab", "%%"]), max_size=8
).map("".join)


@given(patterns, texts)
def test_matches_as_the_equal_regular_expression_does(pattern: str, text: str) -> None:
    assert LikePattern(pattern).matches(text) is bool(by_regex(pattern).fullmatch(text))


def test_a_lone_escape_at_the_end_is_refused() -> None:
    with pytest.raises(PatternError):
        LikePattern("abc\\")


def test_a_costly_match_is_given_up_instead_of_taking_for_ever() -> None:
    started = time.process_time()
    verdict = LikePattern("%" + "aa_" * 300 + "c%").matches("a" * 200_000)
    assert verdict is None
    assert time.process_time() - started < 1.0


def test_many_percents_stay_linear() -> None:
    assert LikePattern("%a" * 500 + "%b").matches("a" * 100_000) is False
