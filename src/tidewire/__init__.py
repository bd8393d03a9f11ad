"""Tidewire: realtime for teams with a PostgreSQL."""

__version__ = "0.1.0"
