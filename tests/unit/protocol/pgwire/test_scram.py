"""SCRAM-SHA-256 against the example of the RFC, and servers that cheat."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.errors import ProtocolViolationError
from tidewire.protocol.pgwire.scram import ScramClient, prepare_password

# RFC 7677 section 3. PostgreSQL leaves the user name empty, so the proof differs from the RFC's.
NONCE = "rOprNGfwEbeRWgbNEkqO"
CHALLENGE = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)


def with_user(name: str) -> ScramClient:
    client = ScramClient("pencil", NONCE)
    client._bare = f"n={name},r={NONCE}"
    return client


def test_the_rfc_example() -> None:
    client = with_user("user")
    assert client.first_message() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert client.final_message(CHALLENGE) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    client.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert client.is_verified


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=other,s=W22Z,i=4096",
        b"r=" + NONCE.encode() + b",s=W22Z,i=4096",
        CHALLENGE.replace(b"i=4096", b"i=0"),
        CHALLENGE.replace(b"i=4096", b"i=4000000000"),
        CHALLENGE.replace(b"i=4096", b"i=many"),
        CHALLENGE.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s=!"),
        CHALLENGE.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s="),
        b"\xff",
    ],
)
def test_a_challenge_that_is_none_is_refused(challenge: bytes) -> None:
    with pytest.raises(ProtocolViolationError):
        ScramClient("pencil", NONCE).final_message(challenge)


@pytest.mark.parametrize("outcome", [b"", b"v=", b"v=AAAA", b"e=other-error", b"v=!"])
def test_a_server_that_does_not_know_the_password_is_refused(outcome: bytes) -> None:
    client = with_user("user")
    client.final_message(CHALLENGE)
    with pytest.raises(ProtocolViolationError):
        client.verify(outcome)
    assert not client.is_verified


def test_an_outcome_before_the_challenge_is_refused() -> None:
    with pytest.raises(ProtocolViolationError):
        ScramClient("pencil", NONCE).verify(b"v=")


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("plain", b"plain"),
        ("a\u00adb", b"ab"),  # soft hyphen goes
        ("\u00a0", b" "),  # other spaces become one
        ("\u2168", b"IX"),  # compatibility forms are folded
        ("a\x07b", b"a\x07b"),  # prohibited: taken as it is
        ("\u0627\u0031", "\u0627\u0031".encode()),  # mixed directions: taken as it is
        ("пароль", "пароль".encode()),
        ("", b""),
    ],
)
def test_passwords_are_prepared(password: str, prepared: bytes) -> None:
    assert prepare_password(password) == prepared


@given(st.binary(max_size=80))
def test_random_challenges_never_raise_anything_else(challenge: bytes) -> None:
    with contextlib.suppress(ProtocolViolationError):
        ScramClient("pencil", NONCE).final_message(challenge)
