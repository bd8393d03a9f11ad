"""Random policies, users and transactions, and what a SELECT shows of them before and after.

The oracle knows nothing of the server: it asks PostgreSQL row by row, under each user's role and
claims, what he sees, and works out from two such pictures what he has to be told.
"""

from __future__ import annotations

import json
import random
from typing import Any

import asyncpg

SUBS = [f"00000000-0000-0000-0000-{number:012d}" for number in range(1, 5)]
ORGS = ["1", "2", "x"]  # the last is no number: policies that cast it raise
NOTES = ["a", "b", None]
COLUMNS = "id int primary key, owner uuid, org int, n int, note text"
END = "end"

FAILED = "failed"
"""In place of a row: looking at it raises."""

Row = dict[str, Any]
Picture = dict[int, Any]
"""By id the row that is seen, or FAILED; what is not seen is not there."""

ATOMS = [
    "{t}.owner = auth.uid()", "auth.uid() = {t}.owner", "{t}.owner = (select auth.uid())",
    "{t}.org = (auth.jwt() ->> 'org')::int", "(auth.jwt() ->> 'org')::int = {t}.org",
    "{t}.n > 3", "{t}.note is null", "{t}.note = 'a'", "true", "auth.role() = 'authenticated'",
    "exists (select from {m} where {m}.org = {t}.org and {m}.sub = auth.uid())",
    "{t}.org in (select {m}.org from {m} where {m}.sub = auth.uid())",
    "{f}({t}.org)", "{t}.n > coalesce((auth.jwt() ->> 'level')::int, 2)",
    "{t}.note = auth.jwt() ->> 'note'",
]  # fmt: skip


class Someone:
    """A user: what his token says, and what he asks for.

    Attributes:
        claims: What his token says.
        entry: What he asks for.
    """

    def __init__(self, rng: random.Random) -> None:
        self.claims = random_claims(rng)
        self.entry: dict[str, Any] = {"event": "*", "schema": "public"}
        if rng.random() < 0.6:
            self.entry["leaves"] = True
        if rng.random() < 0.4:
            self.entry["filter"] = "n=gt.4"

    @property
    def may_be_held(self) -> bool:
        """Whether a policy may raise for him: who goes on raising is told so for a while also
        of rows for which it would not."""
        return self.claims.get("org") == ORGS[-1]

    def meets(self, row: Row) -> bool:
        """Whether a row meets his filter."""
        return "filter" not in self.entry or (row["n"] is not None and row["n"] > 4)


class World:
    """One table with random policies, and who may look at it."""

    def __init__(self, database: asyncpg.Connection, table: str, rng: random.Random) -> None:
        self.database = database
        self.table = table
        self.members = f"{table}_members"
        self.definer = f"{table}_is_member"
        self.rng = rng
        self._next_id = 1

    async def make(self) -> None:
        """Make the table, its helpers and its policies."""
        await self.database.execute(
            f"""create table {self.table} ({COLUMNS});
                alter table {self.table} replica identity full;
                alter table {self.table} enable row level security;
                grant select on {self.table} to authenticated;
                alter publication supabase_realtime add table {self.table};
                create table {self.members} (sub uuid, org int);
                grant select on {self.members} to authenticated;
                create function {self.definer}(asked int) returns boolean
                language sql stable security definer as $$
                    select exists (select from {self.members} m
                                   where m.org = asked and m.sub = auth.uid()) $$"""
        )
        await self.make_policies()

    async def make_policies(self) -> list[str]:
        """Other policies in place of those that are there; gives their text."""
        names = await self.database.fetch(
            "select polname from pg_policy where polrelid = $1::regclass", self.table
        )
        statements = [f"drop policy {name} on {self.table}" for (name,) in names]
        for number in range(self.rng.choice([1, 1, 2, 2, 3])):
            kind = "restrictive" if number and self.rng.random() < 0.4 else "permissive"
            to = self.rng.choice(["authenticated", "authenticated", "public", "anon"])
            command = self.rng.choice(["select", "select", "all"])
            statements.append(
                f"create policy p{number} on {self.table} as {kind} for {command} to {to} "
                f"using ({self._expression()})"
            )
        await self.database.execute("; ".join(statements))
        return statements

    def _expression(self) -> str:
        atoms = self.rng.sample(ATOMS, self.rng.choice([1, 1, 2, 3]))
        text = atoms[0]
        for atom in atoms[1:]:
            text = f"{text} {self.rng.choice(['and', 'or'])} {atom}"
            if self.rng.random() < 0.2:
                text = f"not coalesce({text}, false)"
        return text.format(t=self.table, m=self.members, f=self.definer)

    async def write(self) -> list[tuple[str, int]]:
        """One transaction that touches each row once at most; gives (kind, id) in order."""
        ids = [id_ for (id_,) in await self.database.fetch(f"select id from {self.table}")]
        self.rng.shuffle(ids)
        done: list[tuple[str, int]] = []
        async with self.database.transaction():
            for _ in range(self.rng.randint(1, 4)):
                kind = self.rng.choice(["INSERT", "UPDATE", "UPDATE", "DELETE"])
                if kind == "INSERT" or not ids:
                    kind, id_ = "INSERT", self._next_id
                    self._next_id += 1
                else:
                    id_ = ids.pop()
                await self._write_row(kind, id_)
                done.append((kind, id_))
        return done

    async def _write_row(self, kind: str, id_: int) -> None:
        rng, table = self.rng, self.table
        values = (
            rng.choice([*SUBS, None]), rng.choice([1, 2, None]), rng.randint(0, 8),
            rng.choice(NOTES),
        )  # fmt: skip
        if kind == "INSERT":
            await self.database.execute(
                f"insert into {table} values ($1, $2, $3, $4, $5)", id_, *values
            )
        elif kind == "UPDATE":
            await self.database.execute(
                f"update {table} set owner = $2, org = $3, n = $4, note = $5 where id = $1",
                id_, *values,
            )  # fmt: skip
        else:
            await self.database.execute(f"delete from {table} where id = $1", id_)

    async def change_members(self) -> None:
        """Somebody becomes a member of an organization, or everybody leaves."""
        if self.rng.random() < 0.3:
            await self.database.execute(f"delete from {self.members}")
        await self.database.execute(
            f"insert into {self.members} values ($1, $2)",
            self.rng.choice(SUBS),
            self.rng.choice([1, 2]),
        )

    async def rows(self) -> dict[int, Row]:
        """All rows, as JSON has them."""
        fetched = await self.database.fetch(f"select to_jsonb(t) from {self.table} t")
        return {row["id"]: row for row in (json.loads(text) for (text,) in fetched)}

    async def picture(self, someone: Someone) -> Picture:
        """What a SELECT shows somebody, looked at row by row."""
        seen: Picture = {}
        ids = [id_ for (id_,) in await self.database.fetch(f"select id from {self.table}")]
        outer = self.database.transaction()
        await outer.start()
        try:
            await self.database.execute("set local role authenticated")
            await self.database.execute(
                "select set_config('request.jwt.claims', $1, true)", json.dumps(someone.claims)
            )
            for id_ in ids:
                try:
                    async with self.database.transaction():
                        text = await self.database.fetchval(
                            f"select to_jsonb(t) from {self.table} t where id = $1", id_
                        )
                except asyncpg.PostgresError:
                    seen[id_] = FAILED
                    continue
                if text is not None:
                    seen[id_] = json.loads(text)
        finally:
            await outer.rollback()
        return seen


def random_claims(rng: random.Random) -> dict[str, Any]:
    """Claims as a token carries them."""
    claims: dict[str, Any] = {"role": "authenticated", "sub": rng.choice(SUBS)}
    if rng.random() < 0.8:
        claims["org"] = rng.choice(ORGS[:2] if rng.random() < 0.8 else ORGS)
    if rng.random() < 0.3:
        claims["level"] = rng.randint(0, 6)
    if rng.random() < 0.3:
        claims["note"] = rng.choice(NOTES)
    return claims


def expected(
    someone: Someone,
    done: list[tuple[str, int]],
    rows: tuple[dict[int, Row], dict[int, Row]],
    pictures: tuple[Picture, Picture],
) -> list[Any]:
    """What somebody has to be told of a transaction, one item for each frame.

    Args:
        someone: Who.
        done: (kind, id) in order.
        rows: All rows before and after.
        pictures: What he saw before, and sees after.
    """
    told = [
        _told(someone, kind, id_, rows[0].get(id_), rows[1].get(id_),
              pictures[0].get(id_), pictures[1].get(id_))
        for kind, id_ in done
    ]  # fmt: skip
    return [item for item in told if item is not None]


def _told(
    someone: Someone,
    kind: str,
    id_: int,
    old_row: Row | None,
    new_row: Row | None,
    old: Any,
    new: Any,
) -> Any:
    was = old if old_row is not None and someone.meets(old_row) else None
    is_ = new if new_row is not None and someone.meets(new_row) else None
    asks = "leaves" in someone.entry and kind == "UPDATE"
    if kind == "DELETE":
        item = ("DELETE", was, None)
    elif is_ is None:
        item, was = ("DELETE", {"id": id_}, "left"), was if asks else None
    else:
        entered = asks and was in (None, FAILED)
        shown = {} if old in (None, FAILED) else old
        item = ("UPDATE", is_, shown, *(["entered"] if entered else []))
        item, was = item if kind == "UPDATE" else ("INSERT", is_, None), is_
    if was is None:
        return None
    return ("error", kind) if was == FAILED else item


def agrees(someone: Someone, got: list[Any], due: list[Any]) -> bool:
    """Whether he was told what he had to be told.

    For whom a policy raises, PostgreSQL does not say on which rows: that hangs on the order in
    which a plan tries the parts of a policy, and a cast of a claim may already raise while the
    planner estimates. Of him are asked order, the rows for which a SELECT does not raise, and
    that rows which it shows are told as such or as an error.
    """
    if got == due or not someone.may_be_held:
        return got == due
    rest = iter(due)
    unsure = sum(item[0] == "error" for item in due)
    for item in got:
        if item[0] == "error":
            continue
        if item in due:
            if item not in rest:
                return False
        else:
            unsure -= 1
    return unsure >= 0


def heard(data: dict[str, Any]) -> Any:
    """A frame's data in the words of `expected`."""
    if data["errors"]:
        return ("error", data["type"])
    if data["type"] == "DELETE":
        return ("DELETE", data["old_record"], "left" if data.get("left") else None)
    marks = ["entered"] if data.get("entered") else []
    if data["type"] == "INSERT":
        return ("INSERT", data["record"], None)
    return ("UPDATE", data["record"], data["old_record"], *marks)
