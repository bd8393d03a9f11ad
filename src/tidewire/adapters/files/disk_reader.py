"""Reads a journal's segments, block by block, for many at once.

A block is read and decoded in a worker thread, once for all who ask for it at about the same time:
the newest blocks that were read are kept for a while.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple

from tidewire.adapters.files.segment import Segment
from tidewire.adapters.files.segment_files import SegmentFiles
from tidewire.core.change import Transaction
from tidewire.core.errors import RealtimeError
from tidewire.core.position import Place, last_place
from tidewire.protocol.journal.records import DamagedError

THREADS = 2
KEPT_MAX = 16

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")


class UnreadableError(RealtimeError):
    """A segment does not give back what was written. Stays within the journal.

    Attributes:
        segment: Which.
    """

    code = "JournalDamaged"

    def __init__(self, segment: Segment, reason: str) -> None:
        super().__init__(reason)
        self.segment = segment


class DiskReader:
    """Finds transactions in segments."""

    def __init__(self, files: SegmentFiles) -> None:
        self._files = files
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="journal-read")
        self._kept: OrderedDict[Hashable, asyncio.Task[Any]] = OrderedDict()

    async def page_after(self, segments: Sequence[Segment], place: Place) -> list[Transaction]:
        """The next transactions on disk that hold something behind `place`.

        Args:
            segments: Oldest first; the first one's floor is not behind `place`.
            place: Where to begin.

        Returns:
            At most a block; empty when nothing behind `place` has been synced.

        Raises:
            UnreadableError: A segment is damaged or gone.
        """
        assert segments[0].floor <= place
        first = max(i for i, segment in enumerate(segments) if segment.floor <= place)
        for index in range(first, len(segments)):
            segment = segments[index]
            if not segment.is_known:
                following = segments[index + 1] if index + 1 < len(segments) else None
                await self._get_to_know(segment, following)
            for start, end in segment.blocks_after(place):
                block = await self._block(segment, start, end)
                page = [kept for kept in block if last_place(kept) > place]
                if page:
                    return page
        return []

    async def close(self) -> None:
        """End what is being read."""
        for task in self._kept.values():
            task.cancel()
        await asyncio.gather(*self._kept.values(), return_exceptions=True)
        self._kept.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _get_to_know(self, segment: Segment, following: Segment | None) -> None:
        """Scan a segment that an earlier run wrote, and see that it reaches to the next one."""

        async def scan() -> None:
            found = await self._in_thread(self._files.scan, segment.header, segment.size)
            if following is not None and (found.last or segment.floor) < following.floor:
                raise DamagedError("it ends too soon")
            segment.learn(found)

        await self._shared(segment, (segment, "scan"), scan)

    async def _block(self, segment: Segment, start: int, end: int) -> list[Transaction]:
        async def read() -> list[Transaction]:
            return await self._in_thread(
                self._files.read_block, segment.header, segment.relations, start, end
            )

        return await self._shared(segment, (segment, start, end), read)

    async def _shared(self, segment: Segment, key: Hashable, work: Callable[[], Any]) -> Any:
        """Do `work` once for all who ask for `key`; somebody who leaves ends it for nobody."""
        task = self._kept.get(key)
        if task is None:
            task = self._kept[key] = asyncio.create_task(work(), name="journal read")
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)  # those who wait for it hold it themselves
        else:
            self._kept.move_to_end(key)
        try:
            return await asyncio.shield(task)
        except (DamagedError, OSError) as error:
            self._kept.pop(key, None)
            raise UnreadableError(segment, str(error)) from error

    async def _in_thread(self, work: Callable[[*_Arguments], _T], *arguments: *_Arguments) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
