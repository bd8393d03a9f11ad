"""Wire formats and state machines: bytes in, events and bytes out.

No socket, no task, no clock; those belong to adapters and transports.
"""
