from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.clock import ManualClock
from tidewire.adapters.jwt.sign import sign_token
from tidewire.adapters.jwt.verifier import JwtVerifier
from tidewire.core.errors import TokenError, UnknownKeyError
from tidewire.http.app import build_app
from tidewire.http.authenticate import UnauthorizedRequestError, authenticate
from tidewire.http.page import PageConfig
from tidewire.http.responses import json_response
from tidewire.ports.token_verifier import Claims, TokenVerifier

SECRET = "a-secret-of-at-least-thirty-two-bytes"
UNAUTHORIZED = (401, {"message": "Unauthorized"})


def client_of(verifier: TokenVerifier, clock: ManualClock) -> httpx.AsyncClient:
    async def who(request: Request) -> Response:
        return json_response({"role": (await authenticate(request, verifier, clock)).role})

    async def forbidden(_: Request) -> Response:
        raise UnauthorizedRequestError(403)

    app = build_app(
        page=PageConfig("", "", ""),
        routes=[Route("/who", who), Route("/forbidden", forbidden)],
    )
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def client(clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(JwtVerifier(SECRET), clock) as made:
        yield made


def token(clock: ManualClock, role: str, lifetime_s: float = 60) -> str:
    return sign_token(SECRET, role, now_s=clock.wall_s(), lifetime_s=lifetime_s)


async def test_a_bearer_token_wins_over_the_key(client, clock) -> None:
    headers = {"Authorization": f"bearer {token(clock, 'one')}", "apikey": token(clock, "two")}
    answer = await client.get("/who", headers=headers)
    assert answer.json() == {"role": "one"}


@pytest.mark.parametrize("authorization", [{}, {"Authorization": "Basic eA=="}])
async def test_without_a_bearer_token_the_key_counts_header_before_query(
    client, clock, authorization
) -> None:
    query = {"apikey": token(clock, "query")}
    headers = {"apikey": token(clock, "header"), **authorization}
    assert (await client.get("/who", params=query, headers=headers)).json() == {"role": "header"}
    assert (await client.get("/who", params=query)).json() == {"role": "query"}


async def test_who_shows_nothing_good_is_unauthorized_and_learns_no_more(client, clock) -> None:
    good, old = token(clock, "anon"), token(clock, "anon", lifetime_s=-5)
    for headers in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {old}"},
        {"Authorization": "Bearer x.y.z", "apikey": good},
        {"apikey": good[:-4] + "AAAA"},
    ):
        answer = await client.get("/who", headers=headers)
        assert (answer.status_code, answer.json()) == UNAUTHORIZED
        assert answer.headers["access-control-allow-origin"] == "*"


async def test_a_route_may_forbid_in_the_same_form(client) -> None:
    answer = await client.get("/forbidden")
    assert (answer.status_code, answer.json()) == (403, {"message": "Unauthorized"})


class RotatingVerifier:
    """Knows the key of any token, once its keys were refreshed."""

    def __init__(self, *, helps: bool) -> None:
        self.refreshes = 0
        self._helps = helps

    def verify(self, token: str, *, now_s: float) -> Claims:
        if not self._helps or not self.refreshes:
            raise UnknownKeyError("unknown key")
        return Claims("anon", now_s + 1, {})

    async def refresh_keys(self) -> None:
        self.refreshes += 1


@pytest.mark.parametrize("helps", [True, False])
async def test_an_unknown_key_is_looked_for_once(clock, helps) -> None:
    verifier = RotatingVerifier(helps=helps)
    async with client_of(verifier, clock) as client:
        answer = await client.get("/who", headers={"apikey": "t"})
    assert answer.status_code == (200 if helps else 401)
    assert verifier.refreshes == 1


def test_an_unknown_key_is_a_refusal_to_whoever_does_not_look_again() -> None:
    error = UnknownKeyError("no such key")
    assert isinstance(error, TokenError)
    assert (error.kind, error.retryable) == ("JwtSignerError", True)
