from tests.support.clock import ManualClock
from tidewire.engine.quota import BATCH_TOO_LARGE, EXCEEDED, WINDOW_S, MessageQuota


class Sockets:
    def __init__(self) -> None:
        self.sent = 0

    def count(self) -> int:
        return self.sent


def make(per_s: float = 100) -> tuple[MessageQuota, ManualClock, Sockets]:
    clock, sockets = ManualClock(), Sockets()
    return MessageQuota(per_s, clock, sockets.count), clock, sockets


def test_within_the_limit_messages_pass_and_the_headers_say_how_much_is_left():
    quota, _, _ = make()
    answer = quota.ask(50)
    assert answer.refusal == ""
    assert answer.headers == {
        "x-rate-rolling": "5.00",
        "x-rate-limit": "100",
        "x-rate-limit-remaining": "95",
    }


def test_a_batch_larger_than_what_is_left_is_refused_whole_and_not_counted():
    quota, _, _ = make()
    assert quota.ask(101).refusal == BATCH_TOO_LARGE
    assert quota.ask(100).refusal == ""
    assert quota.ask(91).refusal == BATCH_TOO_LARGE
    assert quota.ask(90).refusal == ""


def test_above_the_limit_everything_is_refused_until_the_window_has_passed():
    quota, clock, sockets = make()
    sockets.sent = 1001
    assert quota.ask(1).refusal == EXCEEDED
    assert quota.ask(1).headers["x-rate-limit-remaining"] == "0"
    for _ in range(int(WINDOW_S)):
        clock.advance(1.0)
        quota.note()
    clock.advance(1.0)
    assert quota.ask(1).refusal == ""


def test_without_a_limit_everything_passes_and_no_header_is_sent():
    quota, _, _ = make(0)
    answer = quota.ask(1_000_000)
    assert (answer.refusal, answer.headers) == ("", {})
