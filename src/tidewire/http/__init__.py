"""HTTP routes by subject.

SQL is reached through ports only.
"""
