from __future__ import annotations

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tidewire.core.origin import OriginPolicy
from tidewire.http.app import build_app
from tidewire.http.origins import OriginGuard
from tidewire.http.page import PageConfig
from tidewire.http.responses import json_response

APP, EVIL = "https://app.example.org", "https://evil.example"
ALLOWED = "access-control-allow-origin"
done: list[str] = []


async def act(request: Request) -> Response:
    done.append(request.headers.get("origin", ""))
    return json_response({})


def client(*allowed: str) -> httpx.AsyncClient:
    done.clear()
    routes = [Route("/act", act, methods=["POST"])]
    app = OriginGuard(build_app(page=PageConfig("", "", ""), routes=routes), OriginPolicy(allowed))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.example.org")


async def test_by_default_every_page_may_call() -> None:
    async with client() as http:
        answer = await http.post("/act", headers={"origin": EVIL})
    assert (answer.status_code, answer.headers[ALLOWED]) == (200, "*")


async def test_an_allowed_page_is_named_in_the_answer() -> None:
    async with client(APP) as http:
        answer = await http.post("/act", headers={"origin": APP})
    assert (answer.status_code, answer.headers[ALLOWED]) == (200, APP)
    assert "Origin" in answer.headers["vary"]
    assert answer.headers["access-control-expose-headers"] == "*"


async def test_another_page_is_refused_before_anything_is_done() -> None:
    async with client(APP) as http:
        answer = await http.post("/act", headers={"origin": EVIL})
    assert (answer.status_code, answer.json()) == (403, {"error": "Origin not allowed"})
    assert ALLOWED not in answer.headers
    assert done == []


async def test_what_comes_from_no_page_is_not_asked() -> None:
    async with client(APP) as http:
        assert (await http.post("/act")).status_code == 200


@pytest.mark.parametrize(("origin", "status"), [(APP, 204), (EVIL, 403)])
async def test_preflights_follow_the_list(origin: str, status: int) -> None:
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "apikey, authorization, content-type",
    }
    async with client(APP) as http:
        answer = await http.options("/act", headers=asked)
    assert answer.status_code == status
    assert answer.headers.get(ALLOWED) == (APP if status == 204 else None)
    if status == 204:
        told = answer.headers["access-control-allow-headers"]
        assert told == "apikey, authorization, content-type"
