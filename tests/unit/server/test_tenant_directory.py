from __future__ import annotations

import json

import httpx
import pytest

from tests.support.tenants import PaperTenant
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.ports.transport import Refusal, UpgradeRequest
from tidewire.server.tenant import DEFAULT_TENANT
from tidewire.server.tenant_directory import TenantDirectory
from tidewire.server.upgrades import Grant


def upgrade(host: str, origin: str = "") -> UpgradeRequest:
    headers = {"origin": origin} if origin else {}
    return UpgradeRequest("/realtime/v1/websocket", {}, headers, "127.0.0.1", host)


async def directory(*tenants: PaperTenant) -> TenantDirectory:
    for tenant in tenants:
        await tenant.runner.prepare()
    return TenantDirectory([tenant.runner for tenant in tenants])


async def three() -> TenantDirectory:
    return await directory(
        PaperTenant("acme", hosts=["RT.acme.example.", "10.0.0.7"]),
        PaperTenant("blue"),
        PaperTenant("shut", suspended=True),
    )


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("rt.acme.example", "acme"),
        ("RT.ACME.example:4000", "acme"),
        ("10.0.0.7:80", "acme"),
        ("acme.anything.org", "acme"),
        ("blue", "blue"),
        ("blue.localhost:4000", "blue"),
        ("127.0.0.1:4000", "acme"),
        ("[::1]:4000", "acme"),
        ("localhost", "acme"),
        ("shut.example", "shut"),
    ],
)
async def test_a_host_leads_to_its_tenant(host: str, name: str) -> None:
    found = (await three()).find(host)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "host", ["", "example.org", "x.rt.acme.example", "10.0.0.8", "acme@evil", "acme evil", "\0"]
)
async def test_a_strange_host_leads_to_nobody(host: str) -> None:
    assert (await three()).find(host) is None
    answer = (await three()).accept(upgrade(host))
    assert answer == Refusal(404, b'{"error":"Tenant not found"}')


@pytest.mark.parametrize("host", ["anything.example", "", "127.0.0.1", "a b"])
async def test_the_only_tenant_takes_every_host(host: str) -> None:
    only = PaperTenant(DEFAULT_TENANT, is_alone=True)
    assert (await directory(only)).find(host) is only.runner


async def test_the_only_tenant_can_be_bound_to_its_hosts() -> None:
    only = await directory(PaperTenant(DEFAULT_TENANT, is_alone=True, hosts=["rt.example"]))
    assert only.find("rt.example") is only.find("localhost") is only.runners[0]
    assert only.find("other.example") is None


async def test_an_upgrade_goes_to_its_tenants_engine_and_sockets() -> None:
    acme, blue = PaperTenant("acme"), PaperTenant("blue")
    tenants = await directory(acme, blue)
    answer = tenants.accept(upgrade("blue.example"))
    assert isinstance(answer, Grant)
    assert answer.group == "sockets of blue"
    assert (len(acme.node.accepted), len(blue.node.accepted)) == (0, 1)
    acme.node.refusal = Refusal(401)
    assert tenants.accept(upgrade("acme.example")) == Refusal(401)


async def test_a_suspended_tenant_refuses_and_touches_nothing() -> None:
    shut = PaperTenant("shut", suspended=True)
    answer = (await directory(shut)).accept(upgrade("shut.example"))
    assert answer == Refusal(403, b'{"error":"Realtime was disabled for this tenant"}')
    assert (shut.prepared, shut.built) == (0, [])


async def test_a_tenant_without_a_database_answers_so_and_the_other_serves() -> None:
    down, blue = PaperTenant("down"), PaperTenant("blue")
    down.trouble = DatabaseUnavailableError("nothing listens there")
    tenants = await directory(down, blue)
    answer = tenants.accept(upgrade("down.example"))
    assert answer == Refusal(500, b'{"error":"Error connecting to Realtime"}')
    assert isinstance(tenants.accept(upgrade("blue.example")), Grant)
    now = tenants.readiness()
    assert not now.ready
    assert now.checks == {"down.database": "nothing listens there", "blue.stream": "live"}


async def test_a_page_of_another_origin_is_refused_by_its_own_tenants_list() -> None:
    acme = PaperTenant("acme", origins=["https://app.acme.example"])
    tenants = await directory(acme, PaperTenant("blue"))
    evil = "https://evil.example"
    assert tenants.accept(upgrade("acme.x", evil)) == Refusal(
        403, b'{"error":"Origin not allowed"}'
    )
    assert isinstance(tenants.accept(upgrade("acme.x", "https://app.acme.example")), Grant)
    assert isinstance(tenants.accept(upgrade("acme.x")), Grant)
    assert isinstance(tenants.accept(upgrade("blue.x", evil)), Grant)


@pytest.mark.parametrize(
    ("host", "path", "status", "body"),
    [
        ("acme.x", "/", 200, "acme"),
        ("blue.x", "/config.json", 200, "blue"),
        ("zz.x", "/", 404, {"error": "Tenant not found"}),
        ("shut.x", "/", 403, {"error": "Realtime was disabled for this tenant"}),
        ("zz.x", "/api/broadcast", 401, {"message": "Tenant not found in database"}),
        ("zz.x", "/realtime/v1/api/broadcast/a/events/b", 401,
         {"message": "Tenant not found in database"}),
        ("shut.x", "/api/broadcast", 403, {"message": "Tenant is suspended"}),
    ],
)  # fmt: skip
async def test_http_follows_the_host_too(host: str, path: str, status: int, body: object) -> None:
    transport = httpx.ASGITransport(await three())
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.get(path, headers={"host": host})
    assert answer.status_code == status
    assert (answer.text if status == 200 else json.loads(answer.text)) == body


async def test_numbers_carry_the_tenant_only_where_there_are_several() -> None:
    several = (await three()).samples()
    assert [sample.labels for sample in several] == [{"tenant": "acme"}, {"tenant": "blue"}]
    only = await directory(PaperTenant(DEFAULT_TENANT, is_alone=True))
    assert [sample.labels for sample in only.samples()] == [{}]
    assert only.readiness().checks == {"stream": "live"}
