"""Folders on which no server can be started, and what is said of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.launcher import start_launcher
from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres
from tidewire.core.errors import SetupError

pytestmark = pytest.mark.postgres

MakeServer = Callable[..., EmbeddedPostgres]


async def test_a_cluster_of_another_major_version_is_named(
    make_server: MakeServer, server_folder: Path
) -> None:
    server = make_server()
    await server.start()
    await server.stop()
    (server.data_folder / "PG_VERSION").write_text("9\n")
    with pytest.raises(SetupError, match=r"made by PostgreSQL 9, and the programs here are 1"):
        await make_server().start()
    assert (server_folder / "data" / "base").exists()


async def test_a_folder_that_holds_something_else_is_left_alone(
    make_server: MakeServer, server_folder: Path
) -> None:
    (server_folder / "data").mkdir()
    (server_folder / "data" / "letter.txt").write_text("mine")
    with pytest.raises(SetupError, match="holds no PostgreSQL cluster"):
        await make_server().start()
    assert (server_folder / "data" / "letter.txt").read_text() == "mine"


async def test_a_broken_setting_is_told_with_the_servers_words(make_server: MakeServer) -> None:
    with pytest.raises(SetupError, match=r"did not start.*shared_buffers"):
        await make_server(extra_settings={"shared_buffers": "much"}).start()


async def test_a_damaged_cluster_is_told(make_server: MakeServer) -> None:
    server = make_server()
    await server.start()
    await server.stop()
    (server.data_folder / "global" / "pg_control").write_bytes(b"")
    with pytest.raises(SetupError, match="did not start"):
        await server.start()


async def test_a_folder_that_cannot_be_made_is_told(make_server: MakeServer) -> None:
    with pytest.raises(SetupError, match="cannot make the folder"):
        await make_server(Path("/proc/tidewire")).start()


@pytest.fixture
def full_disk() -> Iterator[Path]:
    """A file system of 8 MB."""
    import subprocess

    mount = Path(tempfile.mkdtemp(prefix="tidewire-full-"))
    command = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        mount.rmdir()
        pytest.skip("may not mount")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)
    mount.rmdir()


async def test_a_full_disk_is_told(make_server: MakeServer, full_disk: Path) -> None:
    with pytest.raises(SetupError, match="No space left on device") as caught:
        await make_server(full_disk / "pg").start()
    assert "Free some space" in caught.value.advice
    assert not (full_disk / "pg" / "data").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_a_folder_of_another_user_is_told(server_folder: Path) -> None:
    server_folder.chmod(0o700)
    launcher = start_launcher(server_folder / "pg", "65534")
    _, _ = launcher.communicate(timeout=20)
    assert launcher.returncode != 0
    assert not (server_folder / "pg").exists()
