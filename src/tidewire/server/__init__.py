"""Settings, wiring and the life of the process; build.py alone names adapters.

Rules belong further down.
"""
