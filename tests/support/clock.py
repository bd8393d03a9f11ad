"""A clock that a test moves by hand."""


class ManualClock:
    """Stands still until told; both clocks move together."""

    def __init__(self, wall_s: float = 1_800_000_000.0) -> None:
        self._start_wall_s = wall_s
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return self._start_wall_s + self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds

    def set_wall(self, wall_s: float) -> None:
        """Set the time of day, as an administrator or a machine that slept does."""
        self._start_wall_s = wall_s - self.now_s
