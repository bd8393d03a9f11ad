"""Judging rows by row security: sessions, statements and groups behind `ports.authorizer`.

What can be said without PostgreSQL belongs to `core` (policy_*.py).
"""
