"""What is there after a kill: everything that was synced, nothing that is not whole."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.journal import JournalFolder, lsns, read_all, tell
from tests.support.transactions import at, told, transaction
from tidewire.adapters.files.journal import FileJournal
from tidewire.core.change import Change, Relation, ReplicaIdentity, Transaction
from tidewire.core.errors import PositionLostError, SetupError
from tidewire.core.lsn import Lsn


async def test_what_was_synced_is_there_after_a_kill(folder: JournalFolder) -> None:
    journal = await folder.begin()
    kept = [transaction(lsn, changes=3) for lsn in (10, 20, 30)]
    journal.append(kept)
    await journal.sync()
    journal.append([transaction(40)])
    folder.kill(journal)

    again = await folder.begin(start=35)
    assert again.last == at(30, 2)
    assert again.covered == 35
    assert again.durable == 35
    assert await tell(again) == [told(item) for item in kept]
    assert again.append([transaction(30), transaction(40)])[0].commit_lsn == 40
    assert await lsns(again) == [10, 20, 30, 40]


async def test_rows_decode_with_the_versions_they_were_written_with(folder: JournalFolder) -> None:
    old = Relation(1, "public", "t", ReplicaIdentity.FULL, ())
    new = Relation(1, "public", "t2", ReplicaIdentity.FULL, ())

    def change(lsn: int, relation: Relation) -> Transaction:
        item = transaction(lsn)
        made = item.changes[0]
        assert isinstance(made, Change)
        return Transaction(
            Lsn(lsn), Lsn(lsn + 5), 1, 2, (Change(made.kind, relation, made.new, made.old),)
        )

    journal = await folder.begin()
    history = [change(10, old), change(20, new), change(30, old)]
    journal.append(history)
    await journal.close()
    again = await folder.begin(start=35)
    again.append([change(40, new)])
    await again.sync()
    read = await read_all(again)
    assert [told(t) for t in read] == [told(t) for t in [*history, change(40, new)]]
    first, second, third = (item.changes[0] for item in read[:3])
    assert isinstance(first, Change)
    assert isinstance(second, Change)
    assert isinstance(third, Change)
    assert first.relation is third.relation
    assert first.relation is not second.relation


async def test_many_restarts_go_on_in_one_file(folder: JournalFolder) -> None:
    for number in range(10):
        journal = await folder.begin(start=1 if not number else number * 10 + 5)
        journal.append([transaction(number * 10 + 10)])
        await journal.close()
    journal = await folder.begin(start=105)
    assert await lsns(journal) == list(range(10, 110, 10))
    assert len(folder.segments) == 1


async def test_many_segments_are_one_history(folder: JournalFolder) -> None:
    limits: Any = {"disk_bytes": 16 * 2000}
    journal = await folder.begin(**limits)
    for lsn in range(10, 1010, 10):
        journal.append([transaction(lsn, changes=2)])
        if lsn % 100 == 0:
            await journal.sync()
    await journal.close()
    assert len(folder.segments) >= 5
    again = await folder.begin(start=1005, **limits)
    assert again.floor == at(0)
    assert await lsns(again) == list(range(10, 1010, 10))
    assert await lsns(again, at(500, 0)) == list(range(500, 1010, 10))
    assert await lsns(again, at(500, 1)) == list(range(510, 1010, 10))


async def test_a_kill_right_behind_a_new_segment_leaves_no_hole(folder: JournalFolder) -> None:
    limits: Any = {"disk_bytes": 16 * 300}
    journal = await folder.begin(**limits)
    journal.append([transaction(10, size=500)])
    journal.append([transaction(20, size=500)])
    await journal.sync()
    journal.cover(Lsn(700))
    await journal.sync()
    folder.kill(journal)
    again = await folder.begin(start=700, **limits)
    assert again.covered == 700
    assert await lsns(again) == [10, 20]


async def test_a_segment_that_was_only_just_made_is_no_harm(folder: JournalFolder) -> None:
    journal = await folder.begin()
    journal.append([transaction(10)])
    await journal.close()
    (folder.path / "00000003.segment").write_bytes(b"tidewire jou")
    again = await folder.begin(start=15)
    again.append([transaction(20)])
    await again.close()
    last = await folder.begin(start=25)
    assert await lsns(last) == [10, 20]


async def test_other_files_in_the_folder_are_left_alone(folder: JournalFolder) -> None:
    folder.path.mkdir()
    others = [folder.path / name for name in ("x.segment", "1.txt", ".segment", "²2.segment")]
    for other in others:
        other.write_text("mine")
    journal = await folder.begin()
    journal.append([transaction(10)])
    await journal.close()
    assert all(other.read_text() == "mine" for other in others)


async def test_one_process_writes_a_folder(folder: JournalFolder) -> None:
    journal = await folder.open()
    with pytest.raises(SetupError, match="Another process"):
        await folder.open()
    await journal.close()
    await folder.open()


async def test_a_folder_that_cannot_be_made_is_told_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"journal\.store"):
        await JournalFolder(tmp_path / "file" / "journal").open()


async def test_a_segment_that_is_missing_ends_the_history_before_it(folder: JournalFolder) -> None:
    limits: Any = {"disk_bytes": 16 * 500}
    journal = await folder.begin(**limits)
    for lsn in range(10, 200, 10):
        journal.append([transaction(lsn, size=200)])
    await journal.close()
    folder.segments[len(folder.segments) // 2].unlink()
    again = await folder.begin(start=195, **limits)
    assert again.floor is not None
    assert 50 < again.floor.commit_lsn < 150
    assert await lsns(again) == list(range(again.floor.commit_lsn + 10, 200, 10))
    with pytest.raises(PositionLostError):
        await again.read_after(at(20))
    await again.sync()
    assert len(folder.segments) == again.status.segments


async def test_a_segment_of_another_history_does_not_count(folder: JournalFolder) -> None:
    journal = await folder.begin()
    journal.append([transaction(10)])
    await journal.sync()
    await journal.begin("e2", start=Lsn(3))
    journal.append([transaction(5)])
    folder.files.failing.add("remove")
    await journal.sync()
    folder.kill(journal)
    assert len(folder.segments) == 2
    folder.files.failing.clear()
    again = await folder.begin(epoch="e2", start=10)
    assert [t.commit_lsn for t in await read_all(again)] == [5]
    await again.sync()
    assert len(folder.segments) == 1


HISTORY = [transaction(lsn, changes=lsn % 4, size=lsn % 90) for lsn in range(10, 300, 10)]


async def write_history(folder: JournalFolder) -> list[object]:
    journal = await folder.begin()
    for item in HISTORY:
        journal.append([item])
        if item.commit_lsn % 50 == 0:
            await journal.sync()
    await journal.close()
    return [told(item) for item in HISTORY]


async def check_prefix(journal: FileJournal, whole: list[object]) -> int:
    """What is there is the beginning of what was written; gives its length."""
    found = await tell(journal)
    assert found == whole[: len(found)]
    last = HISTORY[len(found) - 1] if found else None
    expected = at(last.commit_lsn, max(0, len(last.changes) - 1)) if last else None
    assert journal.last == expected
    assert journal.covered >= (last.end_lsn if last else 0)
    return len(found)


@pytest.mark.timeout(60)
async def test_every_torn_tail_is_cut_to_whole_transactions(tmp_path: Path) -> None:
    source = JournalFolder(tmp_path / "source")
    whole = await write_history(source)
    data = source.segments[0].read_bytes()
    chance = random.Random(1)
    cuts = {*range(120), *range(len(data) - 120, len(data) + 1)}
    cuts |= {chance.randrange(len(data)) for _ in range(160)}
    lengths: set[int] = set()
    for cut in sorted(cuts):
        folder = JournalFolder(tmp_path / str(cut))
        folder.path.mkdir()
        (folder.path / source.segments[0].name).write_bytes(
            data[:cut] + chance.choice([b"", b"\0" * 50, chance.randbytes(50)])
        )
        journal = await folder.begin(start=1)
        length = await check_prefix(journal, whole)
        lengths.add(length)
        # The stream repeats what was not durable, and goes on.
        more = transaction(300)
        journal.append([*HISTORY, more])
        await journal.close()
        again = await folder.begin(start=1)
        assert await tell(again) == [*whole, told(more)]
        await again.close()
    assert len(lengths) > len(HISTORY) - 5  # a cut within nearly every one of them


@pytest.mark.timeout(60)
async def test_no_flipped_bit_ever_gives_a_wrong_row(tmp_path: Path) -> None:
    source = JournalFolder(tmp_path / "source")
    whole = await write_history(source)
    data = source.segments[0].read_bytes()
    chance = random.Random(2)
    for number in range(300):
        damaged = bytearray(data)
        bit = chance.randrange(len(data) * 8)
        damaged[bit // 8] ^= 1 << bit % 8
        folder = JournalFolder(tmp_path / str(number))
        folder.path.mkdir()
        (folder.path / source.segments[0].name).write_bytes(damaged)
        journal = await folder.begin(start=1)
        assert await check_prefix(journal, whole) < len(HISTORY)
        # Had it been acknowledged, the database will not bring it again: that is a hole.
        end = HISTORY[-1].end_lsn
        await journal.begin("e1", start=end)
        assert journal.floor == at(end - 1)
        with pytest.raises(PositionLostError):
            await journal.read_after(at(HISTORY[-1].commit_lsn, 9))
        await journal.close()
