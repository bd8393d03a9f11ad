"""PostgreSQL: embedded server, replication stream, catalogue, migrations.

Decoding rules belong to protocol; what to do with a change to engine.
"""
