"""Servers of one's own, for tests that start, kill and damage them."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import FAST_SETTINGS, PASSWORD, end_server_of, run_in_thread
from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres

MakeServer = Callable[..., EmbeddedPostgres]


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder that other accounts can reach, as pytest's own are not; ended and removed after."""
    folder = Path(tempfile.mkdtemp(prefix="tidewire-server-"))
    yield folder
    end_server_of(folder)


@pytest.fixture
def make_server(server_folder: Path) -> Iterator[MakeServer]:
    """Makes `EmbeddedPostgres` on one folder unless told another; stopped after the test."""
    made: list[EmbeddedPostgres] = []

    def make(folder: Path | None = None, **options: Any) -> EmbeddedPostgres:
        settings = FAST_SETTINGS | options.pop("extra_settings", {})
        options = {"password": PASSWORD} | options
        server = EmbeddedPostgres(folder or server_folder, extra_settings=settings, **options)
        made.append(server)
        return server

    yield make
    for server in made:
        run_in_thread(server.stop)


@pytest.fixture
def private_home() -> Iterator[Path]:
    """A folder of mode 0700 that belongs to the present user, as a home does."""
    home = Path(tempfile.mkdtemp(prefix="tidewire-home-"))
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert home.stat().st_uid == os.geteuid()
    yield home
    end_server_of(home)
