"""The supervisor of an embedded server, without one."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from tidewire.adapters.postgres.embedded import cluster
from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres
from tidewire.core.errors import DatabaseUnavailableError

TRIES = 6


async def test_a_server_that_cannot_start_is_tried_ever_more_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(cluster, "BACKOFF_MAX_S", 0.04)
    postgres = EmbeddedPostgres(tmp_path, password="unused")
    tried_s: list[float] = []

    async def fail_to_start() -> str:
        tried_s.append(time.monotonic())
        postgres._is_stopping = len(tried_s) == TRIES
        raise DatabaseUnavailableError("the disk is full")

    monkeypatch.setattr(postgres, "start", fail_to_start)
    postgres._started_at_s = time.monotonic() - 3600  # it ran well for long
    await postgres.supervise()
    pauses_s = [later - earlier for earlier, later in itertools.pairwise(tried_s)]
    assert all(
        pause_s >= least_s
        for pause_s, least_s in zip(pauses_s, (0.01, 0.02, 0.04, 0.04, 0.04), strict=True)
    )
