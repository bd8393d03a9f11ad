"""Rights on private channels are those that real probes under the role and claims have.

The oracle makes the probes of wire specification 7.4 by hand, each in a transaction of its own, as
a superuser who takes the role. What is tested goes by the login that has no rights.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import pytest

from tidewire.adapters.postgres.channel_rights.authorizer import (
    ChannelRightsLimits,
    PostgresChannelAuthorizer,
)
from tidewire.adapters.postgres.checker import CheckerLogin
from tidewire.adapters.postgres.migrations import migrate
from tidewire.core.errors import DatabaseUnavailableError
from tidewire.ports.channel_authorizer import ALL_RIGHTS, Problem, Right, RightsQuestion

pytestmark = pytest.mark.postgres

Connecting = Callable[[str], AbstractAsyncContextManager[asyncpg.Connection]]

SETS_PER_SEED = 25
ANN, BOB = (str(uuid.UUID(int=n)) for n in (1, 2))
WORLD = f"""
create table public.members (user_id uuid, room text);
alter table public.members enable row level security;
create policy own on public.members for select to authenticated using (user_id = auth.uid());
grant select on public.members to authenticated;
insert into public.members values ('{ANN}', 'room:1'), ('{BOB}', 'room:2');
create function public.is_member(room_ text) returns boolean language sql stable security definer
  as $$ select exists (select from public.members where room = room_ and user_id = auth.uid()) $$;
create schema hidden;
create function hidden.is_red() returns boolean language sql stable
  as $$ select auth.jwt() ->> 'team' = 'red' $$;
create function public.wrongly_immutable() returns text language sql immutable
  as $$ select current_setting('request.jwt.claims', true)::jsonb ->> 'team' $$;
create function public.asserting() returns boolean language plpgsql
  as $$ begin assert auth.jwt() ->> 'team' = 'red'; return true; end $$;
create function public.unpathed() returns boolean language sql stable
  as $$ select exists (select from members) $$;
create role channel_group nologin;
grant channel_group to authenticated with inherit true;
"""
ATOMS = [
    "true", "false", "extension = 'broadcast'", "extension in ('presence', 'persistence')",
    "messages.extension <> 'presence'", "realtime.topic() = 'room:1'", "topic = 'room:1'",
    "realtime.topic() like 'room:%'", f"auth.uid() = '{ANN}'", "(select auth.uid()) is not null",
    "auth.jwt() ->> 'team' = 'red'", "(select auth.jwt() ->> 'team') = 'red'",
    "(auth.jwt() ->> 'level')::int > 3", "auth.role() = 'authenticated'",
    "current_setting('request.jwt.claim.sub') = 'nobody'",
    "current_setting('request.headers')::json ->> 'x-team' = 'red'",
    "current_setting('request.jwt.claim.role', true) = 'anon'",
    "exists (select from public.members m where m.room = realtime.topic())",
    "public.is_member(realtime.topic())", "public.is_member(messages.topic)", "hidden.is_red()",
    "public.wrongly_immutable() = 'red'", "public.asserting()", "public.unpathed()",
    "payload is null", "event is not null", "private", "inserted_at > now() - interval '1 day'",
    "tableoid = 'realtime.messages'::regclass", "current_user = 'authenticated'",
    "exists (select from realtime.messages m where m.topic = 'room:1')",
    "1 / (length(realtime.topic()) - 6) > 0", "messages is not null",
]  # fmt: skip
ROLES = ["public", "anon", "authenticated", "authenticated, anon", "channel_group"]
GRANTS = [
    "", "", "", "revoke insert on realtime.messages from anon",
    "revoke select on realtime.messages from authenticated",
    "alter table realtime.messages disable row level security",
]  # fmt: skip
UNDO = """
grant select, insert on realtime.messages to anon, authenticated;
alter table realtime.messages enable row level security;
"""


def random_policies(rng: random.Random) -> str:
    statements = [rng.choice(GRANTS)]
    for number in range(rng.randint(0, 4)):
        atoms = [rng.choice(ATOMS) for _ in range(rng.choice([1, 1, 2, 3]))]
        expression = rng.choice([" and ", " or "]).join(f"({atom})" for atom in atoms)
        if rng.random() < 0.15:
            expression = f"not ({expression})"
        verb = rng.choice(["select", "insert", "select", "insert", "all"])
        clause = {
            "select": f"using ({expression})",
            "insert": f"with check ({expression})",
            "all": f"using ({expression})",
        }[verb]
        kind = "restrictive" if rng.random() < 0.2 else "permissive"
        statements.append(
            f"create policy p{number} on realtime.messages as {kind} for {verb}"
            f" to {rng.choice(ROLES)} {clause}"
        )
    return ";\n".join(statement for statement in statements if statement)


def random_question(rng: random.Random) -> RightsQuestion:
    role = rng.choice(["authenticated"] * 5 + ["anon", "anon", "service_role"])
    subject = rng.choice([ANN, ANN, BOB, "nobody", None])
    claims: dict[str, Any] = {"role": role, "team": rng.choice(["red", "blue"]), "sub": subject}
    claims["level"] = rng.choice([1, 7, "high"])
    headers = rng.choice(["{}", '{"x-team":"red"}'])
    wanted = ALL_RIGHTS - (frozenset({Right.READ_PRESENCE}) if rng.random() < 0.3 else frozenset())
    topic = rng.choice(["room:1", "room:1", "room:2", "other"])
    return RightsQuestion(topic, role, json.dumps(claims), headers, wanted)


class Oracle:
    """Makes each probe as the original does."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def granted(self, question: RightsQuestion) -> frozenset[Right]:
        granted: set[Right] = set()
        reads = [r for r in question.wanted if r.value.startswith("read")]
        granted |= await self._reads(question, reads)
        for right in question.wanted - set(reads):
            if await self._writes(question, right.value.partition(" ")[2]):
                granted.add(right)
        return frozenset(granted)

    async def _reads(self, question: RightsQuestion, rights: list[Right]) -> set[Right]:
        undone = self._connection.transaction()
        await undone.start()
        try:
            ids: dict[uuid.UUID, Right] = {}
            for right in rights:
                made = await self._connection.fetchval(
                    "insert into realtime.messages (topic, extension) values ($1, $2) returning id",
                    question.topic,
                    right.value.partition(" ")[2],
                )
                assert made is not None
                ids[made] = right
            await self._become(question)
            rows = await self._connection.fetch(
                "select id from realtime.messages where id = any($1)", list(ids)
            )
            return {ids[row["id"]] for row in rows}
        except asyncpg.PostgresError:
            return set()
        finally:
            await undone.rollback()

    async def _writes(self, question: RightsQuestion, extension: str) -> bool:
        undone = self._connection.transaction()
        await undone.start()
        try:
            await self._become(question)
            await self._connection.execute(
                "insert into realtime.messages (topic, extension) values ($1, $2)",
                question.topic,
                extension,
            )
        except asyncpg.PostgresError:
            return False
        finally:
            await undone.rollback()
        return True

    async def _become(self, question: RightsQuestion) -> None:
        settings = {
            "role": question.role,
            "realtime.topic": question.topic,
            "request.jwt.claims": question.claims,
            "request.jwt.claim.sub": json.loads(question.claims).get("sub") or "",
            "request.jwt.claim.role": question.role,
            "request.headers": question.headers,
        }
        for name, value in settings.items():
            await self._connection.execute("select set_config($1, $2, true)", name, value)


@pytest.fixture
async def world_url(any_database_url: str, connecting: Connecting) -> AsyncIterator[str]:
    """A migrated database with what policies refer to."""
    await migrate(any_database_url)
    async with connecting(any_database_url) as connection:
        world = WORLD
        if connection.get_server_version().major < 16:
            world = world.replace(" with inherit true", "")
        await connection.execute("alter role authenticated inherit")
        await connection.execute(world)
        yield any_database_url
        await connection.execute(
            "drop policy if exists any_ on realtime.messages; drop owned by channel_group;"
            "drop role channel_group; alter role authenticated noinherit"
        )


@pytest.fixture
async def authorizer(world_url: str) -> AsyncIterator[PostgresChannelAuthorizer]:
    """By the login that may do nothing by itself."""

    login = CheckerLogin(world_url, password="checker-password")
    assert "tidewire_check" in await login.url()
    made = PostgresChannelAuthorizer(
        login.url,
        grant_role=login.grant_role,
        limits=ChannelRightsLimits(interval_s=0.0, statement_timeout_s=0.5),
    )
    yield made
    await made.close()


def ask(topic: str = "room:1", role: str = "authenticated", **claims: object) -> RightsQuestion:
    return RightsQuestion(topic, role, json.dumps({"role": role, **claims}))


@pytest.mark.parametrize("seed", range(4))
async def test_rights_are_what_real_probes_have(
    world_url: str, authorizer: PostgresChannelAuthorizer, connecting: Connecting, seed: int
) -> None:
    rng = random.Random(seed)
    decisions = {True: 0, False: 0}
    async with connecting(world_url) as owner, connecting(world_url) as other:
        oracle = Oracle(other)
        for number in range(SETS_PER_SEED):
            policies = random_policies(rng)
            await owner.execute(policies or "select 1")
            questions = [random_question(rng) for _ in range(8)]
            answers = await authorizer.judge(questions)
            for question, answer in zip(questions, answers, strict=True):
                expected = await oracle.granted(question)
                assert answer.granted == expected, (seed, number, policies, question, answer)
                decisions[bool(expected)] += 1
            for name in range(4):
                await owner.execute(f"drop policy if exists p{name} on realtime.messages")
            await owner.execute(UNDO)
    assert min(decisions.values()) > SETS_PER_SEED / 2, "both answers come"


async def test_nothing_is_left_of_a_probe(
    world_url: str, authorizer: PostgresChannelAuthorizer, connecting: Connecting
) -> None:
    await authorizer.judge([ask(role="service_role"), ask()])
    async with connecting(world_url) as owner:
        assert await owner.fetchval("select count(*) from realtime.messages") == 0


async def test_the_session_that_asks_may_do_nothing_by_itself(
    world_url: str, authorizer: PostgresChannelAuthorizer, connecting: Connecting
) -> None:
    """A policy's own code may take the role back, and gains nothing by it."""
    async with connecting(world_url) as owner:
        await owner.execute(
            "create function public.escape() returns boolean language plpgsql as $$ begin"
            " perform set_config('role', 'none', false);"
            " insert into public.members values (null, 'stolen'); return true; end $$;"
            " create policy any_ on realtime.messages for select using (public.escape());"
            " create policy none_ on realtime.messages for insert with check (false)"
        )
        (answer,) = await authorizer.judge([ask()])
        assert answer.granted == frozenset()
        assert answer.problem is Problem.POLICY or not answer.failed
        assert not await owner.fetchval("select count(*) from members where room = 'stolen'")
        (after,) = await authorizer.judge([ask(role="anon")])
        assert after.granted == frozenset()


async def test_a_policy_that_takes_too_long_keeps_nobody_else_waiting(
    world_url: str, authorizer: PostgresChannelAuthorizer, connecting: Connecting
) -> None:
    async with connecting(world_url) as owner:
        await owner.execute(
            "create policy any_ on realtime.messages for select using"
            " (case when auth.jwt() ->> 'team' = 'slow' then pg_sleep(5) is not null else true end)"
        )
        questions = [ask(team="slow" if n == 3 else "quick", n=n) for n in range(6)]
        answers = await asyncio.gather(*[authorizer.judge([q]) for q in questions])
        problems = [answer.problem for (answer,) in answers]
        assert problems == [Problem.CANCELED if n == 3 else None for n in range(6)]
        assert all(answer.may_read is (n != 3) for n, (answer,) in enumerate(answers))


@pytest.mark.parametrize(
    ("question", "problem"),
    [
        (ask(role="no_such_role"), Problem.SETTINGS),
        (ask(topic="nul\0byte"), Problem.POLICY),
        (ask(topic="half\ud800pair"), Problem.POLICY),
        (RightsQuestion("room:1", "anon", "no json"), Problem.POLICY),
        (RightsQuestion("room:1", "anon", '{"sub": "\\u0000"}'), Problem.POLICY),
    ],
)
async def test_a_question_that_makes_no_sense_is_denied_and_harms_no_other(
    authorizer: PostgresChannelAuthorizer, question: RightsQuestion, problem: Problem
) -> None:
    bad, good = await authorizer.judge([question, ask(role="service_role")])
    assert (bad.granted, bad.problem) == (frozenset(), problem)
    assert good.granted == ALL_RIGHTS


async def test_a_role_made_later_can_be_taken_too(
    world_url: str, authorizer: PostgresChannelAuthorizer, connecting: Connecting
) -> None:
    async with connecting(world_url) as owner:
        await owner.execute("create role late_role nologin bypassrls")
        await owner.execute("grant usage on schema realtime to late_role")
        await owner.execute("grant select, insert on realtime.messages to late_role")
        try:
            (answer,) = await authorizer.judge([ask(role="late_role")])
            assert answer.granted == ALL_RIGHTS
        finally:
            await owner.execute("drop owned by late_role; drop role late_role")


async def test_without_a_partition_for_today_that_is_the_problem(
    world_url: str, authorizer: PostgresChannelAuthorizer, connecting: Connecting
) -> None:
    async with connecting(world_url) as owner:
        for row in await owner.fetch(
            "select inhrelid::regclass::text as name from pg_inherits"
            " where inhparent = 'realtime.messages'::regclass"
        ):
            await owner.execute(f"drop table {row['name']}")
        (answer,) = await authorizer.judge([ask(role="service_role")])
        assert (answer.granted, answer.problem) == (frozenset(), Problem.PARTITION)


async def test_what_is_logged_holds_topic_and_code_and_no_claim(
    authorizer: PostgresChannelAuthorizer,
    world_url: str,
    connecting: Connecting,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connecting(world_url) as owner:
        await owner.execute(
            "create policy any_ on realtime.messages for select using (auth.uid() is not null)"
        )
        with caplog.at_level(logging.WARNING):
            await authorizer.judge([ask(sub="a-secret-subject")])
    told = [vars(record) for record in caplog.records if record.msg == "RlsPolicyError"]
    assert [(line["topic"], line["sqlstate"]) for line in told] == [("room:1", "22P02")]
    assert "a-secret-subject" not in str(told)


CHANGES = [
    "create policy any_ on realtime.messages for select using (true)",
    "grant delete on realtime.messages to anon",
    "grant select (topic) on realtime.messages to channel_group",
    "alter table public.members disable row level security",
    "create or replace function hidden.is_red() returns boolean language sql as 'select true'",
    "grant service_role to channel_group",
    "alter role channel_group bypassrls",
    "create view public.later as select 1",
    "grant usage on schema hidden to anon",
]
NO_CHANGES = [
    "create temporary table t (i int)",
    "insert into public.members values (null, 'x')",
    "analyze",
    "create function pg_temp.f() returns int language sql as 'select 1'",
]


@pytest.mark.parametrize("statement", CHANGES + NO_CHANGES)
async def test_the_state_changes_with_what_rights_follow_from_and_with_nothing_else(
    world_url: str,
    authorizer: PostgresChannelAuthorizer,
    connecting: Connecting,
    statement: str,
) -> None:
    async with connecting(world_url) as owner:
        before = await authorizer.state()
        await owner.execute(statement)
        after = await authorizer.state()
        (answer,) = await authorizer.judge([ask()])
        if statement.startswith("grant service_role"):
            await owner.execute("revoke service_role from channel_group")
    assert (after != before) is (statement in CHANGES)
    assert answer.state == after


async def test_sessions_that_are_cut_come_back_and_a_database_that_is_away_is_told(
    world_url: str, authorizer: PostgresChannelAuthorizer, connecting: Connecting
) -> None:
    await authorizer.judge([ask()])
    async with connecting(world_url) as owner:
        await owner.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where application_name like 'tidewire rights%' and datname = current_database()"
        )
        (answer,) = await authorizer.judge([ask(role="service_role")])
        assert answer.granted == ALL_RIGHTS
    away = PostgresChannelAuthorizer("postgresql://nobody:x@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailableError):
        await away.judge([ask()])
    await away.close()


async def test_a_thousand_joins_at_once_take_few_statements(
    world_url: str, connecting: Connecting
) -> None:
    async with connecting(world_url) as owner:
        await owner.execute(
            "create policy any_ on realtime.messages for select"
            " using (auth.jwt() ->> 'team' = 'red')"
        )
        authorizer = PostgresChannelAuthorizer(world_url)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        answers = await asyncio.gather(
            *[authorizer.judge([ask(team="red", n=n)]) for n in range(1000)]
        )
        took_s = loop.time() - began_s
        await authorizer.close()
    assert all(answer.may_read for (answer,) in answers)
    assert authorizer.statements_total <= 20
    assert took_s < 15, "5 s on a quiet machine: see benches/private_joins.py"
