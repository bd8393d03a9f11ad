"""The sample data of `tidewire demo`: schema, rows, robots.

Nothing here is needed by `tidewire serve`.
"""
