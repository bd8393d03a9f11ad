"""SQL LIKE patterns, matched without backtracking.

A pattern is cut at its ``%`` into pieces of fixed length that are sought from left to right,
each at its first place: for LIKE the leftmost choice is never worse. A piece is a run of
literals and ``_``; its longest literal is sought by `str.find`, the others are compared in
place. Steps are counted, so that no pattern costs more than `STEPS_MAX` of them.

Source: PostgreSQL manual, "LIKE"; the default escape is the backslash.
"""

from __future__ import annotations

import msgspec

STEPS_MAX = 20_000
"""Comparisons after which a match is given up and left to the database; about 5 ms."""


class PatternError(ValueError):
    """The pattern ends in its escape character."""


class _Piece(msgspec.Struct, frozen=True):
    """Text between two ``%``.

    Attributes:
        length: Characters it covers.
        literals: (offset, text) of each run without ``_``, the longest first.
    """

    length: int
    literals: tuple[tuple[int, str], ...]

    def fits(self, text: str, start: int) -> bool:
        """Whether it matches `text` at `start`; the caller made sure that it is long enough."""
        return all(text.startswith(literal, start + offset) for offset, literal in self.literals)

    def seek(self, text: str, start: int, end: int, steps_left: list[int]) -> int | None:
        """First place in text[start:end] where it matches; -1 for nowhere, None when too costly."""
        if not self.literals:
            return start if start + self.length <= end else -1
        offset, longest = self.literals[0]
        last = end - self.length
        while start <= last:
            found = text.find(longest, start + offset, last + offset + len(longest))
            if found < 0:
                return -1
            start = found - offset
            steps_left[0] -= len(self.literals)
            if steps_left[0] < 0:
                return None
            if self.fits(text, start):
                return start
            start += 1
        return -1


class LikePattern:
    """A compiled LIKE pattern."""

    __slots__ = ("_pieces", "is_ascii", "text")

    def __init__(self, pattern: str) -> None:
        """Compile `pattern`.

        Raises:
            PatternError: It ends in a lone backslash.
        """
        self.text = pattern
        self.is_ascii = pattern.isascii()
        self._pieces = [_make_piece(tokens) for tokens in _tokens_between_percents(pattern)]

    def matches(self, text: str) -> bool | None:
        """Whether the whole of `text` matches; None when that would cost too many steps."""
        pieces = self._pieces
        first, last = pieces[0], pieces[-1]
        if len(pieces) == 1:
            return len(text) == first.length and first.fits(text, 0)
        end = len(text) - last.length
        position = first.length
        if position > end or not first.fits(text, 0) or not last.fits(text, end):
            return False
        steps_left = [STEPS_MAX]
        for piece in pieces[1:-1]:
            found = piece.seek(text, position, end, steps_left)
            if found is None:
                return None
            if found < 0:
                return False
            position = found + piece.length
        return True


def _tokens_between_percents(pattern: str) -> list[list[str | None]]:
    """Per piece its characters; None stands for ``_``."""
    groups: list[list[str | None]] = [[]]
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if char == "%":
            groups.append([])
        elif char == "_":
            groups[-1].append(None)
        else:
            if char == "\\":
                position += 1
                if position == len(pattern):
                    raise PatternError("LIKE pattern must not end with escape character")
            groups[-1].append(pattern[position])
        position += 1
    # Nothing between two percents says nothing more than one percent.
    return [groups[0], *[g for g in groups[1:-1] if g], groups[-1]] if len(groups) > 1 else groups


def _make_piece(tokens: list[str | None]) -> _Piece:
    literals: list[tuple[int, str]] = []
    run: list[str] = []
    for offset, token in enumerate([*tokens, None]):
        if token is not None:
            run.append(token)
        elif run:
            literals.append((offset - len(run), "".join(run)))
            run = []
    literals.sort(key=lambda literal: -len(literal[1]))
    return _Piece(len(tokens), tuple(literals))
