"""A PostgreSQL of our own: binaries, account, settings, and the life of one server.

Neither SQL nor migrations; those are siblings in adapters.postgres.
"""

from tidewire.adapters.postgres.embedded.cluster import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
