"""Every place that puts SQL together is known, and says why what it puts in is safe.

Values travel as parameters. What cannot, names and fixed parts, must be quoted by one of
`QUOTERS`, or stand in `KNOWN` with its reason. A new place makes this test fail: look at it.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "tidewire"
SQL = re.compile(
    r"\s*(with|select|insert into|update|delete from|create|alter|drop|grant|revoke"
    r"|set (local|role)|copy|truncate|do|comment on|start_replication"
    r"|(create|drop)_replication_slot)\b[^.:]*\s",
    re.IGNORECASE,
)
RUNNERS = frozenset({"execute", "fetch", "fetchrow", "fetchval", "prepare", "query", "_write"})
QUOTERS = frozenset({"quote_name", "quote_identifier", "quote_literal"})

KNOWN = {
    "adapters/postgres/checker.py": "statements that PostgreSQL's own format() made, by %I and %L",
    "adapters/postgres/embedded/login.py": "a statement that PostgreSQL's own format() made",
    "adapters/postgres/compare.py": "names of types and operators from the catalogue, quoted by it",
    "adapters/postgres/migrations.py": "constants; the text of our own migrations",
    "adapters/postgres/message_store.py": "fixed parts that depend on the version",
    "adapters/postgres/preflight.py": "a fixed word that depends on the version",
    "adapters/postgres/publication.py": "quoted names, kept in a variable",
    "adapters/postgres/messages_publication.py": "a quoted constant, kept in a variable",
    "adapters/postgres/safety.py": "a fixed word that depends on the version; advice, never run",
    "adapters/postgres/slot.py": "options made of quoted literals; positions are numbers",
    "adapters/postgres/embedded/databases.py": "a quoted name, kept in a variable",
    "adapters/postgres/row_security/statements.py": "policies are code by nature; names are quoted",
    "adapters/postgres/row_security/session.py": "names of its own functions, numbered",
    "adapters/postgres/channel_rights/statements.py": "fixed parts",
    "adapters/postgres/channel_rights/session.py": "the name of its own function",
    "adapters/postgres/replication.py": "commands that `slot` made",
    "adapters/postgres/revocations.py": "constants",
    "server/demo/schema.py": "constant names of the sample tables",
    "server/demo/load.py": "constant names of the sample tables",
}


def _is_quoted(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name | ast.Attribute)
        and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr) in QUOTERS
    )


def _spliced(node: ast.AST) -> list[ast.expr]:
    """The expressions that a piece of code puts into SQL text, apart from quoted names."""
    if isinstance(node, ast.JoinedStr):
        text = "".join(
            str(part.value) if isinstance(part, ast.Constant) else " x " for part in node.values
        )
        parts = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
    elif (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Add | ast.Mod)
        and isinstance(node.left, ast.Constant)
        and isinstance(node.left.value, str)
    ):
        text, parts = node.left.value, [node.right]
    else:
        return []
    return [part for part in parts if not _is_quoted(part)] if SQL.match(text) else []


def _runs_made_text(node: ast.AST) -> bool:
    """Whether a call runs a text that is not written down at the call, nor a constant's name."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
        return False
    if node.func.attr not in RUNNERS:
        return False
    query = node.args[0]
    return isinstance(query, ast.Call) and not _is_quoted(query)


def _places(tree: ast.AST) -> list[int]:
    return [
        getattr(node, "lineno", 0)
        for node in ast.walk(tree)
        if _spliced(node) or _runs_made_text(node)
    ]


def _found() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    # Nobody else reaches SQL: the import contracts see to that.
    for file in sorted([*SOURCE.glob("adapters/**/*.py"), *SOURCE.glob("server/**/*.py")]):
        places = _places(ast.parse(file.read_text()))
        if places:
            found[str(file.relative_to(SOURCE))] = places
    return found


def test_sql_is_put_together_in_known_places_only() -> None:
    unknown = {file: lines for file, lines in _found().items() if file not in KNOWN}
    assert unknown == {}


def test_a_planted_splice_is_seen() -> None:
    for text in (
        'f"select * from {table}"',
        'f"delete from t where a = \'{value}\'"',
        '"select " + name',
        '"update t set a = %s" % value',
        'connection.execute(QUERY.format(name=name))',
        'f"START_REPLICATION SLOT {slot} LOGICAL 0/0"',
    ):  # fmt: skip
        assert _places(ast.parse(text)), text


def test_what_is_quoted_or_written_down_passes() -> None:
    for text in (
        'f"drop table {quote_name(table)}"',
        'connection.execute("select $1", value)',
        'connection.fetch(QUERY, value)',
        'f"updated {count} rows"',
    ):  # fmt: skip
        assert not _places(ast.parse(text)), text
