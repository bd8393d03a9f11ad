"""Who wants which changes: groups of channels, bound to tables by the present catalogue.

Theory of operation. Channels with the same topic, role and entries form one `ChangeGroup`.
`subscribe` reads the catalogue anew, brings everyone to that state (`sync`), resolves the
group's entries to bindings and registers them in one step without waiting. When the catalogue
changes, only groups that the change concerns are resolved again; while that waits for the
database their former bindings stay, and what they may see is decided by the newest catalogue
all the same. A group whose table is missing waits and comes alive by itself.

Within a group channels are told apart only as far as row policies can: see `cohorts`. Everything
that could make a plan or an answer about viewers incomplete raises `version`; what moved someone
who was here already also raises `moves`.

Source: wire specification 3.4, 3.7, 6.5, 6.7.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tidewire.core.catalog import Catalog, Table
from tidewire.core.errors import (
    DatabaseUnavailableError,
    InvalidFilterError,
    InvalidSubscriptionError,
)
from tidewire.core.topic import Topic
from tidewire.engine.audience import Audience
from tidewire.engine.catalog_diff import CatalogDiff
from tidewire.engine.change_group import (
    SUBSCRIBED,
    Binding,
    ChangeGroup,
    GroupKey,
    GroupState,
    Requested,
    SubscribeOutcome,
    SystemNotice,
    canonical_request,
)
from tidewire.engine.decisions import Decisions
from tidewire.engine.member import Member
from tidewire.engine.predicate_compiler import PredicateCompiler
from tidewire.engine.subscription_entry import Entry, parse_entry
from tidewire.engine.table_route import UNANCHORED_MAX, TableRoute
from tidewire.ports.authorizer import Authorizer
from tidewire.ports.catalog_source import CatalogSource

ID_BITS = 27
SYNC_ROUNDS_MAX = 20
"""How often one call follows a catalogue that keeps changing while it is being applied."""

NO_CLAIMS: Mapping[str, Any] = {}

_REFUSED = "Unable to subscribe to changes with given parameters."


class Subscriptions:
    """Groups, their bindings, and the routes of all tables.

    Attributes:
        authorizer: Who decides what a role may receive.
        compiler: Of filters.
        version: Higher whenever bindings, viewers or decisions are others.
        moves: Higher whenever someone who was here may see other rows than before.
    """

    def __init__(
        self,
        catalogs: CatalogSource,
        authorizer: Authorizer,
        make_audience: Callable[[], Audience],
    ) -> None:
        self.authorizer = authorizer
        self.version = 0
        self.moves = 0
        self._catalogs = catalogs
        self._decisions = Decisions(authorizer, catalogs.current)
        self._make_audience = make_audience
        self.compiler = PredicateCompiler(catalogs)
        self._groups: dict[GroupKey, ChangeGroup] = {}
        self._routes: dict[int, TableRoute] = {}
        self._syncing = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def groups(self) -> list[ChangeGroup]:
        """All groups, in the order they came."""
        return list(self._groups.values())

    @property
    def is_current(self) -> bool:
        """Whether everyone is resolved by the newest catalogue."""
        return self.catalog is self._catalogs.current

    @property
    def catalog(self) -> Catalog:
        """The catalogue by which everyone is resolved."""
        return self._decisions.catalog

    def route(self, table_oid: int) -> TableRoute | None:
        """The route of a table that anyone wants changes of."""
        return self._routes.get(table_oid)

    async def subscribe(
        self,
        member: Member,
        topic: Topic,
        entries: Sequence[dict[str, Any]],
        role: str,
        *,
        claims: Mapping[str, Any] = NO_CLAIMS,
    ) -> SubscribeOutcome:
        """Let a channel have the changes it asks for.

        The catalogue is read after this call began, so what was committed before it counts.
        When it returns, the channel is registered: nothing was waited for in between. When it
        is cancelled or raises, it is not.

        Args:
            member: The channel.
            topic: Its topic.
            entries: The `postgres_changes` of its join. Bad ones never raise: then there is no
                subscription, and a system message says why.
            role: Whose eyes it sees with.
            claims: What row policies may know of it.

        Raises:
            DatabaseUnavailableError: The catalogue could not be read.
        """
        canonical = [canonical_request(entry) for entry in entries]
        ids = assign_ids(canonical)
        echoes = [
            msgspec.json.encode({**entry, "id": id_})
            for entry, id_ in zip(entries, ids, strict=True)
        ]
        if not entries:
            return SubscribeOutcome(None, [], ())
        try:
            requests = [
                Requested(parse_entry(entry), id_, text)
                for entry, id_, text in zip(entries, ids, canonical, strict=True)
            ]
        except (InvalidSubscriptionError, InvalidFilterError) as error:
            return SubscribeOutcome(None, echoes, (SystemNotice("error", str(error)),))
        group = await self._enter_group(topic, role, requests)
        self.version += group.cohorts.add(member, claims)
        live = group.state is GroupState.LIVE
        notice = SystemNotice("ok", SUBSCRIBED) if live else SystemNotice("error", group.problem)
        return SubscribeOutcome(group, echoes, (notice,))

    def unsubscribe(self, member: Member, group: ChangeGroup) -> None:
        """Send a channel nothing more. A second call is fine."""
        self.version += group.cohorts.discard(member)
        self._drop_if_empty(group)

    def refresh(self, member: Member, group: ChangeGroup, claims: Mapping[str, Any]) -> None:
        """Let a channel see with other claims from now on, with no change left out in between.

        Claims that no policy can tell from the former ones cost nothing.
        """
        if group.cohorts.refresh(member, claims):
            self.version += 1
            self.moves += 1

    async def set_role(
        self,
        member: Member,
        group: ChangeGroup,
        role: str,
        *,
        claims: Mapping[str, Any] = NO_CLAIMS,
    ) -> ChangeGroup:
        """Let a channel see with another role's eyes, with no change left out in between.

        Returns:
            Its new group; the old one when it left meanwhile.

        Raises:
            DatabaseUnavailableError: The catalogue could not be read; nothing changed.
        """
        successor = await self._enter_group(group.topic, role, group.requests)
        if successor is group:
            self.refresh(member, group, claims)
            return group
        if member not in group.cohorts:
            self._drop_if_empty(successor)
            return group
        successor.cohorts.add(member, claims)
        group.cohorts.release(member)
        self.version += 1
        self.moves += 1
        self._drop_if_empty(group)
        return successor

    async def sync(self) -> None:
        """Bring every group to the newest catalogue.

        Raises:
            DatabaseUnavailableError: A filter could not be compiled; call again.
        """
        if self.is_current:
            return
        async with self._syncing:
            for _ in range(SYNC_ROUNDS_MAX):
                newest = self._catalogs.current
                if newest is self.catalog:
                    return
                await self._apply(newest)

    def fail(self, group: ChangeGroup, problem: str) -> None:
        """End a group's changes for good and say why; its channels stay joined."""
        self._bind(group, ())
        group.state = GroupState.FAILED
        group.problem = problem
        group.tell("error", problem)

    async def _enter_group(
        self, topic: Topic, role: str, requests: Sequence[Requested]
    ) -> ChangeGroup:
        key = (topic.key, role, tuple(request.canonical for request in requests))
        await self._catalogs.refresh(role)
        for _ in range(SYNC_ROUNDS_MAX):
            await self.sync()
            known = self._groups.get(key)
            if known is not None:
                return known
            catalog = self.catalog
            group = ChangeGroup(key, topic, role, requests, self._make_audience)
            bindings, problem = await self._resolve(group, catalog)
            # While the database was asked, another join or a new catalogue may have come.
            if key not in self._groups and catalog is self._catalogs.current:
                self._groups[key] = group
                self._settle(group, bindings, problem, announce=False)
                return group
        raise DatabaseUnavailableError("the catalogue keeps changing")

    async def _apply(self, catalog: Catalog) -> None:
        diff = CatalogDiff(self.catalog, catalog)
        for group in self.groups:
            if not self._is_open(group) or not _concerns(diff, group, catalog):
                continue
            bindings, problem = await self._resolve(group, catalog)
            if self._is_open(group):  # nobody left and nothing failed meanwhile
                self._settle(group, bindings, problem, announce=True)
        self._decide_by(catalog)

    def _decide_by(self, catalog: Catalog) -> None:
        """Put a catalogue in force, and divide those whom its policies tell apart differently."""
        for role, table_oid in self._decisions.adopt(catalog):
            route = self._routes.get(table_oid)
            for group in route.groups if route is not None else ():
                if group.role == role:
                    self._divide(group)
        self.version += 1
        self.moves += 1

    def _divide(self, group: ChangeGroup) -> None:
        oids = {binding.table_oid for binding in group.bindings}
        policies = [self._decisions.policy(group.role, oid) for oid in sorted(oids)]
        if group.cohorts.divide(policy for policy in policies if policy is not None):
            self.version += 1
            self.moves += 1

    def _is_open(self, group: ChangeGroup) -> bool:
        return self._groups.get(group.key) is group and group.state is not GroupState.FAILED

    async def _resolve(
        self, group: ChangeGroup, catalog: Catalog
    ) -> tuple[tuple[Binding, ...], str]:
        """What binds a group to tables, or why nothing does."""
        bindings: list[Binding] = []
        for request in group.requests:
            entry = request.entry
            tables = catalog.find_tables(entry.schema, entry.table)
            if not tables:
                return (), (
                    f"{_REFUSED} Please check Realtime is enabled for the given connect "
                    f"parameters: {entry.describe()}"
                )
            try:
                bindings += [
                    await self._bind_entry(group, request, table, catalog) for table in tables
                ]
            except InvalidSubscriptionError as error:
                return (), (
                    f"{_REFUSED} An exception happened so please check your connect parameters: "
                    f"{entry.describe()}. Exception: ERROR P0001 (raise_exception) {error}"
                )
        return tuple(bindings), ""

    async def _bind_entry(
        self, group: ChangeGroup, request: Requested, table: Table, catalog: Catalog
    ) -> Binding:
        entry = request.entry
        access = (catalog.access.get(group.role) or {}).get(table.oid)
        _check_columns(entry, table, access.columns if access is not None else frozenset())
        type_oids = {column.name: column.type_oid for column in table.columns}
        predicates = await self.compiler.compile(catalog, table, entry.conditions, type_oids)
        looked_at = {condition.column for condition in entry.conditions}
        route = self._routes.get(table.oid)
        if route is not None and not route.has_room_for(predicates):
            raise InvalidSubscriptionError(
                f"more than {UNANCHORED_MAX} different filters on table {table.name} compare "
                "neither by eq, in, lt, lte, gt nor gte"
            )
        return Binding(
            group, request, table.oid, predicates, {name: type_oids[name] for name in looked_at}
        )

    def _settle(
        self, group: ChangeGroup, bindings: tuple[Binding, ...], problem: str, *, announce: bool
    ) -> None:
        """Put a resolution in force, and tell the channels when their state changed by it."""
        was_live = group.state is GroupState.LIVE
        self._bind(group, bindings)
        group.state = GroupState.WAITING if problem else GroupState.LIVE
        group.problem = problem
        if not announce or was_live is not bool(problem):
            return
        if problem:
            group.tell("error", problem)
        else:
            group.tell("ok", SUBSCRIBED)

    def _bind(self, group: ChangeGroup, bindings: tuple[Binding, ...]) -> None:
        for binding in bindings:
            route = self._routes.get(binding.table_oid)
            if route is None:
                route = TableRoute(binding.table_oid, self._decisions)
                self._routes[binding.table_oid] = route
            route.add(binding)
        for binding in group.bindings:
            route = self._routes[binding.table_oid]
            route.discard(binding)
            if not route.bindings:
                del self._routes[binding.table_oid]
        group.bindings = bindings
        self.version += 1
        self._divide(group)

    def _drop_if_empty(self, group: ChangeGroup) -> None:
        if not len(group.cohorts) and self._groups.get(group.key) is group:
            del self._groups[group.key]
            self._bind(group, ())


def assign_ids(canonical: Iterable[bytes]) -> list[int]:
    """Ids of a join's entries: the same for equal requests, distinct for others, never 0.

    They follow from the requests alone, so a client that joins again finds the same ones.
    """
    owners: dict[int, bytes] = {}
    ids: list[int] = []
    for text in canonical:
        digest = hashlib.blake2s(text, digest_size=4).digest()
        id_ = int.from_bytes(digest, "big") >> (32 - ID_BITS)
        while not id_ or owners.get(id_, text) != text:
            id_ = (id_ + 1) % (1 << ID_BITS)
        owners[id_] = text
        ids.append(id_)
    return ids


def _concerns(diff: CatalogDiff, group: ChangeGroup, catalog: Catalog) -> bool:
    """Whether a group may resolve to something else now."""
    if not diff:
        return False
    if any(diff.touches(group.role, binding.table_oid) for binding in group.bindings):
        return True
    if group.state is GroupState.WAITING:
        return True
    came = [catalog.tables[oid] for oid in diff.tables if oid in catalog.tables]
    return any(_matches(entry, table) for entry in group.entries for table in came)


def _matches(entry: Entry, table: Table) -> bool:
    return entry.schema in ("*", table.schema) and entry.table in ("*", table.name)


def _check_columns(entry: Entry, table: Table, readable: frozenset[str]) -> None:
    columns = {column.name for column in table.columns}
    for condition in entry.conditions:
        if condition.column not in columns & readable:
            raise InvalidSubscriptionError(f"invalid column for filter {condition.column}")
    for name in sorted(entry.select or ()):
        if name not in columns & readable:
            raise InvalidSubscriptionError(f"invalid column for select {name}")
