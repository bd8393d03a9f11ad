"""Logging in: trust, cleartext, MD5 and SCRAM-SHA-256.

Source: PostgreSQL manual, "Start-up" and "SASL Authentication".
"""

from __future__ import annotations

import enum
import hashlib

from tidewire.core.errors import ProtocolViolationError
from tidewire.protocol.pgwire.events import ServerReport
from tidewire.protocol.pgwire.scram import MECHANISM, ScramClient


class Request(enum.IntEnum):
    """What the server asks for. Source: Authentication* messages."""

    OK = 0
    CLEARTEXT = 3
    MD5 = 5
    SASL = 10
    SASL_CONTINUE = 11
    SASL_FINAL = 12


class Authentication:
    """One login.

    Args:
        user: Role to log in as.
        password: None when there is none.
        nonce: Fresh random printable text for SCRAM.
    """

    def __init__(self, user: str, password: str | None, nonce: str) -> None:
        self.is_done = False
        self._user = user
        self._password = password
        self._nonce = nonce
        self._scram: ScramClient | None = None

    def receive(self, body: bytes) -> bytes | ServerReport | None:
        """Answer one request of the server.

        Returns:
            The body of a password message, nothing to send, or why the login cannot go on.

        Raises:
            ProtocolViolationError: The request is malformed or out of turn.
        """
        kind = int.from_bytes(body[:4], "big")
        if len(body) < 4 or self.is_done:
            raise ProtocolViolationError("an authentication request out of turn")
        if kind == Request.OK:
            if self._scram is not None and not self._scram.is_verified:
                raise ProtocolViolationError("the server skipped its part of SCRAM")
            self.is_done = True
            return None
        if kind in (Request.SASL_CONTINUE, Request.SASL_FINAL):
            return self._go_on(kind, body[4:])
        if self._scram is not None:
            raise ProtocolViolationError("the server changed the way of authentication")
        if self._password is None:
            return _refusal("the server asks for a password and the URL has none")
        return self._begin(kind, body[4:], self._password)

    def _begin(self, kind: int, rest: bytes, password: str) -> bytes | ServerReport:
        if kind == Request.CLEARTEXT:
            return password.encode() + b"\0"
        if kind == Request.MD5:
            if len(rest) != 4:
                raise ProtocolViolationError("an MD5 salt of the wrong size")
            inner = _md5_hex(password.encode() + self._user.encode())
            return b"md5" + _md5_hex(inner + rest) + b"\0"
        if kind == Request.SASL:
            if MECHANISM.encode() not in rest.split(b"\0"):
                return _refusal("the server offers no way of authentication that is known here")
            self._scram = ScramClient(password, self._nonce)
            first = self._scram.first_message()
            return MECHANISM.encode() + b"\0" + len(first).to_bytes(4, "big") + first
        return _refusal(f"the server asks for authentication {kind}, which is not known here")

    def _go_on(self, kind: int, rest: bytes) -> bytes | None:
        if self._scram is None:
            raise ProtocolViolationError("SCRAM goes on before it began")
        if kind == Request.SASL_CONTINUE:
            return self._scram.final_message(rest)
        self._scram.verify(rest)
        return None


def _md5_hex(data: bytes) -> bytes:
    # The protocol's own use of MD5; the server chooses it, SCRAM is preferred by PostgreSQL.
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()


def _refusal(message: str) -> ServerReport:
    return ServerReport("FATAL", "28000", message)
