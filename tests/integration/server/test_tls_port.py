"""A server that speaks TLS on its own port."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.support.certificates import make_certificate
from tests.support.served import Launcher, launcher

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(60)]


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Launcher]:
    async with launcher(tmp_path) as made:
        yield made


async def test_the_port_speaks_tls(servers: Launcher, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    server = await servers.start(
        TIDEWIRE_SERVER__TLS_CERTIFICATE=certificate, TIDEWIRE_SERVER__TLS_KEY=key
    )
    await server.wait_ready()
    url = server.ready["url"]
    assert url.startswith("https://127.0.0.1:")
    context = ssl.create_default_context(cafile=certificate)
    async with httpx.AsyncClient(verify=context, base_url=url) as http:
        assert (await http.get("/healthz")).text == "ok"
    address = url.replace("https:", "wss:") + "/realtime/v1/websocket"
    where = f"{address}?apikey={server.ready['anon_key']}&vsn=2.0.0"
    async with connect(where, ssl=context) as socket:
        await socket.send('[null,"1","phoenix","heartbeat",{}]')
        assert "ok" in str(await socket.recv())
    async with httpx.AsyncClient() as plain:
        with pytest.raises(httpx.HTTPError):
            await plain.get(url.replace("https:", "http:") + "/healthz")
    assert await server.end() == 0
