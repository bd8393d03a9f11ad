from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.clock import ManualClock
from tidewire.adapters.jwt.sign import sign_token
from tidewire.adapters.jwt.verifier import JwtVerifier
from tidewire.http.app import build_app, build_site
from tidewire.http.bearer_guard import BearerGuard
from tidewire.http.health import Readiness
from tidewire.http.metrics import Sample
from tidewire.http.page import PageConfig
from tidewire.http.tenant_admin import TenantHealth, tenant_admin_routes

SECRET = "an-admin-secret-of-at-least-32-bytes"
OTHER = "some-other-secret-of-at-least-32-bytes"


class Admin:
    def __init__(self) -> None:
        self.anew: list[str] = []

    def descriptions(self) -> dict[str, dict[str, Any]]:
        return {"acme": {"external_id": "acme"}}

    def health(self, name: str) -> TenantHealth | None:
        return TenantHealth(True, True, True, 3) if name == "acme" else None

    def make_anew(self, name: str) -> bool:
        self.anew.append(name)
        return name == "acme"


@pytest.fixture
def admin() -> Admin:
    return Admin()


@pytest.fixture
async def http(admin: Admin) -> AsyncIterator[httpx.AsyncClient]:
    clock = ManualClock()
    guard = BearerGuard(JwtVerifier(SECRET), clock)
    site = build_site(
        readiness=lambda: Readiness(True, {}),
        read_samples=lambda: [Sample("connections", "Open.", 1)],
        tenants=build_app(page=PageConfig("", "", "")),
        routes=tenant_admin_routes(admin, guard),
        metrics_guard=guard,
    )
    token = sign_token(SECRET, "admin", now_s=clock.wall_s())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(site),
        base_url="http://test",
        headers={"Authorization": f"Bearer {token}"},
    ) as client:
        yield client


async def test_a_tenants_health_is_told_in_the_form_of_the_wire(http: httpx.AsyncClient) -> None:
    answer = (await http.get("/api/tenants/acme/health")).json()["data"]
    assert answer == {
        "healthy": True,
        "db_connected": True,
        "replication_connected": True,
        "connected_cluster": 3,
        "region": "",
        "node": "",
    }


async def test_tenants_are_shown(http: httpx.AsyncClient) -> None:
    assert (await http.get("/api/tenants")).json() == {"data": [{"external_id": "acme"}]}
    assert (await http.get("/api/tenants/acme")).json() == {"data": {"external_id": "acme"}}


@pytest.mark.parametrize("action", ["reload", "shutdown"])
async def test_a_tenant_is_made_anew(http: httpx.AsyncClient, admin: Admin, action: str) -> None:
    answer = await http.post(f"/api/tenants/acme/{action}")
    assert (answer.status_code, answer.content, admin.anew) == (204, b"", ["acme"])


@pytest.mark.parametrize("path", ["", "/health"])
async def test_an_unknown_tenant_is_not_found(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(f"/api/tenants/nobody{path}")
    assert (answer.status_code, answer.json()) == (404, {"error": "not found"})
    assert (await http.post("/api/tenants/nobody/reload")).status_code == 404


@pytest.mark.parametrize("path", ["/api/tenants", "/api/tenants/acme/health", "/metrics"])
@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer nonsense", "Basic x", "forged"])
async def test_without_a_token_of_the_right_secret_the_answer_is_403_and_empty(
    http: httpx.AsyncClient, path: str, authorization: str
) -> None:
    if authorization == "forged":
        authorization = f"Bearer {sign_token(OTHER, 'admin', now_s=ManualClock().wall_s())}"
    answer = await http.get(path, headers={"Authorization": authorization})
    assert (answer.status_code, answer.content) == (403, b"")


async def test_numbers_are_open_to_a_bearer_of_the_right_token(http: httpx.AsyncClient) -> None:
    assert "tidewire_connections 1.0" in (await http.get("/metrics")).text


async def test_tenants_cannot_be_changed_over_http(http: httpx.AsyncClient) -> None:
    assert (await http.delete("/api/tenants/acme")).status_code == 405
    assert (await http.post("/api/tenants", json={})).status_code == 405
