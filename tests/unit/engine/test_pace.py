from tidewire.engine.pace import BIN_S, PAUSE_S, WINDOW_S, Pace


class Load:
    """Turns of a fixed shape, one after another."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.now_s = 100.0

    def run(self, seconds: float, *, turn_s: float, frames: float, writes: int) -> None:
        """`frames` per flush; while gathering, as many more as come in the window."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            gathered = frames
            if self.pace.window_s:
                gathered = frames * max(1.0, self.pace.window_s / turn_s)
            self.now_s += max(turn_s, self.pace.window_s)
            self.pace.note(self.now_s, flushes=1, frames=round(gathered), writes=writes)


def test_a_calm_server_writes_at_once():
    load = Load()
    load.run(2, turn_s=0.01, frames=1, writes=100)
    assert load.pace.window_s == 0


def test_many_small_flushes_are_gathered_and_stay_so_while_it_pays():
    load = Load()
    load.run(2 * BIN_S, turn_s=0.0004, frames=1, writes=100)
    assert load.pace.window_s == WINDOW_S
    load.run(1, turn_s=0.0004, frames=1, writes=100)
    assert load.pace.window_s == WINDOW_S


def test_flushes_to_few_members_are_not_worth_gathering():
    load = Load()
    load.run(1, turn_s=0.0005, frames=1, writes=10)
    assert load.pace.window_s == 0


def test_large_flushes_are_not_gathered():
    load = Load()
    load.run(1, turn_s=0.004, frames=1, writes=1000)
    assert load.pace.window_s == 0


def test_where_it_brings_nothing_it_ends_and_is_not_tried_again_soon():
    """A sender that waits for its own message before it sends the next."""
    load = Load()
    gathering_s = 0.0
    for _ in range(5000):
        pause_s = load.pace.window_s
        gathering_s += pause_s
        load.now_s += 0.0005 + pause_s
        load.pace.note(load.now_s, flushes=1, frames=1, writes=100)
    elapsed_s = load.now_s - 100.0
    assert gathering_s > 0
    assert gathering_s < elapsed_s * 3 * BIN_S / PAUSE_S


def test_it_ends_when_the_load_does():
    load = Load()
    load.run(1, turn_s=0.0004, frames=1, writes=100)
    assert load.pace.window_s == WINDOW_S
    load.now_s += 5
    load.pace.note(load.now_s, flushes=1, frames=1, writes=100)
    assert load.pace.window_s == 0
