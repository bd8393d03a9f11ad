"""Reads the WebSocket frames that the server wrote, for tests without a socket."""

import zlib


def split_frames(data: bytes) -> list[tuple[int, bytes]]:
    """(opcode, payload) of each unmasked frame in `data`; compressed ones are inflated."""
    frames: list[tuple[int, bytes]] = []
    position = 0
    while position < len(data):
        first, size = data[position], data[position + 1]
        position += 2
        assert first & 0x80, "servers write no fragments"
        assert size < 128, "servers do not mask"
        if size > 125:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[position : position + width], "big")
            position += width
        payload = data[position : position + size]
        assert len(payload) == size
        position += size
        if first & 0x40:
            payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
        frames.append((first & 15, payload))
    return frames
