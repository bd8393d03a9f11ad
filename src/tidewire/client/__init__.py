"""The Python client: connection, channels, events.

Nothing of the server is imported here.
"""

from tidewire.client.changes import Change, ChangeStream
from tidewire.client.realtime_client import RealtimeClient
from tidewire.client.settings import ClientSettings, ConnectionState, Status

__all__ = [
    "Change",
    "ChangeStream",
    "ClientSettings",
    "ConnectionState",
    "RealtimeClient",
    "Status",
]
