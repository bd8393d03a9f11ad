"""The benches' C programs compile without a warning, and speak to each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from benches.support import compiler
from benches.support.compiler import PROGRAMS, NoCompilerError, build, find_compiler
from benches.support.load import LoadFailedError, hold_load, run_load
from benches.support.servers import ReferenceServer


def _has_compiler() -> bool:
    try:
        find_compiler()
    except NoCompilerError:
        return False
    return True


needs_compiler = pytest.mark.skipif(not _has_compiler(), reason="no C compiler on this machine")


@needs_compiler
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_compiles_without_a_warning(program: str, tmp_path: Path) -> None:
    assert build(program, tmp_path).is_file()


@needs_compiler
def test_a_program_is_built_once(tmp_path: Path) -> None:
    first = build("cserver", tmp_path).stat().st_mtime_ns
    assert build("cserver", tmp_path).stat().st_mtime_ns == first


def test_a_missing_compiler_is_said_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compiler.shutil, "which", lambda _name: None)
    with pytest.raises(NoCompilerError, match="apt-get install gcc"):
        build("wsload", tmp_path)


@needs_compiler
@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("mode", ["send", "coalesce"])
def test_every_publish_reaches_every_subscriber_of_the_reference(mode: str, text: bool) -> None:
    with ReferenceServer(mode) as server:
        report = run_load(
            server, "fanout", clients=20, window=2, seconds=0.2, warm_up=0.05, text=text
        )
    assert report.errors == 0
    assert report.delivered_per_s == pytest.approx(report.published_per_s * 20, rel=0.05)
    assert 0 < report.p50_us <= report.p99_us <= report.max_us


@needs_compiler
@pytest.mark.parametrize("mode", ["heartbeat", "connect"])
def test_replies_are_counted_and_timed(mode: str) -> None:
    with ReferenceServer() as server:
        report = run_load(server, mode, clients=5, concurrency=5, seconds=0.2, warm_up=0.05)
    assert report.errors == 0
    assert report.replies_per_s > 0
    assert report.samples > 0


@needs_compiler
def test_held_connections_are_open_until_finished() -> None:
    with ReferenceServer() as server, hold_load(server, "idle", clients=3) as held:
        assert held.finish().errors == 0


@needs_compiler
def test_a_server_that_is_not_there_is_said() -> None:
    with ReferenceServer() as server:
        gone = server
    with pytest.raises(LoadFailedError, match="refused"):
        run_load(gone, "fanout", seconds=0.1)
