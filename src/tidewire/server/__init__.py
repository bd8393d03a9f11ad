"""Settings, wiring and the life of the process; build.py alone chooses adapters.

Rules belong further down.
"""
