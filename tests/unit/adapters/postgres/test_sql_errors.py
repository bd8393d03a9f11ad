"""Every way in which a connection fails has a name and advice, and never tells the password."""

from __future__ import annotations

import errno
import socket
import ssl

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.adapters.postgres.sql_errors import address_of, explain_connect_failure
from tidewire.core.errors import DatabaseUnavailableError, SetupError

URL = "postgresql://ann:pass-word@db.example:6543/shop"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionRefusedError(111, "refused"), "connection_refused"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed"), "connection_refused"),
        (FileNotFoundError(2, "no socket"), "connection_refused"),
        (socket.gaierror(-2, "unknown"), "host_unknown"),
        (TimeoutError(), "timeout"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "unreachable"),
        (asyncpg.InvalidPasswordError("no"), "wrong_password"),
        (asyncpg.InvalidCatalogNameError("no"), "no_such_database"),
        (asyncpg.InsufficientPrivilegeError("no CONNECT"), "no_connect_right"),
        (asyncpg.TooManyConnectionsError("too many clients"), "too_many_connections"),
        (asyncpg.CannotConnectNowError("starting up"), "starting_up"),
        (asyncpg.InvalidAuthorizationSpecificationError('role "x" does not exist'), "no_such_role"),
        (
            asyncpg.InvalidAuthorizationSpecificationError(
                'no pg_hba.conf entry for host "1.2.3.4", no encryption'
            ),
            "tls_required",
        ),
        (
            asyncpg.InvalidAuthorizationSpecificationError(
                'no pg_hba.conf entry for host "1.2.3.4", SSL encryption'
            ),
            "not_admitted",
        ),
        (ssl.SSLCertVerificationError("self-signed"), "tls"),
        (ConnectionResetError("reset"), "connection_lost"),
        (ValueError("invalid DSN"), "bad_url"),
        (asyncpg.InterfaceError("bad"), "bad_url"),
        (asyncpg.PostgresError("strange"), "connection_failed"),
    ],
)
def test_each_error_has_its_code(error: BaseException, code: str) -> None:
    finding = explain_connect_failure(error, URL)
    assert finding.code == code
    assert finding.severity == "error"
    assert "pass-word" not in finding.problem + finding.advice


def test_tls_is_blamed_only_where_the_address_asks_for_it() -> None:
    error = ConnectionError("PostgreSQL server at x rejected SSL upgrade")
    assert explain_connect_failure(error, URL).code == "connection_lost"
    assert explain_connect_failure(error, URL + "?sslmode=require").code == "tls_not_offered"


def test_what_may_pass_by_itself_is_unavailable_and_the_rest_needs_a_person() -> None:
    refused = explain_connect_failure(ConnectionRefusedError(), URL).to_error()
    assert isinstance(refused, DatabaseUnavailableError)
    assert "db.example:6543" in str(refused)
    wrong = explain_connect_failure(asyncpg.InvalidPasswordError("no"), URL).to_error()
    assert isinstance(wrong, SetupError)
    assert wrong.advice


def test_an_address_is_read_without_its_password() -> None:
    address = address_of("postgres://a%20b:c@[::1]:7/d%2Fe")
    assert (address.host, address.port, address.user, address.database) == ("::1", 7, "a b", "d/e")


@given(st.text())
def test_no_address_makes_it_raise(url: str) -> None:
    address_of(url)
    address_of("postgresql://" + url)
