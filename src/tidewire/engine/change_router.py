"""Takes committed transactions and hands each change to the groups that want it.

Theory of operation. Changes are routed in batches, in commit order. For each batch: make sure
that everyone is resolved by the newest catalogue and every table indexed for the version that
the changes were written with; match; ask the database what only it can judge of filters, in one
round trip; ask who may see the rows, in one more where policies cannot be judged here; look
again if anyone came, went or moved meanwhile, and ask about them alone; then offer the frames
without waiting in between. So a change always meets the subscriptions of the moment it is
delivered, and nothing is delivered that a policy was not asked about.

Who joins while a batch is being judged is not owed its changes, which were committed before his
join was answered; so after a few rounds of that the batch goes out, without those of whom
nothing is known. Who was here and is somebody else now is always asked about.

Freshness: a table's version not seen before and a ``tidewire.ddl`` message make the catalogue
be read before anything after them is judged; apart from that its fingerprint is read at most
once a second while changes flow. The log tells of a commit before queries show it: what is
read because of a transaction counts only once it shows that one. When the database does not
answer, routing waits, and with it the stream: nothing is skipped or judged by a stale catalogue.

A change that cannot be judged or rendered stops nobody else: its subscribers are told.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from tidewire.core.catalog import Catalog
from tidewire.core.change import ChangeKind, LogicalMessage, Relation, Transaction
from tidewire.core.clock import Clock
from tidewire.core.errors import DatabaseUnavailableError, InvalidSubscriptionError
from tidewire.core.predicate import Predicate
from tidewire.engine.change_batch import Batch, Step
from tidewire.engine.change_delivery import ChangeDelivery
from tidewire.engine.change_frames import commit_timestamp
from tidewire.engine.change_group import Binding, ChangeGroup
from tidewire.engine.change_matching import Answers, ChangeMatching
from tidewire.engine.database_broadcasts import DatabaseBroadcasts
from tidewire.engine.stats import Stats
from tidewire.engine.subscriptions import Subscriptions
from tidewire.engine.visibility import Unanswered, Visibility
from tidewire.ports.catalog_source import CatalogSource, Comparison

logger = logging.getLogger(__name__)

PACE_S, PACE_ROUNDS = 0.005, 200
"""How often, and for how long in all, a full batch waits for receivers that are behind."""

FRESH_S = 1.0
DDL_PREFIX = "tidewire.ddl"
RETRY_MIN_S, RETRY_MAX_S = 0.05, 2.0
ROUNDS_MAX = 100
"""How often a batch is looked at again because something changed while the database was asked."""

JOINS_ROUNDS_MAX = 3
"""In how many of them those who joined meanwhile are waited for."""

_NEVER = (-1, -1)
_Result = TypeVar("_Result")


class MessageListener(Protocol):
    """Takes what others put into the log by `pg_logical_emit_message`. Must not block."""

    def on_message(self, content: bytes) -> None:
        """One message, committed."""
        ...

    def on_gap(self) -> None:
        """Messages may have been missed: the stream is live again, or left some out."""
        ...


class ChangeRouter:
    """Implements `ports.change_source.TransactionSink`."""

    def __init__(
        self,
        catalogs: CatalogSource,
        subscriptions: Subscriptions,
        clock: Clock,
        stats: Stats,
        rng: random.Random,
        *,
        is_congested: Callable[[], bool] = lambda: False,
        sends_key_only_deletes: bool = True,
        broadcasts: DatabaseBroadcasts | None = None,
    ) -> None:
        """Make it.

        Args:
            catalogs: Read before anything is judged by it.
            subscriptions: Who wants what.
            clock: For the age of what was read.
            stats: Counts.
            rng: For the jitter of retries.
            is_congested: Whether some receiver's outbox is full now.
            sends_key_only_deletes: See `ChangeDelivery`.
            broadcasts: Takes the rows that are broadcasts from SQL; None when there are none.
        """
        self._broadcasts = broadcasts
        self._matching = ChangeMatching(subscriptions)
        self._visibility = Visibility(subscriptions.authorizer, stats)
        self._delivery = ChangeDelivery(stats, sends_key_only_deletes=sends_key_only_deletes)
        self._is_congested = is_congested
        self._catalogs = catalogs
        self._subscriptions = subscriptions
        self._clock = clock
        self._stats = stats
        self._rng = rng
        self._relations: dict[int, Relation] = {}
        self._refreshed_s = float("-inf")
        self._live = asyncio.Event()
        self._listeners: dict[str, MessageListener] = {}

    @property
    def is_live(self) -> bool:
        """Whether everything committed from now on arrives."""
        return self._live.is_set()

    def listen(self, prefix: str, listener: MessageListener) -> None:
        """Hand messages of `prefix` to `listener`, in the order of the stream."""
        self._listeners[prefix] = listener

    async def wait_live(self) -> None:
        """Wait until the stream is live. Put a deadline around it."""
        await self._live.wait()

    async def on_live(self, epoch: str, *, is_new_epoch: bool) -> None:
        """Let joins be answered; after a broken history tell everyone to fetch again."""
        logger.info("stream live", extra={"epoch": epoch, "is_new_epoch": is_new_epoch})
        self._tell_gap()
        if is_new_epoch:
            self._tell_resync(self._subscriptions.groups, "changes may be missing: new epoch")
        self._live.set()

    async def on_down(self, reason: str) -> None:
        """Hold joins back until the stream is live again."""
        logger.warning("stream down", extra={"reason": reason})
        self._live.clear()

    async def receive(self, transactions: Sequence[Transaction]) -> None:
        """Route all changes of whole transactions, in order. Returns when all is offered."""
        self._stats.transactions_total += len(transactions)
        if not len(self._subscriptions):
            # A relation passed over here counts as new when it comes again.
            self._pass_messages(transactions)
            if self._broadcasts is not None:
                await self._broadcasts.publish_all(transactions, self._pace)
            return
        batch = Batch()
        for transaction in transactions:
            if transaction.overflowed:
                await self._pass_over(transaction, batch)
                continue
            timestamp = commit_timestamp(transaction.committed_at_us)
            for item in transaction.changes:
                if isinstance(item, LogicalMessage):
                    await self._take_message(item, batch, transaction.xid)
                    continue
                if self._relations.get(item.relation.oid) is not item.relation:
                    await self._meet(item.relation, batch, transaction.xid)
                message = None
                if self._broadcasts is not None:
                    message = self._broadcasts.message_of(item, transaction.committed_at_us)
                batch.add(item, timestamp, transaction.xid, message)
                if batch.is_full:
                    await self._flush(batch)
        if batch:
            await self._flush(batch)
        elif self._is_stale():
            await self._refresh()

    async def _pass_over(self, transaction: Transaction, batch: Batch) -> None:
        """Tell everyone of a transaction that was too large to be held."""
        await self._flush(batch)
        self._tell_resync(self._subscriptions.groups, "transaction too large")
        if self._broadcasts is not None:
            self._broadcasts.note_overflow()
        await self._refresh(transaction.xid)  # what it told of the catalogue was left out too
        self._tell_gap()

    async def _take_message(self, message: LogicalMessage, batch: Batch, xid: int) -> None:
        if message.prefix == DDL_PREFIX:
            await self._flush(batch)
            await self._refresh(xid)
        self._pass_on(message)  # who looks at the catalogue because of it finds it changed

    async def _meet(self, relation: Relation, batch: Batch, xid: int) -> None:
        """Read the catalogue that belongs to a version of a table not seen before."""
        await self._flush(batch)
        await self._refresh(xid)
        self._relations[relation.oid] = relation

    def _pass_messages(self, transactions: Sequence[Transaction]) -> None:
        """Hand messages on when nobody wants changes."""
        for transaction in transactions:
            if transaction.overflowed:
                self._tell_gap()
            for item in transaction.changes:
                if isinstance(item, LogicalMessage):
                    self._pass_on(item)

    def _pass_on(self, message: LogicalMessage) -> None:
        listener = self._listeners.get(message.prefix)
        if listener is not None:
            listener.on_message(message.content)

    def _tell_gap(self) -> None:
        for listener in self._listeners.values():
            listener.on_gap()

    async def _flush(self, batch: Batch) -> None:
        """Deliver a batch and empty it."""
        if not batch:
            return
        if not await self._deliver_when_known(batch):
            groups = {group for step in batch.steps for group in self._groups_of(step)}
            self._tell_resync(list(groups), "subscriptions kept changing")
            self._publish(list(batch.steps))
        is_large = batch.is_full
        batch.clear()
        if is_large:
            await self._pace()

    async def _deliver_when_known(self, batch: Batch) -> bool:
        """Find out who gets the changes of a batch, and offer them.

        Returns:
            False when that did not come to an end; then nothing was offered.
        """
        answers: Answers = {}
        matched = _NEVER
        for round_ in range(ROUNDS_MAX):
            if self._is_stale():
                await self._refresh()
            if not self._is_prepared(batch):
                matched = _NEVER
                await self._prepare(batch)
                continue
            if matched is _NEVER or not self._is_settled(matched, round_):
                matched = (self._subscriptions.version, self._subscriptions.moves)
                comparisons = self._matching.match(batch.steps, answers)
                if comparisons:
                    matched = _NEVER
                    await self._ask(comparisons, answers)
                    continue
            missing = self._visibility.unanswered(batch.steps, self._subscriptions.catalog)
            if not missing:
                self._deliver_all(batch)
                return True
            await self._judge(missing)
        return False

    def _is_settled(self, matched: tuple[int, int], round_: int) -> bool:
        """Whether what was matched before a wait may be delivered after it."""
        version, moves = matched
        if version == self._subscriptions.version:
            return True
        return round_ >= JOINS_ROUNDS_MAX and moves == self._subscriptions.moves

    async def _pace(self) -> None:
        """Between full batches let sockets be served, and receivers that are behind catch up.

        Without it a large transaction overruns the outbox of every client that reads slower
        than we write. The wait is bounded: a receiver that does not read at all is cut off.
        """
        await asyncio.sleep(0)
        for _ in range(PACE_ROUNDS):
            if not self._is_congested():
                return
            await asyncio.sleep(PACE_S)

    def _is_prepared(self, batch: Batch) -> bool:
        """Whether the batch can be matched now; notes the route of each step."""
        if not self._subscriptions.is_current:
            return False
        route_of = self._subscriptions.route
        for step in batch.steps:
            relation = step.change.relation
            route = step.route = route_of(relation.oid)
            if route is not None and not route.is_indexed_for(relation):
                return False
        return True

    async def _prepare(self, batch: Batch) -> None:
        """Bring everyone to the newest catalogue and index the tables of the batch."""
        await self._insist(self._subscriptions.sync)
        for relation in dict.fromkeys(step.change.relation for step in batch.steps):
            route = self._subscriptions.route(relation.oid)
            if route is None or route.is_indexed_for(relation):
                continue
            recompiled: dict[Binding, tuple[Predicate, ...] | None] = {}
            for binding in route.misfits(relation):
                recompiled[binding] = await self._recompile(binding, relation)
            # When a misfit came meanwhile, the caller finds the batch unprepared and returns.
            route.index_for(relation, recompiled)

    async def _recompile(
        self, binding: Binding, relation: Relation
    ) -> tuple[Predicate, ...] | None:
        """The binding's filter for the types of a version that the catalogue has left behind."""
        catalog = self._catalogs.current
        table = catalog.tables.get(binding.table_oid)
        if table is None:
            return None
        type_oids = {column.name: column.type_oid for column in relation.columns}

        async def compile_() -> tuple[Predicate, ...]:
            return await self._subscriptions.compiler.compile(
                catalog, table, binding.entry.conditions, type_oids
            )

        try:
            return await self._insist(compile_)
        except InvalidSubscriptionError:
            logger.warning(
                "a filter does not fit a former version of its table",
                extra={"table": f"{relation.schema}.{relation.name}"},
            )
            return None

    async def _refresh(self, xid: int = 0) -> None:
        """Read the catalogue anew, with what the transaction `xid` did to it."""

        async def refresh() -> Catalog:
            return await self._catalogs.refresh(xid=xid)

        started_s = self._clock.monotonic_s()
        await self._insist(refresh)
        await self._insist(self._subscriptions.sync)
        self._refreshed_s = started_s

    def _is_stale(self) -> bool:
        """Whether the last look at the catalogue is too long ago.

        Asked before each matching: one call may bring what takes many seconds to route, and a
        question to the database may have waited for its restart.
        """
        return self._clock.monotonic_s() - self._refreshed_s >= FRESH_S

    async def _insist(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        """Call until the database answers: waiting is what holds the stream back."""
        delay_s = RETRY_MIN_S
        while True:
            try:
                return await call()
            except DatabaseUnavailableError as error:
                logger.warning("routing waits for the database", extra={"reason": str(error)})
            await asyncio.sleep(delay_s * self._rng.uniform(0.5, 1.0))
            delay_s = min(2 * delay_s, RETRY_MAX_S)

    async def _ask(self, questions: list[Comparison], answers: Answers) -> None:
        async def compare() -> list[bool | None]:
            return await self._catalogs.compare(questions)

        told = await self._insist(compare)
        answers.update(zip(questions, told, strict=True))

    async def _judge(self, missing: list[Unanswered]) -> None:
        async def judge() -> None:
            await self._visibility.ask(missing)

        await self._insist(judge)

    def _deliver_all(self, batch: Batch) -> None:
        """Offer the frames of a batch. Nothing here waits."""
        for step in batch.steps:
            if step.message is not None:
                self._publish([step])
            if step.route is None:
                continue
            if step.change.kind is ChangeKind.TRUNCATE:
                self._tell_resync(step.route.groups, "table truncated")
            elif step.problem:
                self._tell_resync(step.route.groups, step.problem)
            elif step.plan is not None:
                if step.plan.version != self._subscriptions.version:
                    self._matching.plan(step)
                self._delivery.deliver(step, step.plan)

    def _publish(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if step.message is not None and self._broadcasts is not None:
                self._broadcasts.publish(step.message)

    def _groups_of(self, step: Step) -> list[ChangeGroup]:
        route = self._subscriptions.route(step.change.relation.oid)
        return route.groups if route is not None else []

    def _tell_resync(self, groups: Sequence[ChangeGroup], reason: str) -> None:
        if groups:
            logger.warning("resync", extra={"reason": reason, "groups": len(groups)})
        for group in groups:
            group.tell_resync(reason)
