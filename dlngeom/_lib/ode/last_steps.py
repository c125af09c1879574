"""States between steps by the polynomial through the last few of them, where it is accurate.

It costs no evaluation.  Where a flow relaxes it is as good as the steps, and the choice of one
step more or less shows where it is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["LastSteps"]

# Ends of steps on a polynomial; more of them amplify errors, fewer follow the flow less far.
_MOST, _FEWEST = 5, 4
# What one step less may change, in units of the tolerance.
_SURE = 0.1


class _Node(NamedTuple):
    """End of a step: time, state and rates."""

    t: float
    y: np.ndarray
    rates: np.ndarray


class LastSteps:
    """The last steps of an explicit solver.

    Parameters
    ----------
    size : callable
        Size of a flat vector of errors in units of the tolerance.
    """

    def __init__(self, size: Callable[[np.ndarray], float]) -> None:
        self._size = size
        self._nodes: deque[_Node] = deque(maxlen=_MOST)
        self._matrix: np.ndarray | None = None

    def add(self, t: float, y: np.ndarray, rates: np.ndarray) -> None:
        """Add the end of a step."""
        self._nodes.append(_Node(t, y, rates))
        self._matrix = None

    def state(self, t: float, solver: Any) -> np.ndarray | None:
        """State at a time within the last step; None if the last steps do not tell it."""
        if len(self._nodes) < _FEWEST:
            return None
        if self._matrix is None:
            self._matrix = np.stack([x for node in self._nodes for x in (node.y, node.rates)])
        times = [node.t for node in self._nodes]
        all_weights = hermite_weights(times, t)
        fewer = [0.0, 0.0, *hermite_weights(times[1:], t)]
        state, other = np.array([all_weights, fewer]) @ self._matrix
        before, now = self._nodes[-2].y, self._nodes[-1].y
        scale = solver.atol + solver.rtol * np.maximum(np.abs(before), np.abs(now))
        found: np.ndarray = state
        return found if self._size((state - other) / scale) <= _SURE else None


def hermite_weights(times: Sequence[float], t: float) -> list[float]:
    """Weights of values and rates, in turn, of the polynomial that they determine."""
    weights = []
    for i, node in enumerate(times):
        gaps = [node - other for j, other in enumerate(times) if j != i]
        basis, slope = 1.0, 0.0
        for j, other in enumerate(times):
            basis *= 1.0 if j == i else (t - other) / (node - other)
        slope = sum(1 / gap for gap in gaps)
        square, ahead = basis * basis, t - node
        weights += [square * (1 - 2 * slope * ahead), square * ahead]
    return weights
