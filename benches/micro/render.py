"""Microseconds to render one 17-column row, by each renderer; prints JSON, medians.

.venv/bin/python -m benches.micro.render [--seconds 1]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import struct
import time
from collections.abc import Callable

from tidewire.core.catalog import TypeInfo, TypeKind
from tidewire.core.change import Relation, RelationColumn, ReplicaIdentity
from tidewire.protocol.pgoutput import compiled
from tidewire.protocol.pgoutput.assemble import Assembler
from tidewire.protocol.pgoutput.render import RowRenderer, renderer_name
from tidewire.protocol.pgoutput.row import column_text

TYPES = {1009: TypeInfo(1009, "_text", TypeKind.ARRAY, element_oid=25)}
COLUMNS: list[tuple[str, int, bytes | None]] = [
    ("id", 20, b"184467"),
    ("organizer_id", 20, b"42"),
    ("name", 25, b"Client Number 184467"),
    ("email", 25, b"client184467@example.com"),
    ("phone", 25, b"+1-555-0100"),
    ("status", 25, b"active"),
    ("budget", 1700, b"1234.50"),
    ("party_size", 23, b"4"),
    ("vip", 16, b"t"),
    ("tags", 1009, b"{beach,family}"),
    ("preferences", 3802, b'{"diet": "veg", "seat": "aisle"}'),
    ("notes", 25, b"Prefers morning flights. " * 8),
    ("last_contact", 1082, b"2026-01-02"),
    ("external_id", 2950, b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("score", 701, b"0.25"),
    ("created_at", 1184, b"2026-01-02 03:04:05.678901+00"),
    ("deleted_at", 1184, None),
]
ROUNDS = 7


def make_row() -> bytes:
    parts = [struct.pack("!H", len(COLUMNS))]
    for _, _, text in COLUMNS:
        parts.append(b"n" if text is None else b"t" + struct.pack("!I", len(text)) + text)
    return b"".join(parts)


def median_us(call: Callable[[], object], seconds: float) -> float:
    count = 1
    while (took := _time(call, count)) < seconds / ROUNDS / 4:
        count *= 2
    count = max(1, int(count * seconds / ROUNDS / max(took, 1e-9)))
    return statistics.median(_time(call, count) / count * 1e6 for _ in range(ROUNDS))


def _time(call: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - began


def measure(seconds: float) -> dict[str, float]:
    columns = tuple(RelationColumn(name, oid, is_key=name == "id") for name, oid, _ in COLUMNS)
    relation = Relation(1, "public", "clients", ReplicaIdentity.DEFAULT, columns)
    row = make_row()
    renderer = RowRenderer(relation, TYPES)
    begin = b"B" + struct.pack("!QqI", 1, 0, 1)
    change = b"I\0\0\0\1N" + row
    commit = b"C\0" + struct.pack("!QQq", 1, 2, 0)
    assembler = Assembler()
    described = b"".join(
        bytes([c.is_key]) + c.name.encode() + b"\0" + struct.pack("!Ii", c.type_oid, -1)
        for c in columns
    )
    head = b"R\0\0\0\1public\0clients\0d" + struct.pack("!H", len(columns))
    assembler.receive(head + described)

    def transaction() -> None:
        assembler.receive(begin)
        assembler.receive(change)
        assembler.receive(commit)

    return {
        "render_us": round(median_us(lambda: renderer.render(row), seconds), 3),
        "render_key_us": round(median_us(lambda: renderer.render_key(row), seconds), 3),
        "column_9_text_us": round(median_us(lambda: column_text(row, 8), seconds), 3),
        "assemble_one_row_transaction_us": round(median_us(transaction, seconds), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="per figure")
    seconds = parser.parse_args().seconds
    results: dict[str, dict[str, float]] = {}
    if compiled.use_compiled():
        results[renderer_name()] = measure(seconds)
    compiled.use_python()
    results[renderer_name()] = measure(seconds)
    report = {
        "bench": "micro/render",
        "columns": len(COLUMNS),
        "row_bytes": len(make_row()),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "results": results,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
