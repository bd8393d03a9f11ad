"""Ports kept in this process's memory.

Nothing here survives a restart.
"""
