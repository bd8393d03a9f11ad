"""What clients send: bytes in, messages, pings and closes out (RFC 6455 sections 5 to 8).

Theory of operation. `FrameReceiver.receive` is given bytes as they come off the socket, cut
anywhere. It walks over the whole frames in them and keeps the rest for the next call. The frame
that is nearly always there, one short masked text message, is handled in that loop; all others
go through `_other_header` and `_other_frame`. A broken rule is raised as `_BrokenRuleError`,
caught in one place and told to `on_fail`. After a close frame or a broken rule nothing more is
read: whatever follows has no meaning.

What comes out is told by calls, not by a list of events: this runs once per message, and a list
would cost as much as the parsing. A transport inherits from the class, so a message goes from
the socket to its taker in three calls.

Memory of one receiver is bounded by the message limit (one buffered frame and the fragments of
one message), the length is judged before the payload comes.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Final

from tidewire.core.errors import ProtocolViolationError
from tidewire.protocol.websocket import close_codes
from tidewire.protocol.websocket.compression import MessageTooBigError, inflate
from tidewire.protocol.websocket.frames import CONTROL_MAX_BYTES
from tidewire.protocol.websocket.masking import unmask

_FINAL: Final = 0x80
_COMPRESSED: Final = 0x40
_RESERVED: Final = 0x30
_OPCODE: Final = 0x0F
_CONTROL: Final = 0x08

_CONTINUATION: Final = 0x0
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_CLOSE: Final = 0x8
_PING: Final = 0x9
_PONG: Final = 0xA
_OPCODES: Final = frozenset((_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG))

_WHOLE_TEXT: Final = _FINAL | _TEXT
_MASKED: Final = 0x80
_MASK_BYTES: Final = 4
_LENGTH_IN_2_BYTES: Final = 126
_HEADER_INCOMPLETE: Final = (0, 0)

_new_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class _BrokenRuleError(ProtocolViolationError):
    """The peer broke a rule; the connection closes with `close_code`."""

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(reason)
        self.close_code = close_code
        self.reason = reason


class _Fragments:
    """A message that has begun and not ended.

    Fragments are gathered in one array, not in a list: a list of tiny or empty ones would
    outgrow the message limit many times over.
    """

    __slots__ = ("decoder", "is_compressed", "is_text", "payload")

    def __init__(self, *, is_text: bool, is_compressed: bool) -> None:
        self.payload = bytearray()
        self.is_text = is_text
        self.is_compressed = is_compressed
        # Bad text is found with the fragment that holds it, not at the end of the message.
        self.decoder = _new_utf8_decoder() if is_text and not is_compressed else None


class FrameReceiver:
    """Strict receiver of a server's side of one connection: no socket, no clock.

    A subclass says what happens next in `on_ping`, `on_close` and `on_fail`.

    Attributes:
        on_message: Takes (payload, is_text) of each whole message; text is proven UTF-8. May be
            replaced at any time, also from within itself.
        accepts_compressed: Whether permessage-deflate was negotiated.
    """

    __slots__ = (
        "_buffer",
        "_ended",
        "_fragments",
        "_max_message_bytes",
        "_needed_bytes",
        "accepts_compressed",
        "on_message",
    )

    on_message: Callable[[bytes, bool], None]

    def __init__(self, *, max_message_bytes: int, accepts_compressed: bool) -> None:
        """Begin after the handshake.

        Args:
            max_message_bytes: Longest message, as it arrives and after inflation.
            accepts_compressed: Whether permessage-deflate was negotiated.
        """
        self.accepts_compressed = accepts_compressed
        self._max_message_bytes = max_message_bytes
        self._buffer: bytes | bytearray = b""
        self._needed_bytes = 0  # length of the frame in the buffer; below 1 while unknown
        self._fragments: _Fragments | None = None
        self._ended = False

    def on_ping(self, payload: bytes) -> None:
        """A ping came; answer with a pong of the same payload."""
        raise NotImplementedError

    def on_close(self, code: int) -> None:
        """The peer's close frame came; nothing is read after it.

        Args:
            code: What it said, 1005 when it said nothing.
        """
        raise NotImplementedError

    def on_fail(self, code: int, reason: str) -> None:
        """The peer broke a rule; nothing is read after it.

        Args:
            code: Close code to answer with.
            reason: Which rule, for people.
        """
        raise NotImplementedError

    def receive(self, data: bytes) -> None:
        """Take what came off the socket and tell what whole frames in it mean."""
        if self._buffer:
            data = self._joined(data)
        if self._ended:
            return
        at, end = 0, len(data)
        try:
            while end - at > 1:
                length = data[at + 1] - _MASKED
                start = at + 6
                if not 0 <= length <= CONTROL_MAX_BYTES:
                    start, length = self._other_header(data, at)
                stop = start + length
                if not start or stop > end:
                    self._needed_bytes = stop - at
                    break
                payload = unmask(data[start:stop], data[start - 4 : start]) if length else b""
                first = data[at]
                at = stop
                if first == _WHOLE_TEXT and self._fragments is None:
                    if not payload.isascii():
                        _check_utf8(payload)
                    self.on_message(payload, True)  # noqa: FBT003 - positional for speed
                else:
                    self._other_frame(first, payload)
                    if self._ended:
                        return
        except _BrokenRuleError as error:
            self._ended = True
            self._fragments = None
            self.on_fail(error.close_code, error.reason)
            return
        if at < end:
            self._buffer = data[at:] if at else data

    def _joined(self, data: bytes) -> bytes:
        """What was kept with `data` behind it; empty while the frame is still not whole."""
        buffer = self._buffer
        if len(buffer) + len(data) < self._needed_bytes:
            # Grows in place: joining at every read would copy a big frame hundreds of times.
            if not isinstance(buffer, bytearray):
                buffer = self._buffer = bytearray(buffer)
            buffer += data
            return b""
        self._buffer = b""
        self._needed_bytes = 0
        return b"".join((buffer, data))

    def _other_header(self, data: bytes, at: int) -> tuple[int, int]:
        """Read the header of a frame that is long or wrong.

        Returns:
            Where the payload starts and its length; (0, 0) when the header is not whole.
        """
        first, length = data[at], data[at + 1]
        if length < _MASKED:
            raise _BrokenRuleError(close_codes.PROTOCOL_ERROR, "frame is not masked")
        self._check_first_byte(first)
        if first & _CONTROL:
            raise _BrokenRuleError(close_codes.PROTOCOL_ERROR, "control frame too long")
        width, shortest = (2, 126) if length - _MASKED == _LENGTH_IN_2_BYTES else (8, 1 << 16)
        start = at + 2 + width
        if start > len(data):
            return _HEADER_INCOMPLETE
        length = int.from_bytes(data[at + 2 : start], "big")
        if length < shortest or length >> 63:
            raise _BrokenRuleError(close_codes.PROTOCOL_ERROR, "length in the wrong form")
        gathered = len(self._fragments.payload) if self._fragments else 0
        if gathered + length > self._max_message_bytes:
            raise _BrokenRuleError(close_codes.TOO_BIG, "message too big")
        return start + _MASK_BYTES, length

    def _check_first_byte(self, first: int) -> None:
        opcode = first & _OPCODE
        if first & _RESERVED or opcode not in _OPCODES:
            raise _BrokenRuleError(close_codes.PROTOCOL_ERROR, "reserved bit or opcode")
        if first & _COMPRESSED and not (self.accepts_compressed and opcode in (_TEXT, _BINARY)):
            raise _BrokenRuleError(close_codes.PROTOCOL_ERROR, "reserved bit")

    def _other_frame(self, first: int, payload: bytes) -> None:
        """Act on any frame but a whole uncompressed text message."""
        self._check_first_byte(first)
        if first & _CONTROL:
            self._control_frame(first, payload)
        else:
            self._data_frame(first, payload)

    def _control_frame(self, first: int, payload: bytes) -> None:
        if not first & _FINAL:
            raise _BrokenRuleError(close_codes.PROTOCOL_ERROR, "fragmented control frame")
        opcode = first & _OPCODE
        if opcode == _PING:
            self.on_ping(payload)
        elif opcode == _CLOSE:
            code = _close_code(payload)
            self._ended = True
            self._fragments = None
            self.on_close(code)

    def _data_frame(self, first: int, payload: bytes) -> None:
        opcode = first & _OPCODE
        fragments = self._fragments
        if opcode == _CONTINUATION:
            if fragments is None:
                raise _BrokenRuleError(close_codes.PROTOCOL_ERROR, "nothing to continue")
        elif fragments is not None:
            raise _BrokenRuleError(close_codes.PROTOCOL_ERROR, "message inside a message")
        elif first == _FINAL | _BINARY:
            self._check_size(len(payload))
            self.on_message(payload, False)  # noqa: FBT003 - positional for speed
            return
        else:
            fragments = self._fragments = _Fragments(
                is_text=opcode == _TEXT, is_compressed=bool(first & _COMPRESSED)
            )
        self._add(fragments, payload, is_last=bool(first & _FINAL))

    def _add(self, fragments: _Fragments, payload: bytes, *, is_last: bool) -> None:
        self._check_size(len(fragments.payload) + len(payload))
        fragments.payload += payload
        if fragments.decoder is not None:
            try:
                fragments.decoder.decode(payload, is_last)
            except UnicodeDecodeError:
                raise _BrokenRuleError(close_codes.INVALID_DATA, "text is not UTF-8") from None
        if is_last:
            self._fragments = None
            message = bytes(fragments.payload)
            if fragments.is_compressed:
                message = self._inflated(message, is_text=fragments.is_text)
            self.on_message(message, fragments.is_text)

    def _inflated(self, data: bytes, *, is_text: bool) -> bytes:
        try:
            message = inflate(data, self._max_message_bytes)
        except MessageTooBigError:
            raise _BrokenRuleError(close_codes.TOO_BIG, "message too big") from None
        except ProtocolViolationError as error:
            raise _BrokenRuleError(close_codes.INVALID_DATA, str(error)) from None
        if is_text:
            _check_utf8(message)
        return message

    def _check_size(self, message_bytes: int) -> None:
        if message_bytes > self._max_message_bytes:
            raise _BrokenRuleError(close_codes.TOO_BIG, "message too big")


def _check_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise _BrokenRuleError(close_codes.INVALID_DATA, "text is not UTF-8") from None


def _close_code(payload: bytes) -> int:
    """The code in a close frame's payload; 1005 when it is empty."""
    if not payload:
        return close_codes.NO_STATUS
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not close_codes.may_be_sent(code):
        raise _BrokenRuleError(close_codes.PROTOCOL_ERROR, "close code is not valid")
    _check_utf8(payload[2:])
    return code
