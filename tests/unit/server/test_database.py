import asyncio
from pathlib import Path

import pytest

from tidewire.adapters.postgres.epoch import SlotRecord
from tidewire.adapters.postgres.finding import Finding
from tidewire.adapters.postgres.row_security.stats import RowSecurityStats
from tidewire.core.errors import SetupError
from tidewire.engine.stats import Stats
from tidewire.server.database import embedded_database, require_fit
from tidewire.server.epoch_file import EpochFile
from tidewire.server.keys import keys_made_at_s
from tidewire.server.numbers import ROW_SECURITY_HELP, STATS_HELP
from tidewire.server.serve import local_url

WARNING = Finding("slow", "warning", "It is slow.", "Make it fast.")
NO_WAL = Finding("wal_level", "error", "wal_level is replica", "Set wal_level = logical.")
NO_RIGHT = Finding("rights", "error", "no right to replicate", "ALTER ROLE … REPLICATION")


class FakePostgres:
    version = "18.6"

    def __init__(self, *, stops: bool = True, starts: bool = True) -> None:
        self.calls: list[str] = []
        self._stops, self._starts = stops, starts

    async def start(self) -> str:
        self.calls.append("start")
        if not self._starts:
            raise SetupError("no room")
        return "postgresql://u"

    async def supervise(self) -> None:
        self.calls.append("supervise")

    async def stop(self) -> None:
        self.calls.append("stop")
        if not self._stops:
            await asyncio.Event().wait()


async def test_an_embedded_database_is_stopped_at_the_end() -> None:
    postgres = FakePostgres()
    async with embedded_database(postgres, Path("/f"), stop_within_s=lambda: 5.0) as database:
        assert database.url == "postgresql://u"
        assert postgres.calls == ["start"]
    assert postgres.calls == ["start", "stop"]


async def test_a_failed_start_is_cleaned_up_too() -> None:
    postgres = FakePostgres(starts=False)
    with pytest.raises(SetupError, match="no room"):
        async with embedded_database(postgres, Path("/f"), stop_within_s=lambda: 5.0):
            pass
    assert postgres.calls == ["start", "stop"]


async def test_a_database_that_will_not_stop_is_not_waited_for_longer_than_there_is_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    postgres = FakePostgres(stops=False)
    async with embedded_database(postgres, Path("/f"), stop_within_s=lambda: 0.01):
        pass
    assert "still shutting down" in caplog.text


def test_a_fit_database_passes_with_its_warnings() -> None:
    assert require_fit([]) == []
    assert require_fit([WARNING]) == [WARNING]


def test_an_error_is_told_with_its_advice() -> None:
    with pytest.raises(SetupError) as caught:
        require_fit([NO_WAL, WARNING])
    assert (caught.value.problem, caught.value.advice) == (NO_WAL.problem, NO_WAL.advice)


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(SetupError) as caught:
        require_fit([NO_WAL, NO_RIGHT])
    for finding in (NO_WAL, NO_RIGHT):
        assert finding.problem in str(caught.value)
        assert finding.advice in str(caught.value)


def test_the_slots_record_survives_a_restart(tmp_path: Path) -> None:
    record = SlotRecord("f" * 32, "123", 7)
    assert EpochFile(tmp_path / "slot.json").load() is None
    EpochFile(tmp_path / "slot.json").save(record)
    assert EpochFile(tmp_path / "slot.json").load() == record


def test_a_damaged_record_of_the_slot_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "slot.json").write_text("{")
    assert EpochFile(tmp_path / "slot.json").load() is None


def test_keys_count_from_the_first_moment_for_ever(tmp_path: Path) -> None:
    assert keys_made_at_s(tmp_path, now_s=100.9) == 100
    assert keys_made_at_s(tmp_path, now_s=200.0) == 100


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("fe80::1", "http://[fe80::1]:80"),
        ("example", "http://example:80"),
    ],
)
def test_the_local_address_is_one_that_can_be_reached(host: str, url: str) -> None:
    assert local_url(host, 80) == url


def test_every_counter_of_the_engine_is_a_metric() -> None:
    assert set(STATS_HELP) == set(Stats.__struct_fields__)


def test_every_counter_of_row_security_is_a_metric() -> None:
    assert set(ROW_SECURITY_HELP) == set(RowSecurityStats.__struct_fields__)
