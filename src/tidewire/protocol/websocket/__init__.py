"""RFC 6455 and 7692: handshake, frames, messages, compression.

The transport that reads and writes belongs to transports.
"""
