"""A whole run at the lowest log level, after which no secret stands anywhere it should not."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from websockets.exceptions import InvalidStatus

from tests.support.raw_socket import raw_socket
from tests.support.server import TidewireServer
from tidewire.adapters.jwt.sign import sign_token

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(60)]

SECRET = "0b5c7f1de94a8263b7f0e1d2c3a4958677"
OPAQUE = "sb_secret_4f1c9a7be2d058364f1c9a7be2d05836"
ADMIN = "77c0e1d2c3a495860b5c7f1de94a8263b7"
FOREIGN = "somebody-elses-secret-of-32-characters"


@pytest.fixture
def server() -> Iterator[TidewireServer]:
    made = TidewireServer(
        environment={
            "TIDEWIRE_LOG__LEVEL": "debug",
            "TIDEWIRE_AUTH__JWT_SECRET": SECRET,
            "TIDEWIRE_AUTH__SECRET_KEYS": json.dumps({"own": OPAQUE}),
            "TIDEWIRE_SERVER__ADMIN_JWT_SECRET": ADMIN,
            "TIDEWIRE_SERVER__METRICS_JWT_SECRET": ADMIN,
        }
    )
    try:
        made.start()
        yield made
    finally:
        made.close()


async def use(server: TidewireServer) -> tuple[list[str], str]:
    """Do what clients do, well and badly; gives the tokens used and all that was answered."""
    token = server.token("authenticated", sub="u1", email="ann@example.org")
    expired = server.token("authenticated", lifetime_s=-5)
    forged = sign_token(FOREIGN, "service_role", now_s=0)
    tokens = [token, expired, forged, "not-a-token-at-all-but-secret", f"{token}x"]
    answers: list[Any] = []
    entry = {"event": "*", "schema": "public", "table": "absent"}
    for key in (server.anon_key, server.service_key, OPAQUE):
        async with raw_socket(server.url, key) as socket:
            for number, given in enumerate(tokens):
                config = {"private": number == 0, "postgres_changes": [entry]}
                _, reply = await socket.join(f"realtime:{number}", config, access_token=given)
                answers.append(reply)
            join_ref, _ = await socket.join("realtime:room", {})
            for given in tokens:
                update = {"access_token": given}
                await socket.push("realtime:room", "access_token", update, join_ref=join_ref)
            await socket.socket.send("[not json")
            await socket.heartbeat()
            answers += socket.raw
    for given in tokens[1:]:
        with pytest.raises(InvalidStatus) as refusal:
            async with raw_socket(server.url, given):
                pass
        answers.append(refusal.value.response.body)
    async with httpx.AsyncClient(base_url=server.url) as http:
        admin = {"Authorization": f"Bearer {sign_token(ADMIN, 'admin', now_s=4e9)}"}
        for given in tokens:
            headers = {"Authorization": f"Bearer {given}"}
            for path in ("/api/broadcast", "/realtime/v1/api/broadcast/a/events/b"):
                answers.append((await http.post(path, headers=headers, content=b"{}")).text)
            answers.append((await http.get(f"/nowhere?apikey={given}")).text)
        for path in ("/metrics", "/readyz", "/api/tenants", "/api/tenants/default/health"):
            answers.append((await http.get(path, headers=admin)).text)
    return tokens, "\n".join(map(str, answers))


async def test_no_secret_is_logged_answered_or_shown(server: TidewireServer) -> None:
    tokens, answers = await use(server)
    password = urlsplit(server.database_url).password
    folder = server.folder / "data"
    kept = [
        (folder / name).read_text().strip()
        for name in ("database_password", "checker_password", "secret_key", "publishable_key")
        if (folder / name).exists()
    ]
    secrets = {SECRET, OPAQUE, ADMIN, password, *kept, server.service_key, server.anon_key, *tokens}
    server.kill_postgres()  # what is said of a lost database holds its address
    for file in (folder / "server.json", server.folder / "ready.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    command_lines = " ".join(
        part
        for process in [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
        for part in process.cmdline()
    )
    assert server.stop() == 0
    log = server.log()
    assert '"level":"debug"' in log
    for secret in secrets:
        assert secret
        assert secret not in log
        assert secret not in command_lines
        assert secret not in answers
    for file in folder.rglob("server.log"):
        text = file.read_text(errors="replace")
        assert not [secret for secret in secrets if str(secret) in text]
