"""Findings that no server here can be made to show."""

from __future__ import annotations

import msgspec
import pytest

from tidewire.adapters.postgres import preflight
from tidewire.adapters.postgres.preflight import _Facts

GOOD = _Facts(
    version="18.6",
    is_replica=False,
    wal_level="logical",
    slots_used=0,
    slots_max=10,
    has_own_slot=False,
    wal_kept_max="1GB",
    wal_writer_delay_ms=10,
    is_commit_async=False,
    user="ann",
    database="shop",
    backend_pid=1,
    may_make_roles=True,
    missing_roles=[],
    roles_not_held=[],
    may_create=True,
    has_publication=True,
)


def _codes(**changes: object) -> list[str]:
    facts = msgspec.structs.replace(GOOD, **changes)
    found = [rule(facts, "supabase_realtime") for rule in preflight._RULES]
    assert all(finding is None or finding.advice for finding in found)
    return [finding.code for finding in found if finding is not None]


def test_nothing_is_found_where_nothing_lacks() -> None:
    assert _codes() == []


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"is_replica": True}, ["is_standby"]),
        ({"is_replica": True, "may_create": False}, ["is_standby"]),
        ({"slots_used": 10}, ["slots_used_up"]),
        ({"slots_used": 10, "has_own_slot": True}, []),
        ({"missing_roles": ["anon"]}, []),
        ({"missing_roles": ["anon"], "may_make_roles": False}, ["missing_roles"]),
        ({"may_create": False}, ["no_create_right"]),
        ({"may_create": False, "has_publication": False}, ["no_publication"]),
        ({"is_commit_async": True, "wal_writer_delay_ms": 200}, ["slow_wal_writer"]),
        ({"is_commit_async": True}, []),
    ],
)
def test_each_lack_is_named(changes: dict[str, object], codes: list[str]) -> None:
    assert _codes(**changes) == codes


async def test_an_old_version_is_refused_before_anything_else_is_asked() -> None:
    class Old:
        async def fetchval(self, query: str) -> str:
            return {"show server_version_num": "140012", "show server_version": "14.12"}[query]

    findings = await preflight._check_connected(Old(), "postgresql://x/y", "p")  # pyright: ignore[reportArgumentType] - a stand-in for one question
    assert [finding.code for finding in findings] == ["version_too_old"]
    assert "14.12" in findings[0].problem
