"""Rank collapse: descent that ends where a singular value vanishes, and not at a minimum.

The metric scales a pair of singular vectors by ``sigma^(2 - 2/N)``, so that a singular value that
is driven to zero stays there: the gradient of the cost along it no longer counts.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

from dlngeom.points import SVD, Tangent

__all__ = ["Descent"]

# A pair has collapsed if its gradients count so much less than those of the largest.
_LOST = 3e-4
# The run has then nowhere to go if so little of the Euclidean gradient is left in the Riemannian:
# some descend to a saddle, to 1e-4, and leave it.
_STATIONARY = 2e-5
# Optimizers of pymanopt stop by default where the Riemannian gradient is shorter than this.
_STOPPED = 1e-6
# A Euclidean gradient that fell by so much means that a minimum was reached.
_SOLVED = 6e-5


@dataclass
class Descent:
    """What a run knows of its start; the points of the run share it.

    Attributes
    ----------
    smallest : float
        Smallest singular value of the start.
    force : float or None
        Size of the first Euclidean gradient.
    warned : bool
    """

    smallest: float
    force: float | None = None
    warned: bool = False

    def watch(self, x: SVD, flat: Tangent, gradient: Tangent, depth: float) -> None:
        """Warn once if a singular value has collapsed under a tangent Euclidean gradient."""
        if self.force is None:
            self.force = _size(flat)
        last, first = float(x.s[-1]), float(x.s[0])
        if self.warned or (last / first) ** (1 - 1 / depth) > _LOST or last >= self.smallest:
            return
        force = _size(flat)
        if flat.M[-1, -1] <= 0 or force <= _SOLVED * self.force:
            return
        length = math.sqrt(sum(float(np.vdot(a, b)) for a, b in zip(flat, gradient, strict=True)))
        if length > _STOPPED and self._moves(x, gradient, depth) > _STATIONARY * force:
            return
        self.warned = True
        warnings.warn(self._message(last, force, depth), RuntimeWarning, stacklevel=4)

    def _moves(self, x: SVD, gradient: Tangent, depth: float) -> float:
        """Size of the Riemannian gradient, in the unit of the Euclidean one."""
        layers = 1.0 if depth == math.inf else depth
        return _size(gradient) / (layers * math.pow(float(x.s[0]), 2 - 2 / depth))

    def _message(self, last: float, force: float, depth: float) -> str:
        return (
            f"rank collapse: the smallest singular value fell from {self.smallest:.2g} to "
            f"{last:.2g}, where the metric of depth {depth:g} has its boundary, while a Euclidean "
            f"gradient of size {force:.2g} is left: this run ends at a matrix of lower rank that "
            "is no minimum. Start it again from manifold.aligned_point(gradient at zero), or from "
            "another random_point; depth=1 has no such boundary"
        )


def _size(vector: Tangent) -> float:
    return math.sqrt(sum(float(np.vdot(x, x)) for x in vector))
