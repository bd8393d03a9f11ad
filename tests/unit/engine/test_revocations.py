import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.errors import TokenError
from tidewire.engine.revocations import RevocableVerifier, Revocations
from tidewire.ports.revocation_store import Revocation
from tidewire.ports.token_verifier import Claims

NOW_S = 1_800_000_000.0


def claims(role: str = "authenticated", **values: object) -> Claims:
    return Claims(role, NOW_S + 60, {"role": role, **values})


def revoked(
    session: str | None = None, user: str | None = None, before_s: float = math.inf
) -> Revocation:
    return Revocation(session, user, before_s, NOW_S + 100)


def holding(*items: Revocation) -> Revocations:
    made = Revocations()
    made.add(items)
    return made


def test_a_session_ends_whenever_its_tokens_were_issued() -> None:
    known = holding(revoked("s1"))
    assert known.concern(claims(session_id="s1", iat=NOW_S + 999))
    assert known.concern(claims(session_id="s1"))
    assert known.concern(claims("service_role", session_id="s1"))
    assert not known.concern(claims(session_id="s2", sub="s1"))
    assert not known.concern(claims())


def test_a_user_ends_up_to_a_moment() -> None:
    known = holding(revoked(user="u1", before_s=NOW_S))
    assert known.concern(claims(sub="u1", iat=NOW_S - 1))
    assert known.concern(claims(sub="u1"))
    assert not known.concern(claims(sub="u1", iat=NOW_S))
    assert not known.concern(claims(sub="u2", iat=NOW_S - 1))
    assert not known.concern(claims(session_id="u1", iat=NOW_S - 1))


def test_a_number_as_user_is_the_user_of_that_name() -> None:
    assert holding(revoked(user="7", before_s=NOW_S)).concern(claims(sub=7))


@pytest.mark.parametrize("odd", [None, [], {}, ["s1"], 1.5])
def test_odd_claims_name_nobody(odd: object) -> None:
    known = holding(revoked("s1"), revoked(user="u1", before_s=NOW_S))
    assert not known.concern(claims(session_id=odd, sub=odd))


def test_everybody_ends_up_to_a_moment_but_for_keys() -> None:
    known = holding(revoked(before_s=NOW_S))
    for concerned in (
        claims(sub="u1", iat=NOW_S - 1),
        claims(iat=NOW_S - 1),
        claims(),
        claims("service_role", sub="u1", iat=NOW_S - 1),
        claims("anon", session_id="s", iat=NOW_S - 1),
    ):
        assert known.concern(concerned)
    for role in ("anon", "service_role"):
        assert not known.concern(claims(role, iat=NOW_S - 1))
        assert not known.concern(claims(role))
    assert not known.concern(claims(sub="u1", iat=NOW_S))


def test_of_several_moments_the_latest_counts() -> None:
    known = holding(
        revoked(user="u1", before_s=NOW_S - 50),
        revoked(user="u1", before_s=NOW_S - 90),
        revoked(before_s=NOW_S - 70),
    )
    assert known.concern(claims(sub="u1", iat=NOW_S - 51))
    assert not known.concern(claims(sub="u1", iat=NOW_S - 50))
    assert known.concern(claims(sub="u2", iat=NOW_S - 71))
    assert not known.concern(claims(sub="u2", iat=NOW_S - 60))


def test_what_is_over_is_forgotten() -> None:
    known = holding(revoked("s1"), revoked(user="u1", before_s=NOW_S), revoked(before_s=NOW_S))
    known.forget_over(now_s=NOW_S + 100)
    assert len(known) == 3
    known.forget_over(now_s=NOW_S + 101)
    assert len(known) == 1, "a moment for everybody is kept"
    assert not known.concern(claims(session_id="s1", iat=NOW_S))


class Everybody:
    """Takes any token, as that of its text's user."""

    def __init__(self) -> None:
        self.refreshes = 0

    def verify(self, token: str, *, now_s: float) -> Claims:
        return claims(sub=token, iat=NOW_S - 1)

    async def refresh_keys(self) -> None:
        self.refreshes += 1


async def test_a_revoked_token_is_refused_although_it_verifies() -> None:
    known, inner = Revocations(), Everybody()
    verifier = RevocableVerifier(inner, known)
    assert verifier.verify("u1", now_s=NOW_S).values["sub"] == "u1"
    known.add([revoked(user="u1", before_s=NOW_S)])
    with pytest.raises(TokenError, match=r"^Token has been revoked$") as refused:
        verifier.verify("u1", now_s=NOW_S)
    assert refused.value.kind == "InvalidJWTToken"
    assert verifier.verify("u2", now_s=NOW_S).values["sub"] == "u2"
    await verifier.refresh_keys()
    assert inner.refreshes == 1


NAMES = st.sampled_from(["a", "b"])
TIMES = st.integers(0, 9).map(float)
ITEMS = st.one_of(
    st.builds(lambda s: Revocation(s, None, math.inf, math.inf), NAMES),
    st.builds(lambda u, t: Revocation(None, u, t, math.inf), NAMES, TIMES),
    st.builds(lambda t: Revocation(None, None, t, math.inf), TIMES),
)
TOKENS = st.fixed_dictionaries(
    {"role": st.sampled_from(["anon", "authenticated"])},
    optional={"session_id": NAMES, "sub": NAMES, "iat": TIMES},
)


@given(st.lists(ITEMS, max_size=6), TOKENS)
def test_it_answers_as_going_through_the_list_would(items: list, token: dict) -> None:
    def concerns(one: Revocation) -> bool:
        if one.session_id is not None:
            return token.get("session_id") == one.session_id
        if one.user_id is not None and token.get("sub") != one.user_id:
            return False
        is_key = token["role"] == "anon" and not {"sub", "session_id"} & set(token)
        if one.user_id is None and is_key:
            return False
        return token.get("iat", -math.inf) < one.issued_before_s

    expected = any(concerns(one) for one in items)
    assert holding(*items).concern(Claims(token["role"], math.inf, token)) == expected
