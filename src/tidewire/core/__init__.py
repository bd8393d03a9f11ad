"""Values and pure rules: no I/O, no asyncio, no clock, no logging.

Wire formats and anything that waits belong higher up.
"""
