"""Numbered migrations, one file a subject, applied in order under an advisory lock.

What runs them is adapters.postgres.migrations.
"""
