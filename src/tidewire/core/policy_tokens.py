"""The words of an expression as PostgreSQL's deparser prints it.

Not a lexer for all of SQL: what the deparser never prints (comments, dollar quotes, Unicode
escapes) is not known here, and then nothing is said of the whole expression.

Source: PostgreSQL manual, "Lexical Structure"; `ruleutils.c` for what is printed.
"""

from __future__ import annotations

import enum
import re

import msgspec


class TokenKind(enum.Enum):
    """What a token is."""

    WORD = "word"
    STRING = "string"
    NUMBER = "number"
    OPERATOR = "operator"
    MARK = "mark"


class Token(msgspec.Struct, frozen=True, gc=False):
    """One token.

    Attributes:
        kind: What it is.
        text: As it stands in the expression.
        value: What it means: a name without quotes, a string's content; else the text.
        is_quoted: A name in double quotes, so no keyword.
    """

    kind: TokenKind
    text: str
    value: str
    is_quoted: bool = False

    def is_keyword(self, word: str) -> bool:
        """Whether it is this keyword, in whatever case."""
        return self.kind is TokenKind.WORD and not self.is_quoted and self.text.upper() == word


_PATTERN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<escaped>E'(?:[^'\\]|\\.|'')*')
  | (?P<string>'(?:[^']|'')*')
  | (?P<quoted>"(?:[^"]|"")+")
  | (?P<word>[A-Za-z_\u0080-\U0010ffff][A-Za-z_0-9$\u0080-\U0010ffff]*)
  | (?P<number>\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)
  | (?P<mark>::|:=|[().,\[\]:;])
  | (?P<operator>[-+*/<>=~!@\#%^&|`?]+)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)|''", re.DOTALL)
_PLAIN_ESCAPES = frozenset("\\'")


def tokenize(expression: str) -> list[Token] | None:
    """All tokens, blanks left out; None when something is not known."""
    tokens: list[Token] = []
    position = 0
    while position < len(expression):
        match = _PATTERN.match(expression, position)
        if match is None:
            return None
        position = match.end()
        if match.lastgroup == "space":
            continue
        token = _token(match.lastgroup or "", match.group())
        if token is None:
            return None
        tokens.append(token)
    return tokens


def _token(group: str, text: str) -> Token | None:
    if group == "word":
        return Token(TokenKind.WORD, text, text)
    if group == "quoted":
        return Token(TokenKind.WORD, text, text[1:-1].replace('""', '"'), is_quoted=True)
    if group == "string":
        return Token(TokenKind.STRING, text, text[1:-1].replace("''", "'"))
    if group == "escaped":
        return _escaped_string(text)
    if "--" in text or "/*" in text:
        return None  # would begin a comment
    return Token(TokenKind(group), text, text)


def _escaped_string(text: str) -> Token | None:
    """The deparser escapes nothing but backslashes and quotes."""
    content = text[2:-1]
    escapes = _ESCAPE.findall(content)
    if any(escape and escape not in _PLAIN_ESCAPES for escape in escapes):
        return None
    return Token(TokenKind.STRING, text, _ESCAPE.sub(lambda m: m[1] or "'", content))
