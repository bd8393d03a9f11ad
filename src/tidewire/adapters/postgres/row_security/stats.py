"""Counters of row security, for metrics and tests."""

from __future__ import annotations

import msgspec


class RowSecurityStats(msgspec.Struct):
    """What was judged since the start. A decision is one viewer key for one image of a row.

    Attributes:
        local_total: Decisions by looking a claim up, without a query.
        sets_total: Decisions by one statement for all viewers.
        loop_total: Decisions by a statement for each viewer.
        by_key_total: Decisions by looking at the row as the table has it now.
        hidden_total: Decisions that needed nothing because no policy allows anything.
        queries_total: Calls to the database.
        failed_total: Decisions that failed because a policy raised.
        held_total: Decisions refused at once because the viewer's policy kept raising.
        closed_total: Decisions refused because the row could not be judged in time or at all.
    """

    local_total: int = 0
    sets_total: int = 0
    loop_total: int = 0
    by_key_total: int = 0
    hidden_total: int = 0
    queries_total: int = 0
    failed_total: int = 0
    held_total: int = 0
    closed_total: int = 0
