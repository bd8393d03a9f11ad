"""Counters of one node, for metrics and tests. Plain integers: adding to one costs nothing."""

from __future__ import annotations

import msgspec


class Stats(msgspec.Struct):
    """What happened since the node started.

    Attributes:
        connections: Open now.
        channels: Joined now.
        subscriptions: Channels with postgres_changes now.
        connections_total: Ever opened.
        joins_total: Joins answered with ok.
        joins_refused_total: Joins answered with an error.
        messages_in_total: Frames from clients.
        malformed_total: Frames dropped because they were none.
        broadcasts_total: Broadcasts accepted from channels.
        http_broadcasts_total: Broadcasts accepted over HTTP.
        database_broadcasts_total: Broadcasts from SQL handed on.
        database_broadcasts_dropped_total: Broadcasts from SQL that could not be sent.
        send_failures_total: Calls of realtime.send that failed with a warning only.
        replayed_total: Messages given by replays.
        persists_total: Clients' broadcasts kept for replay.
        persists_failed_total: Those that were allowed to be kept and could not be.
        message_upkeep_failures_total: Times that messages could not be looked after.
        broadcasts_refused_total: Broadcasts dropped or refused.
        presence_total: Presence calls accepted.
        pushes_unauthorized_total: Broadcasts and tracks that policies of private channels deny.
        rights_asked_total: Times that somebody's rights on a private channel were asked for.
        rights_lost_total: Channels closed because they may read less than before.
        changes_total: Row changes offered to at least one subscriber.
        transactions_total: Transactions routed.
        rows_judged_total: Row images that a row policy was asked about.
        rows_hidden_total: Of them, those that none of the viewers asked about may see.
        leaves_total: Frames that told of a row that left a filter or someone's sight.
        policy_failures_total: Error 500 frames in place of a row, because a policy raised.
        half_open_total: Connections ended because the peer fell silent.
        messages_slowed_total: Pushes over a limit that were taken, their sender held back.
        messages_over_limit_total: Pushes over a limit that were refused.
        tracks_put_off_total: Tracks over a limit, put off or replaced by a later one.
        slow_readers: Connections that read too slowly now.
        slow_readers_total: How often one did.
        changes_conflated_total: Changes left out for such a one, because a later one told it all.
        broadcasts_dropped_total: Broadcasts that such a one missed.
        slow_resyncs_total: How often one had to be told to fetch again.
    """

    connections: int = 0
    channels: int = 0
    subscriptions: int = 0
    connections_total: int = 0
    joins_total: int = 0
    joins_refused_total: int = 0
    messages_in_total: int = 0
    malformed_total: int = 0
    broadcasts_total: int = 0
    http_broadcasts_total: int = 0
    database_broadcasts_total: int = 0
    database_broadcasts_dropped_total: int = 0
    send_failures_total: int = 0
    replayed_total: int = 0
    persists_total: int = 0
    persists_failed_total: int = 0
    message_upkeep_failures_total: int = 0
    broadcasts_refused_total: int = 0
    presence_total: int = 0
    pushes_unauthorized_total: int = 0
    rights_asked_total: int = 0
    rights_lost_total: int = 0
    changes_total: int = 0
    transactions_total: int = 0
    rows_judged_total: int = 0
    rows_hidden_total: int = 0
    leaves_total: int = 0
    policy_failures_total: int = 0
    half_open_total: int = 0
    messages_slowed_total: int = 0
    messages_over_limit_total: int = 0
    tracks_put_off_total: int = 0
    slow_readers: int = 0
    slow_readers_total: int = 0
    changes_conflated_total: int = 0
    broadcasts_dropped_total: int = 0
    slow_resyncs_total: int = 0
