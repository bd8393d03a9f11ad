"""PostgreSQL's logical replication output: messages, transactions, rows as JSON.

Fetching it over a socket belongs to adapters.postgres.
"""
