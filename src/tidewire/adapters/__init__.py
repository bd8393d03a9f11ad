"""One folder per outside system, each implementing ports.

An adapter knows no engine and no other adapter.
"""
