"""When a run of completion ends: its error on held-out entries is no longer getting better."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Patience"]


class Patience(NamedTuple):
    """Steps to wait for a better error.

    Attributes
    ----------
    rising : float
        The error counts as rising beyond this multiple of the least one, below it as level.
    when_rising, when_level : int
        Steps without a better error after which a run ends.
    share : float
        It waits at least this part of the steps to the best one.
    """

    rising: float
    when_rising: int
    when_level: int
    share: float = 0.0

    def is_over(self, error: float, least: float, waited: int, best: int) -> bool:
        """Whether to end a run whose best error came at step ``best``, ``waited`` steps ago."""
        steps = self.when_rising if error > self.rising * least else self.when_level
        return waited >= max(steps, int(self.share * best), 1)
