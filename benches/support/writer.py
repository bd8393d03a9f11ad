"""Commits rows at an even pace and notes when: run as a program beside the measured server.

Usage: python -m benches.support.writer DATABASE_URL RATE SECONDS [ROWS_PER_COMMIT]. RATE counts
rows. Prints one line of JSON per row: its sequence number, nanoseconds (CLOCK_MONOTONIC) at which
COMMIT was sent, and at which its answer was there.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import asyncpg

TABLE = "public.bench_trips"
CREATE = f"""
DROP TABLE IF EXISTS {TABLE};
CREATE TABLE {TABLE} (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  seq bigint NOT NULL,
  client_id bigint,
  title text,
  status text,
  budget numeric(10,2),
  tags text[],
  preferences jsonb,
  updated_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON {TABLE} TO anon, authenticated, service_role;
ALTER PUBLICATION supabase_realtime ADD TABLE {TABLE};
"""
INSERT = f"""
INSERT INTO {TABLE} (seq, client_id, title, status, budget, tags, preferences)
SELECT seq, seq % 50, 'Ten days along the coast', 'planned', 1234.50,
       '{{beach,family}}', '{{"diet": "vegetarian", "seats": "window"}}'
FROM generate_series($1::bigint, $1::bigint + $2::bigint - 1) AS seq
"""


async def create_table(database_url: str, *, policy: str = "") -> None:
    """Make the table anew and add it to the publication.

    Args:
        database_url: Where.
        policy: Condition under which `authenticated` may see a row; "" for no row security.
    """
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(CREATE)
        if policy:
            await connection.execute(
                f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY;"
                f"CREATE POLICY bench ON {TABLE} FOR SELECT TO authenticated USING ({policy})"
            )
    finally:
        await connection.close()


async def write_rows(
    database_url: str, rate: float, seconds: float, rows_per_commit: int
) -> list[tuple[int, int, int]]:
    """Insert ``rate`` rows a second, so many in each transaction."""
    connection = await asyncpg.connect(database_url)
    noted: list[tuple[int, int, int]] = []
    try:
        insert = await connection.prepare(INSERT)
        began = time.monotonic()
        for first in range(0, int(rate * seconds), rows_per_commit):
            await asyncio.sleep(max(0.0, began + first / rate - time.monotonic()))
            transaction = connection.transaction()
            await transaction.start()
            await insert.fetch(first, rows_per_commit)
            sent_ns = time.monotonic_ns()
            await transaction.commit()
            answered_ns = time.monotonic_ns()
            noted += [(first + i, sent_ns, answered_ns) for i in range(rows_per_commit)]
    finally:
        await connection.close()
    return noted


def main() -> None:
    database_url, rate, seconds, *more = sys.argv[1:]
    rows_per_commit = int(more[0]) if more else 1
    for note in asyncio.run(write_rows(database_url, float(rate), float(seconds), rows_per_commit)):
        print(json.dumps(note))


if __name__ == "__main__":
    main()
