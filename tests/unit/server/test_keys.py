from tidewire.adapters.jwt.verifier import JwtVerifier
from tidewire.server.keys import make_keys, mint_token

SECRET = "s" * 40
NOW_S = 1_800_000_000.0


def test_the_same_secret_and_moment_give_the_same_keys() -> None:
    assert make_keys(SECRET, made_at_s=NOW_S) == make_keys(SECRET, made_at_s=NOW_S)


def test_another_secret_gives_other_keys() -> None:
    assert make_keys(SECRET, made_at_s=NOW_S) != make_keys("t" * 40, made_at_s=NOW_S)


def test_keys_speak_for_their_roles_for_years() -> None:
    keys = make_keys(SECRET, made_at_s=NOW_S)
    verifier = JwtVerifier(SECRET)
    in_five_years_s = NOW_S + 5 * 365 * 86400
    assert verifier.verify(keys.anon, now_s=in_five_years_s).role == "anon"
    assert verifier.verify(keys.service_role, now_s=in_five_years_s).role == "service_role"


def test_a_minted_token_carries_its_claims_and_expiry() -> None:
    token = mint_token(SECRET, "authenticated", now_s=NOW_S, lifetime_s=60, claims={"sub": "u1"})
    claims = JwtVerifier(SECRET).verify(token, now_s=NOW_S)
    assert claims.role == "authenticated"
    assert claims.values["sub"] == "u1"
    assert claims.expires_at_s == NOW_S + 60
