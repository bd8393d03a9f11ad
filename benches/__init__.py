"""Programs that measure: one file for each claim, run by scripts/bench.

What they share stands in support/, the C programs in load/, what was measured in results/.
"""
