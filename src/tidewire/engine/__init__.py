"""What the server does: connections, channels, presence, broadcast, changes.

No socket, driver or environment; those come through ports.
"""
