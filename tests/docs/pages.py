"""Pages of the documentation, and the fenced examples in them.

An example is a fenced block. Its language says what is done with it:

    python, js   run as a program of its own, in a folder that holds the server's ready.json
    sql          run in the server's database, statement by statement
    console      each line after ``$`` is a command: its program, sub-command, flags and the
                 values of those must exist; ``curl`` lines are asked of the server
    toml         read as a settings file
    text, json   shown, not run

A program that goes on for ever has a comment right above its block, which readers do not see:

    <!-- prints: WORDS | while: SQL -->

It is right when it prints WORDS; the SQL, if any, is run again and again until it does. Without
such a comment a program must end by itself with exit code 0.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = frozenset({"python", "js", "sql", "console", "toml", "text", "json"})

_FENCE = re.compile(
    r"^(?: *<!-- prints: (?P<prints>.+?)(?: \| while: (?P<stimulus>.+?))? -->\n)?"
    r"^ *```(?P<language>\S*)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


class Example(NamedTuple):
    """One fenced block.

    Attributes:
        page: Where it stands, relative to the root.
        line: Of its fence.
        language: What the fence says.
        text: What is in it.
        prints: What a program that goes on for ever must print; "" for one that ends.
        stimulus: SQL to run meanwhile, or "".
    """

    page: str
    line: int
    language: str
    text: str
    prints: str
    stimulus: str


def page_name(path: Path) -> str:
    """The page's path from the root."""
    return path.relative_to(ROOT).as_posix()


def examples_of(path: Path) -> list[Example]:
    """All fenced blocks of a page, from top to bottom."""
    text = path.read_text()
    return [
        Example(
            page_name(path),
            text.count("\n", 0, found.start("language")) + 1,
            found["language"],
            textwrap.dedent(found["text"]),
            found["prints"] or "",
            found["stimulus"] or "",
        )
        for found in _FENCE.finditer(text)
    ]


def commands_of(example: Example) -> list[str]:
    """The command lines of a console block; a backslash at the end joins two."""
    text = example.text.replace("\\\n", " ")
    return [line[2:] for line in text.splitlines() if line.startswith("$ ")]


def table_rows(text: str) -> list[list[str]]:
    """The cells of every table row of a page, heads and rules left out."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        for row in rows
    ]
    return [row for row in cells if not set("".join(row)) <= {"-", ":"}]
