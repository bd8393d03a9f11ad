"""The server as root in each of its ways, and as an ordinary user."""

# ruff: noqa: ASYNC240 - the loop of a test serves nobody else

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from tests.support.launcher import start_launcher, told_by
from tidewire.adapters.postgres.embedded import privileges
from tidewire.adapters.postgres.embedded.binaries import find_binaries
from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres
from tidewire.adapters.postgres.embedded.privileges import LaunchKind
from tidewire.core.errors import SetupError

MakeServer = Callable[..., EmbeddedPostgres]
# Programs are copied and clusters made, several in a test.
pytestmark = [pytest.mark.postgres, pytest.mark.timeout(60)]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has a choice")


def _uid_of_process(pid: int | None) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def _kind(server: EmbeddedPostgres) -> LaunchKind:
    assert server.launch is not None
    return server.launch.kind


async def _answers(server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(server.url, timeout=5)
    await connection.execute("create temp table t as select 1")
    await connection.close()


def _link_tree(source: Path, target: Path) -> None:
    """A copy that costs nothing where both lie on one file system."""

    def link(old: str, new: str) -> None:
        try:
            os.link(old, new)
        except OSError:
            shutil.copy2(old, new)

    ignored = shutil.ignore_patterns("include")
    shutil.copytree(source, target, symlinks=True, ignore=ignored, copy_function=link)


def _installed_in(home: Path) -> Path:
    """The programs as a virtual environment below `home` would hold them."""
    root = find_binaries().folder.parent
    packages = home / "venv" / "site-packages"
    _link_tree(root, packages / root.parent.name / root.name)
    libraries = root.parent.with_name(f"{root.parent.name}.libs")
    if libraries.exists():
        _link_tree(libraries, packages / libraries.name)
    return packages / root.parent.name / root.name / "bin"


@pytest.mark.skipif(os.geteuid() == 0, reason="only for an ordinary user")
async def test_an_ordinary_user_runs_it_as_himself(
    make_server: MakeServer, private_home: Path
) -> None:
    server = make_server(private_home / "data")
    await server.start()
    assert _kind(server) is LaunchKind.OWN
    assert _uid_of_process(server.pid) == os.geteuid()


@as_root
@pytest.mark.parametrize("below_home", [False, True])
async def test_an_ordinary_user_runs_it_as_himself_when_root_became_one(
    server_folder: Path, private_home: Path, below_home: bool
) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    folder = private_home if below_home else server_folder
    os.chown(folder, nobody, -1)
    launcher = start_launcher(folder, str(nobody))
    told = await asyncio.to_thread(told_by, launcher)
    assert told["kind"] == "OWN"
    assert told["uid"] == nobody
    assert _uid_of_process(int(str(told["pid"]))) == nobody
    launcher.communicate(timeout=10)
    assert launcher.returncode == 0


@as_root
async def test_root_runs_it_as_an_account_without_rights(
    make_server: MakeServer, server_folder: Path
) -> None:
    before = pwd.getpwall()
    server = make_server()
    await server.start()
    await _answers(server)
    assert _kind(server) is LaunchKind.ACCOUNT
    uid = _uid_of_process(server.pid)
    assert uid != 0
    assert (server_folder / "data").stat().st_uid == uid
    assert server_folder.stat().st_uid == 0
    assert stat.S_IMODE(server_folder.stat().st_mode) == 0o710
    assert pwd.getpwall() == before


@as_root
async def test_an_enclosing_folder_of_ours_is_opened_for_passage_alone(
    make_server: MakeServer, server_folder: Path
) -> None:
    server = make_server(server_folder / "postgres", enclosing=server_folder)
    await server.start()
    await _answers(server)
    assert _kind(server) is LaunchKind.ACCOUNT
    assert stat.S_IMODE(server_folder.stat().st_mode) == 0o710
    assert server_folder.stat().st_uid == 0


@as_root
async def test_programs_and_data_below_roots_home_run_in_a_user_namespace(
    make_server: MakeServer, private_home: Path
) -> None:
    server = make_server(private_home / "data", bin_folder=_installed_in(private_home))
    await server.start()
    await _answers(server)
    assert _kind(server) is LaunchKind.NAMESPACE
    assert stat.S_IMODE(private_home.stat().st_mode) == 0o700
    assert (private_home / "data" / "data").stat().st_uid == 0
    status = Path(f"/proc/{server.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    second = make_server(private_home / "data", bin_folder=server.binaries_folder)
    await second.start()
    assert second.pid == server.pid


@as_root
async def test_programs_out_of_reach_do_not_need_the_data_there_too(
    make_server: MakeServer, private_home: Path, server_folder: Path
) -> None:
    server = make_server(bin_folder=_installed_in(private_home))
    await server.start()
    await _answers(server)
    assert _kind(server) is LaunchKind.NAMESPACE
    assert server_folder.stat().st_uid == 0


@as_root
async def test_without_user_namespaces_the_programs_are_copied(
    make_server: MakeServer,
    private_home: Path,
    server_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(privileges, "_namespace_prefix", lambda _: ["/bin/false"])
    programs = _installed_in(private_home)
    server = make_server(bin_folder=programs)
    await server.start()
    await _answers(server)
    assert _kind(server) is LaunchKind.ACCOUNT
    assert server.binaries_folder.is_relative_to(server_folder)
    await server.stop()
    again = make_server(bin_folder=programs)
    await again.start()
    await _answers(again)


@as_root
async def test_where_no_way_works_root_is_told_what_to_do(
    make_server: MakeServer, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privileges, "_namespace_prefix", lambda _: ["/bin/false"])
    with pytest.raises(SetupError, match="does not run as root") as caught:
        await make_server(private_home / "data").start()
    assert "--data-dir" in caught.value.advice


@as_root
async def test_a_cluster_passes_from_one_way_to_another(
    make_server: MakeServer, private_home: Path, server_folder: Path
) -> None:
    programs = _installed_in(private_home)
    first = make_server()
    await first.start()
    connection = await asyncpg.connect(first.url, timeout=5)
    await connection.execute("create table kept as select 1 as id")
    await connection.close()
    await first.stop()
    for options in ({"bin_folder": programs}, {}):
        server = make_server(**options)
        url = await server.start()
        connection = await asyncpg.connect(url, timeout=5)
        assert await connection.fetchval("select id from kept") == 1
        await connection.close()
        await server.stop()
    assert _kind(first) is LaunchKind.ACCOUNT
