import json
from typing import Any

import pytest

from tidewire.adapters.jwt.claim_rules import ClaimRules
from tidewire.core.errors import TokenError

NOW_S = 1_800_000_000.0


def read(rules: ClaimRules, **claims: Any) -> float:
    payload = {"role": "anon", "exp": NOW_S + 60, **claims}
    return rules.read(json.dumps(payload).encode(), now_s=NOW_S).expires_at_s


def refused(rules: ClaimRules, **claims: Any) -> str:
    with pytest.raises(TokenError) as error:
        read(rules, **claims)
    assert error.value.kind == "InvalidJWTToken"
    return str(error.value)


@pytest.mark.parametrize(
    ("claims", "fits"),
    [
        ({"iss": "us", "level": 1}, True),
        ({"iss": "us", "level": 1, "more": True}, True),
        ({"iss": "them", "level": 1}, False),
        ({"iss": ["us"], "level": 1}, False),
        ({"level": 1}, False),
        ({"iss": "us", "level": True}, False),
        ({"iss": "us", "level": "1"}, False),
    ],
)
def test_claims_that_the_settings_name_must_match_exactly(claims: dict, fits: bool) -> None:
    rules = ClaimRules(exact={"iss": "us", "level": 1})
    if fits:
        read(rules, **claims)
    else:
        assert refused(rules, **claims).endswith("is not as required in JWT")


def test_the_claim_that_differs_is_named() -> None:
    rules = ClaimRules(exact={"iss": "us"})
    assert refused(rules, iss="them") == "Field `iss` is not as required in JWT"


@pytest.mark.parametrize(
    ("audience", "fits"),
    [("a", True), (["x", "b"], True), ("x", False), ([], False), (None, False), ([7], False)],
)
def test_one_of_the_audiences_must_be_meant(audience: Any, fits: bool) -> None:
    rules = ClaimRules(audiences=frozenset({"a", "b"}))
    if fits:
        read(rules, aud=audience)
    else:
        assert refused(rules, aud=audience) == "Field `aud` is not as required in JWT"


def test_a_clock_that_differs_is_forgiven_as_far_as_it_is_set() -> None:
    rules = ClaimRules(skew_s=10)
    assert read(rules, exp=NOW_S - 9) == NOW_S + 1
    assert refused(rules, exp=NOW_S - 10) == "Token has expired 0 seconds ago"
    assert refused(ClaimRules(), exp=NOW_S - 9) == "Token has expired 9 seconds ago"


def test_not_before_counts_only_when_it_is_asked_for() -> None:
    read(ClaimRules(), nbf=NOW_S + 900)
    rules = ClaimRules(checks_not_before=True, skew_s=5)
    read(rules, nbf=NOW_S + 5)
    read(rules)
    assert refused(rules, nbf=NOW_S + 6) == "Token is not valid yet"
    assert refused(rules, nbf="soon") == "Token is not valid yet"


def test_a_token_that_names_somebody_ends_at_its_greatest_age() -> None:
    rules = ClaimRules(age_max_s=100)
    for named in ({"sub": "x"}, {"session_id": "x"}):
        assert read(rules, iat=NOW_S - 70, exp=NOW_S + 900, **named) == NOW_S + 30
        told = refused(rules, iat=NOW_S - 107, exp=NOW_S + 900, **named)
        assert told == "Token has expired 7 seconds ago"
        assert read(rules, exp=NOW_S + 900, **named) == NOW_S + 900, "its age is unknown"
    assert read(rules, iat=NOW_S - 107, exp=NOW_S + 900) == NOW_S + 900, "a key of nobody"
