"""Ports kept in files of this machine.

Outlives the process; needs no other program.
"""
