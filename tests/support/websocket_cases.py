"""What a strict WebSocket server must do, case by case, against an echo server.

The groups follow the subjects of the Autobahn testsuite (its groups 1-7 and 10); the cases are
ours. Groups 12 and 13 (compression) are programs, not rows: see the tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.support.websocket_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    client_frame,
    close_payload,
)


class Case(NamedTuple):
    """What a client sends and what must come back.

    Attributes:
        name: Group and what is special.
        sent: Bytes after the handshake, without the client's close frame.
        back: Frames before the server's close frame.
        closes: Close code with which the server ends it by itself; None when it goes on, and
            answers the client's close frame.
        chop: Bytes a write; None for all at once.
    """

    name: str
    sent: bytes
    back: tuple[Frame, ...] = ()
    closes: int | None = None
    chop: int | None = None


def _echo(name: str, opcode: int, payload: bytes, chop: int | None = None) -> Case:
    return Case(name, client_frame(opcode, payload), (Frame(opcode, payload),), chop=chop)


def sizes() -> Iterator[Case]:
    for opcode, kind in ((TEXT, "text"), (BINARY, "binary")):
        for size in (0, 125, 126, 127, 128, 65535, 65536):
            yield _echo(f"size-{kind}-{size}", opcode, b"*" * size)
        yield _echo(f"size-{kind}-chopped", opcode, b"*" * 65536, 997)


def pings() -> Iterator[Case]:
    for payload in (b"", b"Hello", bytes(range(256))[::-3], b"p" * 125):
        for chop in (None, 1):
            sent, back = client_frame(PING, payload), (Frame(PONG, payload),)
            yield Case(f"ping-{len(payload)}-chop-{chop}", sent, back, chop=chop)
    yield Case("ping-126", client_frame(PING, b"p" * 126), closes=1002)
    yield Case("pong-unasked", client_frame(PONG) + client_frame(PONG, b"data"))
    yield Case(
        "pong-unasked-then-ping",
        client_frame(PONG, b"a") + client_frame(PING, b"b"),
        (Frame(PONG, b"b"),),
    )
    ten = [f"payload-{number}".encode() for number in range(10)]
    for chop in (None, 1):
        sent = b"".join(client_frame(PING, payload) for payload in ten)
        yield Case(f"pings-10-{chop}", sent, tuple(Frame(PONG, p) for p in ten), chop=chop)


def reserved() -> Iterator[Case]:
    hello = client_frame(TEXT, b"before")
    back = (Frame(TEXT, b"before"),)
    after = client_frame(TEXT, b"after") + client_frame(PING)
    for bits in range(1, 8):
        for opcode in (TEXT, BINARY, PING, CLOSE):
            bad = client_frame(opcode, b"", reserved=bits)
            yield Case(f"reserved-bits-{bits}-opcode-{opcode}", hello + bad + after, back, 1002)
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for payload in (b"", b"reserved"):
            for chop in (None, 1):
                bad = client_frame(opcode, payload)
                name = f"reserved-opcode-{opcode}-{len(payload)}-chop-{chop}"
                yield Case(name, hello + bad + after, back, 1002, chop)


def fragments() -> Iterator[Case]:
    first = client_frame(TEXT, b"one ", final=False)
    middle = client_frame(CONTINUATION, b"two ", final=False)
    last = client_frame(CONTINUATION, b"three")
    whole = Frame(TEXT, b"one two three")
    ping, pong = client_frame(PING, b"!"), Frame(PONG, b"!")
    for chop in (None, 1):
        yield Case(f"fragments-{chop}", first + middle + last, (whole,), chop=chop)
        sent = first + ping + middle + ping + last
        yield Case(f"fragments-pings-{chop}", sent, (pong, pong, whole), chop=chop)
        sent = first + client_frame(PONG) + last
        yield Case(f"fragments-pong-{chop}", sent, (Frame(TEXT, b"one three"),), chop=chop)
        yield Case(f"continuation-alone-{chop}", last + ping, (), 1002, chop)
        yield Case(f"continuation-open-alone-{chop}", middle + last, (), 1002, chop)
        sent = first + last + last
        yield Case(f"continuation-extra-{chop}", sent, (Frame(TEXT, b"one three"),), 1002, chop)
        yield Case(f"nested-text-{chop}", first + client_frame(TEXT, b"x"), (), 1002, chop)
        yield Case(f"nested-binary-{chop}", first + client_frame(BINARY), (), 1002, chop)
        for opcode in (PING, PONG, CLOSE):
            bad = client_frame(opcode, b"", final=False)
            yield Case(f"fragmented-control-{opcode}-{chop}", bad + ping, (), 1002, chop)
    empties = client_frame(TEXT, final=False) + client_frame(CONTINUATION, final=False)
    yield Case("fragments-empty", empties + client_frame(CONTINUATION), (Frame(TEXT, b""),))
    payload = b"*" * 65536
    pieces = [payload[at : at + 1300] for at in range(0, len(payload), 1300)]
    sent = client_frame(TEXT, pieces[0], final=False)
    sent += b"".join(client_frame(CONTINUATION, piece, final=False) for piece in pieces[1:])
    yield Case("fragments-of-1300", sent + client_frame(CONTINUATION), (Frame(TEXT, payload),))


_VALID_TEXTS = (
    "",
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    *(chr(point) for point in (0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0xFFFF)),
    *(chr(0x10000 * plane + 0xFFFE) for plane in range(17)),
    *(chr(0x10000 * plane + 0xFFFF) for plane in range(17)),
    chr(0x10000),
)

_INVALID_TEXTS = (
    # Beyond U+10FFFF, and the five- and six-byte forms of old.
    *(bytes.fromhex(text) for text in ("f4908080", "f7bfbfbf", "f888808080", "fc8480808080")),
    *(bytes.fromhex(text) for text in ("fbbfbfbfbf", "fdbfbfbfbfbf")),
    # Continuation bytes without a start.
    *(bytes.fromhex(text) for text in ("80", "bf", "80bf", "80bf80", "80bf80bf80bf")),
    bytes(range(0x80, 0xC0)),
    # Starts without their continuation.
    *(
        b" ".join(bytes((start,)) for start in starts) + b" "
        for starts in (range(0xC0, 0xE0), range(0xE0, 0xF0), range(0xF0, 0xF8), range(0xF8, 0xFE))
    ),
    *(bytes.fromhex(text) for text in ("c3", "e080", "f09080", "efbf", "dfc3", "f7bfbf")),
    *(bytes.fromhex(text) for text in ("fe", "ff", "fefeffff")),
    # Longer than need be.
    *(bytes.fromhex(text) for text in ("c0af", "e080af", "f08080af", "f8808080af")),
    *(bytes.fromhex(text) for text in ("c1bf", "e09fbf", "f08fbfbf", "c080", "e08080")),
    # Surrogates, single and in pairs.
    *(bytes.fromhex(text) for text in ("eda080", "edadbf", "edae80", "edafbf", "edb080")),
    *(bytes.fromhex(text) for text in ("edbfbf", "eda080edb080", "edafbfedbfbf")),
    # In the middle of good text.
    "κόσμε".encode() + b"\xed\xa0\x80" + b"edited",
    "κόσμε".encode() + b"\xf4\x90\x80\x80" + b"edited",
)


def _byte_by_byte(payload: bytes) -> bytes:
    pieces = [payload[at : at + 1] for at in range(len(payload))] or [b""]
    frames = [
        client_frame(CONTINUATION if at else TEXT, piece, final=at == len(pieces) - 1)
        for at, piece in enumerate(pieces)
    ]
    return b"".join(frames)


def utf8() -> Iterator[Case]:
    for number, text in enumerate(_VALID_TEXTS):
        payload = text.encode()
        yield _echo(f"utf8-valid-{number}", TEXT, payload)
        sent = _byte_by_byte(payload)
        yield Case(f"utf8-valid-{number}-in-fragments", sent, (Frame(TEXT, payload),))
    for number, payload in enumerate(_INVALID_TEXTS):
        yield Case(f"utf8-invalid-{number}", client_frame(TEXT, payload), closes=1007)
        yield Case(f"utf8-invalid-{number}-in-fragments", _byte_by_byte(payload), closes=1007)
    early = client_frame(TEXT, "κόσμε".encode() + b"\xf4\x90", final=False)
    yield Case("utf8-fails-before-the-last-fragment", early, closes=1007)
    yield _echo("utf8-does-not-count-in-binary", BINARY, b"\xff\xfe\xed\xa0\x80")


def closes() -> Iterator[Case]:
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014):
        yield Case(f"close-{code}", client_frame(CLOSE, close_payload(code)), closes=code)
    for code in (3000, 3999, 4000, 4999):
        frame = client_frame(CLOSE, close_payload(code, b"reason"))
        yield Case(f"close-{code}", frame, closes=code)
    for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        yield Case(f"close-{code}", client_frame(CLOSE, close_payload(code)), closes=1002)
    longest = close_payload(1000, b"*" * 123)
    yield Case("close-reason-123", client_frame(CLOSE, longest), closes=1000)
    yield Case("close-reason-124", client_frame(CLOSE, longest + b"*"), closes=1002)
    yield Case("close-one-byte", client_frame(CLOSE, b"\x03"), closes=1002)
    bad = close_payload(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80")
    yield Case("close-reason-not-utf8", client_frame(CLOSE, bad), closes=1007)
    close = client_frame(CLOSE, close_payload(1000))
    for name, more in (
        ("close", close),
        ("ping", client_frame(PING)),
        ("text", client_frame(TEXT, b"late")),
        ("continuation", client_frame(CONTINUATION, b"late")),
        ("broken", b"\xff" * 9),
    ):
        yield Case(f"close-then-{name}", close + more, closes=1000)
    begun = client_frame(TEXT, b"begun", final=False)
    yield Case("close-within-a-message", begun + close + client_frame(0, b"x"), closes=1000)
    big = client_frame(TEXT, b"*" * 262_144)
    yield Case("close-behind-a-big-message", big + close, (Frame(TEXT, b"*" * 262_144),), 1000)


def headers() -> Iterator[Case]:
    yield Case("not-masked", client_frame(TEXT, b"x", masked=False), closes=1002)
    yield Case("length-in-2-not-shortest", client_frame(TEXT, b"x", width=2), closes=1002)
    yield Case("length-in-8-not-shortest", client_frame(TEXT, b"x" * 999, width=8), closes=1002)
    yield Case("length-with-sign", client_frame(BINARY, length=2**63, width=8), closes=1002)
    yield Case("length-past-the-limit", client_frame(BINARY, length=2**40, width=8), closes=1009)


CASES = tuple(
    case for group in (sizes, pings, reserved, fragments, utf8, closes, headers) for case in group()
)
