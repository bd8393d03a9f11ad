"""PostgreSQL's frontend protocol as far as streaming replication needs it.

The socket belongs to adapters.postgres.
"""
