import pytest

from tidewire.adapters.jwt.api_keys import RANDOM_CHARACTERS_MIN, ApiKeys
from tidewire.core.errors import SetupError, TokenError

RANDOM = "r" * RANDOM_CHARACTERS_MIN


def test_each_kind_stands_for_its_role_and_several_may_be_in_force() -> None:
    keys = ApiKeys(
        {"web": f"sb_publishable_{RANDOM}", "app": f"sb_publishable_{RANDOM}2"},
        {"jobs": f"sb_secret_{RANDOM}"},
    )
    assert len(keys) == 3
    for key, role in (
        (f"sb_publishable_{RANDOM}", "anon"),
        (f"sb_publishable_{RANDOM}2", "anon"),
        (f"sb_secret_{RANDOM}", "service_role"),
    ):
        claims = keys.identify(key)
        assert (claims.role, claims.values) == (role, {"role": role})
        assert claims.expires_at_s == float("inf")


@pytest.mark.parametrize("key", ["sb_", "sb_secret_", f"sb_secret_{RANDOM}x", "sb_\ud800", "sb_é"])
def test_any_other_key_is_told_apart_from_nothing(key: str) -> None:
    with pytest.raises(TokenError) as refused:
        ApiKeys({}, {"jobs": f"sb_secret_{RANDOM}"}).identify(key)
    assert (refused.value.kind, str(refused.value)) == (
        "MalformedJWT",
        "The token provided is not a valid JWT",
    )


@pytest.mark.parametrize(
    ("publishable", "secret", "problem"),
    [
        ({"web": f"sb_secret_{RANDOM}"}, {}, "does not begin with sb_publishable_"),
        ({}, {"jobs": f"sb_publishable_{RANDOM}"}, "does not begin with sb_secret_"),
        ({"web": "sb_publishable_short"}, {}, "needs 22 characters or more"),
        ({"web": f"sb_publishable_{RANDOM} x"}, {}, "holds characters"),
        (dict.fromkeys("ab", f"sb_publishable_{RANDOM}"), {}, "stands there twice"),
    ],
)
def test_a_bad_key_is_refused_by_its_name_and_never_shown(
    publishable: dict[str, str], secret: dict[str, str], problem: str
) -> None:
    with pytest.raises(SetupError, match=problem) as refused:
        ApiKeys(publishable, secret)
    assert RANDOM not in str(refused.value)
    assert "short" not in str(refused.value)


def test_only_hashes_are_kept() -> None:
    keys = ApiKeys({}, {"jobs": f"sb_secret_{RANDOM}"})
    assert RANDOM not in repr(vars(keys))
