import asyncio
import os
import signal
import subprocess
import sys

import pytest

from tidewire.server.stop_signal import STOP_DEADLINE_S, StopSignal

DEADLINE_S = 5.0


async def test_sigterm_asks_for_the_end() -> None:
    stop = StopSignal()
    with stop.installed():
        assert not stop.is_asked
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_S):
            await stop.wait()
    assert stop.is_asked


async def test_the_end_interrupts_what_may_be_interrupted() -> None:
    stop = StopSignal()
    started = asyncio.Event()

    async def work() -> None:
        with stop.interruptible():
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await started.wait()
    stop.ask()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_begins_after_the_end_was_asked_for_is_interrupted_too() -> None:
    stop = StopSignal()
    stop.ask()

    async def work() -> None:
        with stop.interruptible():
            await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(work())


async def test_the_end_leaves_alone_what_may_not_be_interrupted() -> None:
    stop = StopSignal()

    async def work() -> str:
        with stop.interruptible():
            pass
        stop.ask()
        await asyncio.sleep(0)
        return "done"

    assert await asyncio.create_task(work()) == "done"


async def test_the_time_left_counts_from_the_request() -> None:
    stop = StopSignal()
    assert stop.seconds_left() == STOP_DEADLINE_S
    stop.ask()
    assert 1 <= stop.seconds_left() <= STOP_DEADLINE_S


def test_a_second_request_ends_the_process_at_once() -> None:
    program = (
        "import asyncio\n"
        "from tidewire.server.stop_signal import StopSignal\n"
        "async def main():\n"
        "    stop = StopSignal()\n"
        "    with stop.installed():\n"
        "        print('ready', flush=True)\n"
        "        await stop.wait()\n"
        "        print('draining', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "draining\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=DEADLINE_S) == 1
    finally:
        process.kill()
        process.communicate()
