"""What every `ChannelAuthorizer` promises.

Both adapters are given the same rules: on topics that begin with ``open`` everybody hears and
sees, on those that begin with the claim ``team`` its people speak and track; for the claim
``sub`` = ``raises`` nothing can be evaluated.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from tests.support.postgres import PostgresCluster
from tidewire.adapters.memory.channel_rules import MemoryChannelRules
from tidewire.adapters.postgres.channel_rights.authorizer import PostgresChannelAuthorizer
from tidewire.ports.channel_authorizer import (
    ALL_RIGHTS,
    ChannelAuthorizer,
    ChannelRights,
    Problem,
    Right,
    RightsQuestion,
)

READS = frozenset({Right.READ_BROADCAST, Right.READ_PRESENCE})
TEAM = frozenset({Right.WRITE_BROADCAST, Right.WRITE_PRESENCE})
POLICIES = """
create policy hear on realtime.messages for select to authenticated
  using (realtime.topic() like 'open%'
         and case when auth.jwt() ->> 'sub' = 'raises' then (auth.jwt() ->> 'sub')::int > 0
              else true end);
create policy speak on realtime.messages for insert to authenticated
  with check (realtime.topic() like (auth.jwt() ->> 'team') || '%'
              and extension in ('broadcast', 'presence')
              and case when auth.jwt() ->> 'sub' = 'raises' then (auth.jwt() ->> 'sub')::int > 0
              else true end);
"""


class Setting(msgspec.Struct):
    """An adapter with the rules, and a way to change them.

    Attributes:
        authorizer: The adapter.
        close_all: Makes the rules deny everything.
    """

    authorizer: ChannelAuthorizer
    close_all: Callable[[], Awaitable[None]]


def rule(question: RightsQuestion) -> frozenset[Right]:
    claims = json.loads(question.claims)
    if claims.get("sub") == "raises":
        raise ZeroDivisionError
    granted = READS if question.topic.startswith("open") else frozenset[Right]()
    team = claims.get("team")
    return granted | TEAM if team and question.topic.startswith(team) else granted


async def memory() -> AsyncIterator[Setting]:
    rules = MemoryChannelRules(rule)

    async def close_all() -> None:
        rules.set_rule(lambda _: frozenset())

    yield Setting(rules, close_all)


async def postgres(cluster: PostgresCluster) -> AsyncIterator[Setting]:
    name = await cluster.create_migrated_database()
    owner = await cluster.connect(name)
    await owner.execute(POLICIES)
    authorizer = PostgresChannelAuthorizer(cluster.url_of(name))

    async def close_all() -> None:
        await owner.execute("drop policy hear on realtime.messages")
        await owner.execute("drop policy speak on realtime.messages")

    yield Setting(authorizer, close_all)
    await authorizer.close()
    await owner.close()
    await cluster.drop_database(name)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
async def setting(request: pytest.FixtureRequest) -> AsyncIterator[Setting]:
    if request.param == "memory":
        async for made in memory():
            yield made
        return
    async for made in postgres(request.getfixturevalue("postgres_cluster")):
        yield made


def asks(topic: str, wanted: frozenset[Right] = ALL_RIGHTS, **claims: Any) -> RightsQuestion:
    return RightsQuestion(topic, "authenticated", json.dumps(claims), wanted=wanted)


async def test_answers_come_in_the_order_of_the_questions(setting: Setting) -> None:
    questions = [asks("open"), asks("shut"), asks("open", team="open"), asks("shut", team="shut")]
    answers = await setting.authorizer.judge(questions)
    assert [answer.granted for answer in answers] == [READS, frozenset(), READS | TEAM, TEAM]
    assert [answer.may_read for answer in answers] == [True, False, True, False]
    assert not any(answer.failed for answer in answers)


async def test_only_what_is_asked_about_is_granted(setting: Setting) -> None:
    wanted = frozenset({Right.READ_PRESENCE, Right.WRITE_BROADCAST})
    (answer,) = await setting.authorizer.judge([asks("open", wanted, team="open")])
    assert answer.granted == wanted


async def test_what_raises_denies_its_own_question_only(setting: Setting) -> None:
    questions = [asks("open", team="open", sub=sub) for sub in ("a", "raises", "b")]
    first, bad, last = await setting.authorizer.judge(questions)
    assert bad.granted == frozenset()
    assert bad.problem is Problem.POLICY
    assert bad.failed >= READS | TEAM
    assert first.granted == last.granted == READS | TEAM


async def test_many_askers_at_once_each_get_their_own_answer(setting: Setting) -> None:
    async def ask(number: int) -> list[ChannelRights]:
        topic = f"t{number % 7}"
        return await setting.authorizer.judge([asks(topic, team=f"t{number % 5}", n=number)])

    answers = await asyncio.gather(*[ask(number) for number in range(70)])
    granted = [answer.granted for (answer,) in answers]
    assert granted == [
        TEAM if number % 7 == number % 5 else frozenset[Right]() for number in range(70)
    ]


async def test_no_questions_no_answers(setting: Setting) -> None:
    assert await setting.authorizer.judge([]) == []


async def test_the_state_stays_until_the_rules_change_and_stands_in_the_answers(
    setting: Setting,
) -> None:
    before = await setting.authorizer.state()
    (answer,) = await setting.authorizer.judge([asks("open")])
    assert before == answer.state == await setting.authorizer.state()
    await setting.close_all()
    after = await setting.authorizer.state()
    assert after != before
    (answer,) = await setting.authorizer.judge([asks("open")])
    assert (answer.granted, answer.state) == (frozenset(), after)
