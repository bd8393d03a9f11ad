"""The Python client: connection, channels, events.

Nothing of the server is imported here.
"""
