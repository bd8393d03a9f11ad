"""What a tenant's parts counted, for metrics and readiness."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from tidewire.engine.stats import Stats
from tidewire.http.health import Readiness
from tidewire.http.metrics import Sample
from tidewire.ports.change_source import StreamState, StreamStatus
from tidewire.ports.journal import Journal

STATS_HELP = {
    "connections": "Open connections.",
    "channels": "Joined channels.",
    "subscriptions": "Channels that listen to database changes.",
    "connections_total": "Connections ever opened.",
    "joins_total": "Joins answered with ok.",
    "joins_refused_total": "Joins answered with an error.",
    "messages_in_total": "Frames from clients.",
    "malformed_total": "Frames dropped because they were none.",
    "broadcasts_total": "Broadcasts accepted from channels.",
    "http_broadcasts_total": "Broadcasts accepted over HTTP.",
    "database_broadcasts_total": "Broadcasts from SQL handed on.",
    "database_broadcasts_dropped_total": "Broadcasts from SQL that could not be sent.",
    "send_failures_total": "Calls of realtime.send that failed with a warning only.",
    "replayed_total": "Messages given by replays.",
    "persists_total": "Broadcasts of clients kept for replay.",
    "persists_failed_total": "Broadcasts of clients that could not be kept.",
    "message_upkeep_failures_total": "Times that the partitions of messages were not looked after.",
    "broadcasts_refused_total": "Broadcasts dropped or refused.",
    "presence_total": "Presence calls accepted.",
    "pushes_unauthorized_total": "Broadcasts and tracks that policies of private channels deny.",
    "rights_asked_total": "Times that somebody's rights on a private channel were asked for.",
    "rights_lost_total": "Channels closed because they may read less than before.",
    "changes_total": "Row changes offered to at least one subscriber.",
    "transactions_total": "Transactions routed.",
    "rows_judged_total": "Row images that a row policy was asked about.",
    "rows_hidden_total": "Row images that none of the viewers asked about may see.",
    "leaves_total": "Frames that told of a row that left a filter or someone's sight.",
    "policy_failures_total": "Error 500 frames in place of a row, because a policy raised.",
    "half_open_total": "Connections ended because the peer fell silent.",
    "messages_slowed_total": "Pushes over a limit that were taken, their sender held back.",
    "messages_over_limit_total": "Pushes over a limit that were refused.",
    "tracks_put_off_total": "Tracks over a limit, put off or replaced by a later one.",
    "slow_readers": "Clients that read too slowly now.",
    "slow_readers_total": "How often a client began to read too slowly.",
    "changes_conflated_total": "Changes left out for slow clients: a later one told it all.",
    "broadcasts_dropped_total": "Broadcasts that slow clients missed.",
    "slow_resyncs_total": "How often a slow client was told to fetch again.",
}
"""Counters of `engine.stats.Stats`; a test keeps them in step."""


ROW_SECURITY_HELP = {
    "local_total": "Decisions about a row by looking a claim up, without a query.",
    "sets_total": "Decisions about a row by one statement for all viewers.",
    "loop_total": "Decisions about a row by a statement for each viewer.",
    "by_key_total": "Decisions about a row by looking at the present one.",
    "hidden_total": "Decisions about a row that no policy shows to anybody.",
    "queries_total": "Questions to the database about rows.",
    "failed_total": "Decisions about a row that failed because a policy raised.",
    "held_total": "Decisions about a row refused at once, because the policy kept raising.",
    "closed_total": "Decisions about a row that could not be judged.",
}
"""Counters of row security; each is exported with ``row_security_`` before its name."""


JOURNAL_HELP = {
    "alarm": "1 while nothing is retained on disk because that fails.",
    "memory_bytes": "Bytes of the newest changes in memory.",
    "disk_bytes": "Bytes of the journal on disk.",
    "segments": "Files of the journal.",
    "reach_s": "How far back clients can resume, seconds.",
    "unsynced_bytes": "Bytes that wait to be brought to disk.",
    "syncs_total": "How often the journal was brought to disk.",
    "sync_seconds_total": "Seconds that took in all.",
    "failures_total": "How often the disk began to fail.",
    "damages_total": "Files of the journal that were found damaged, and dropped.",
}
"""Numbers of `ports.journal.JournalStatus`; each is exported with ``journal_`` before its name."""


class Recording(Protocol):
    """What keeps the stream's transactions."""

    journal: Journal
    repeated: int


class Written(Protocol):
    """What the fan-out counts."""

    frames_written: int
    bytes_written: int


class Streaming(Protocol):
    """What the change source says of itself."""

    @property
    def status(self) -> StreamStatus:
        """What there is to say of the stream now."""
        ...


class TenantNumbers:
    """Reads one tenant's plain counters."""

    def __init__(
        self,
        stats: Stats,
        source: Streaming,
        written: Written,
        row_security: object,
        recorder: Recording,
    ) -> None:
        """Read what others count.

        Args:
            stats: Of the engine.
            source: Of the stream.
            written: Of the fan-out.
            row_security: Has an attribute for each name in `ROW_SECURITY_HELP`.
            recorder: Of the journal.
        """
        self._recorder = recorder
        self._row_security = row_security
        self._stats = stats
        self._source = source
        self._written = written
        self._slow_consumers = 0

    def count_slow_consumer(self) -> None:
        """A client was cut off because it did not read."""
        self._slow_consumers += 1

    def readiness(self) -> Readiness:
        """Ready while the stream is live; a journal that fails holds nobody up."""
        status = self._source.status
        told = status.state.value + (f": {status.detail}" if status.detail else "")
        alarm = self._recorder.journal.status.alarm
        kept = f"nothing is retained on disk: {alarm}" if alarm else "ok"
        return Readiness(status.state is StreamState.LIVE, {"stream": told, "journal": kept})

    def samples(self) -> Iterable[Sample]:
        """Every number of this tenant."""
        for name, help_text in STATS_HELP.items():
            yield Sample(name, help_text, getattr(self._stats, name))
        yield from samples_of_the_original(self._stats)
        for name, help_text in ROW_SECURITY_HELP.items():
            value = getattr(self._row_security, name)
            yield Sample(f"row_security_{name}", help_text, value)
        journal = self._recorder.journal.status
        for name, help_text in JOURNAL_HELP.items():
            value = bool(journal.alarm) if name == "alarm" else getattr(journal, name)
            yield Sample(f"journal_{name}", help_text, value)
        yield Sample(
            "journal_repeated_total",
            "Transactions that the stream brought again, and that were not kept twice.",
            self._recorder.repeated,
        )
        written = self._written
        yield Sample("frames_sent_total", "Frames written to clients.", written.frames_written)
        yield Sample("bytes_sent_total", "Bytes written to clients.", written.bytes_written)
        yield Sample(
            "slow_consumers_total", "Clients cut off for not reading.", self._slow_consumers
        )
        status = self._source.status
        yield Sample("stream_live", "1 while the stream is live.", status.state is StreamState.LIVE)
        lag = max(0, status.received_lsn - status.acknowledged_lsn)
        yield Sample("stream_lag_bytes", "Log received and not yet acknowledged, bytes.", lag)


ORIGINAL_NAMES = {
    "connections_connected": ("connections", "Open connections."),
    "channel_joins": ("joins_total", "Joins answered with ok."),
    "channel_events": ("broadcasts_total", "Broadcasts accepted from channels."),
    "channel_presence_events": ("presence_total", "Presence calls accepted."),
    "channel_db_events": ("changes_total", "Row changes offered to at least one subscriber."),
    "subscriptions_manager_subscribers": (
        "subscriptions",
        "Channels that listen to database changes.",
    ),
}
"""Names of the original, behind ``realtime_``, to what they are here: dashboards made for it go on.

Source: wire specification 9.2, as far as the meaning is the same.
"""


def samples_of_the_original(stats: Stats) -> Iterable[Sample]:
    """One tenant's numbers by the original's names."""
    for name, (counter, help_text) in ORIGINAL_NAMES.items():
        yield Sample(name, help_text, getattr(stats, counter), prefix="realtime_")


def process_samples(*, started_s: float) -> Iterable[Sample]:
    """Every number that belongs to the process and to no tenant.

    Args:
        started_s: Monotonic seconds of its start.
    """
    uptime_s = time.monotonic() - started_s
    yield Sample("uptime_seconds", "Seconds since the start.", uptime_s)
