"""The judge of rows against PostgreSQL itself: what a real SELECT shows, no more and no less.

Random tables of many types, policies, users and rows; each row's image comes from the log. The
number of random policy sets is set by TIDEWIRE_POLICY_SETS, the seed by TIDEWIRE_SEED.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from tests.support.judging import Court, court_of
from tests.support.random_policies import SETUP, World, quoted
from tidewire.core.change import Change
from tidewire.protocol.pgoutput.row import split_row

pytestmark = pytest.mark.postgres

SETS = int(os.environ.get("TIDEWIRE_POLICY_SETS", "240"))
SEED = int(os.environ.get("TIDEWIRE_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
CHUNKS = 8
SETS_PER_TABLE = 15
ROWS, USERS = 14, 6
GROUP = "tidewire_test_group"
"""A role that the role of the tokens is a member of."""


@pytest.mark.timeout(60 + SETS)
@pytest.mark.parametrize("chunk", range(CHUNKS))
async def test_every_row_is_judged_as_a_select_would_show_it(
    chunk: int, migrated_database_url: str
) -> None:
    seed = SEED * CHUNKS + chunk
    print(f"seed {SEED}, chunk {chunk}: TIDEWIRE_SEED={SEED} repeats it")  # noqa: T201 - to repeat it
    seen: Counter[str] = Counter()
    async with court_of(migrated_database_url) as court:
        has_citext = await set_up(court)
        rng = random.Random(seed)
        done, number = 0, 0
        while done < -(-SETS // CHUNKS):
            number += 1
            world = World(rng, number=number, has_citext=has_citext)
            images = await make_rows(court, world)
            for _ in range(SETS_PER_TABLE):
                problem = await compare(court, world, images, seen)
                assert problem == "", f"seed {SEED} chunk {chunk}: {problem}"
                done += 1
            await court.connection.execute(f"drop table {quoted(world.table)} cascade")
        print(f"{done} policy sets, {dict(seen)}")  # noqa: T201 - what was tried
    assert seen["visible"] > done
    assert seen["hidden"] > done


async def set_up(court: Court) -> bool:
    available = await court.connection.fetchval(
        "select exists (select from pg_available_extensions where name = 'citext')"
    )
    statements = SETUP if available else SETUP.replace("create extension if not exists citext;", "")
    exists = await court.connection.fetchval("select to_regrole($1) is not null", GROUP)
    if exists:
        statements = statements.replace("create role {role} nologin;", "")
    await court.connection.execute(statements.replace("{role}", GROUP))
    inherit = " with inherit true" if court.connection.get_server_version().major >= 16 else ""
    await court.connection.execute(f"grant {GROUP} to authenticated{inherit}")
    return bool(available)


async def make_rows(court: Court, world: World) -> list[tuple[int, Change]]:
    """The last image of each row, from the log."""
    await court.connection.execute(world.create())
    images = await court.images(world.insert(ROWS))
    place = next(n for n, c in enumerate(images[0][1].relation.columns) if c.name == "id")
    images += await court.images(world.update())
    return list({row_id(change, place): (xid, change) for xid, change in images}.values())


async def compare(
    court: Court, world: World, images: list[tuple[int, Change]], seen: Counter[str]
) -> str:
    """A difference between the judge and PostgreSQL, or ""."""
    policies = await renew_policies(court, world)
    claims = [world.claims() for _ in range(USERS)]
    policy = await court.policy(world.table)
    assert policy is not None
    seen[policy.tier.value] += 1
    told = await court.judge(world.table, images, claims)
    place = next(n for n, c in enumerate(images[0][1].relation.columns) if c.name == "id")
    ids = [row_id(change, place) for _, change in images]
    for number, each in enumerate(claims):
        truth, raised = await court.selected(world.table, each)
        judged = {row for row, verdicts in zip(ids, told, strict=True) if verdicts[number]}
        failed = [row for row, verdicts in zip(ids, told, strict=True) if verdicts[number] is None]
        seen["visible"] += len(judged)
        seen["hidden"] += len(ids) - len(judged) - len(failed)
        seen["failed"] += len(failed)
        # Who gets an error from the SELECT may be shown no more than the rows that raise nothing,
        # and must be told of the others.
        is_right = judged <= truth and truth <= judged | set(failed) if raised else judged == truth
        if not is_right:
            return (
                f"{policies} tier {policy.tier} claims {each}: wrongly hidden "
                f"{truth - judged} (failed {failed}), wrongly seen {judged - truth}"
            )
    return ""


async def renew_policies(court: Court, world: World) -> list[str]:
    name = quoted(world.table)
    former = await court.connection.fetch(
        "select polname from pg_policy where polrelid = $1::regclass", name
    )
    drops = [f"drop policy {row['polname']} on {name}" for row in former]
    statements = world.policies(GROUP)
    await court.connection.execute("; ".join([*drops, *statements, "select 1"]))
    return statements


def row_id(change: Change, place: int) -> int:
    assert change.new is not None
    value = split_row(change.new)[place]
    assert isinstance(value, bytes)
    return int(value)
