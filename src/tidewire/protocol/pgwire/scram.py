"""SCRAM-SHA-256, the client's side, without channel binding.

Source: RFC 5802, RFC 7677; RFC 4013 (SASLprep) for the password.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import stringprep
import unicodedata

from tidewire.core.errors import ProtocolViolationError

MECHANISM = "SCRAM-SHA-256"

ITERATIONS_MAX = 1_000_000
"""A server may not keep us computing: PostgreSQL's default is 4,096."""


class ScramClient:
    """One exchange: `first_message`, `final_message`, `verify`, in this order.

    Args:
        password: As the user wrote it.
        nonce: Printable random text without commas, fresh for each exchange.
    """

    def __init__(self, password: str, nonce: str) -> None:
        self._password = prepare_password(password)
        self._nonce = nonce
        # The user name is left empty: PostgreSQL takes the one of the startup message.
        self._bare = f"n=,r={nonce}"
        self._server_signature = b""
        self.is_verified = False

    def first_message(self) -> bytes:
        """What opens the exchange."""
        return f"n,,{self._bare}".encode()

    def final_message(self, challenge: bytes) -> bytes:
        """The proof that we know the password, for the server's challenge.

        Raises:
            ProtocolViolationError: The challenge is malformed, or not for our nonce.
        """
        nonce, salt, iterations = self._read_challenge(challenge)
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        unproven = f"c=biws,r={nonce}"
        signed = b",".join((self._bare.encode(), challenge, unproven.encode()))
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self._server_signature = hmac.digest(server_key, signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return f"{unproven},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, outcome: bytes) -> None:
        """Check that the server knows the password too.

        Raises:
            ProtocolViolationError: It does not, or came before its turn.
        """
        fields = _fields(outcome)
        signature = _decode_base64(fields.get("v", ""))
        if not self._server_signature or not hmac.compare_digest(signature, self._server_signature):
            raise ProtocolViolationError("the server's SCRAM signature is wrong")
        self.is_verified = True

    def _read_challenge(self, challenge: bytes) -> tuple[str, bytes, int]:
        fields = _fields(challenge)
        nonce = fields.get("r", "")
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise ProtocolViolationError("the server's SCRAM nonce does not continue ours")
        salt = _decode_base64(fields.get("s", ""))
        count = fields.get("i", "")
        iterations = int(count) if count.isascii() and count.isdigit() and len(count) < 10 else 0
        if not salt or not 1 <= iterations <= ITERATIONS_MAX:
            raise ProtocolViolationError("the server's SCRAM challenge is malformed")
        return nonce, salt, iterations


def prepare_password(password: str) -> bytes:
    """SASLprep as PostgreSQL does it: a password that may not be prepared is taken as it is."""
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in password
        if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if not prepared or any(map(_is_prohibited, prepared)) or _mixes_directions(prepared):
        return password.encode()
    return prepared.encode()


def _is_prohibited(char: str) -> bool:
    return (
        stringprep.in_table_a1(char)
        or stringprep.in_table_c12(char)
        or stringprep.in_table_c21_c22(char)
        or stringprep.in_table_c3(char)
        or stringprep.in_table_c4(char)
        or stringprep.in_table_c5(char)
        or stringprep.in_table_c6(char)
        or stringprep.in_table_c7(char)
        or stringprep.in_table_c8(char)
        or stringprep.in_table_c9(char)
    )


def _mixes_directions(text: str) -> bool:
    """Whether right-to-left text breaks the rules of RFC 3454 section 6."""
    if not any(map(stringprep.in_table_d1, text)):
        return False
    ends_are_rtl = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return not ends_are_rtl or any(map(stringprep.in_table_d2, text))


def _fields(message: bytes) -> dict[str, str]:
    try:
        text = message.decode("ascii")
    except UnicodeDecodeError as error:
        raise ProtocolViolationError("a SCRAM message that is not ASCII") from error
    return {name: value for name, _, value in (part.partition("=") for part in text.split(","))}


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ProtocolViolationError("a SCRAM message with broken base64") from error
