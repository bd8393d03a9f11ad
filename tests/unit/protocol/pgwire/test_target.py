"""Connection URLs."""

from __future__ import annotations

import pytest

from tidewire.core.errors import SetupError
from tidewire.protocol.pgwire.target import ConnectionTarget, SslMode, parse_target


def test_a_full_url() -> None:
    target = parse_target("postgresql://us%40er:p%2Fw@db.example:6543/my%20db?sslmode=verify-full")
    assert target == ConnectionTarget(
        "db.example", 6543, "us@er", "p/w", "my db", SslMode.VERIFY_FULL
    )
    assert not target.is_unix


def test_defaults() -> None:
    target = parse_target("postgres://me@/")
    assert target == ConnectionTarget("localhost", 5432, "me", None, "me", SslMode.PREFER)


def test_a_unix_socket() -> None:
    target = parse_target("postgresql:///db?host=/var/run/postgresql&user=me&password=x&port=5433")
    assert target.is_unix
    assert target.socket_path == "/var/run/postgresql/.s.PGSQL.5433"
    assert (target.user, target.password, target.database) == ("me", "x", "db")


def test_certificates() -> None:
    target = parse_target("postgresql://u@h/d?sslmode=verify-ca&sslrootcert=r&sslcert=c&sslkey=k")
    assert (target.ssl_root_cert, target.ssl_cert, target.ssl_key) == ("r", "c", "k")


@pytest.mark.parametrize(
    "url",
    ["", "mysql://u@h/d", "postgresql://h/d", "postgresql://u@h:99999/d", "postgresql://u@h:x/d",
     "postgresql://u@h/d?sslmode=maybe", "postgresql://u@/d?port=0", "postgresql://u@[::1/d"],
)  # fmt: skip
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(SetupError):
        parse_target(url)


def test_the_password_is_never_shown() -> None:
    assert "secret" not in repr(parse_target("postgresql://u:secret@h/d"))
    with pytest.raises(SetupError) as refused:
        parse_target("postgresql://u:secret@h:x/d")
    assert "secret" not in str(refused.value)
