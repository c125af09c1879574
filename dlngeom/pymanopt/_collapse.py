r"""Rank collapse: descent that ends where singular values vanish, and not at a minimum.

The metric scales a pair of singular vectors by ``sigma^(2 - 2/N)``, so that a singular value that
is driven to zero stays there: the gradient of the cost along it no longer counts, and an optimizer
that looks at the length of the Riemannian gradient calls the run done.

What is asked of a point, with the reason of each threshold:

* The run is about to end: the Riemannian gradient is shorter than the default tolerance of
  pymanopt, or such a small share of what the Euclidean one promises that the decrease, its square,
  is below the rounding of the cost.
* A Euclidean gradient is hidden: along pairs that have fallen, or that were zero to half of the
  digits from the start, it is at least ten times as long as what the metric shows and as that
  tolerance, and its square is not below rounding beside that of the first one.
* It stays when the pairs vanish: extrapolated to zero from where they were at least twice as large,
  more than half is left.  At a minimum of lower rank it vanishes with the singular values, so that
  nothing would be left.  What has not converged elsewhere makes the slope too steep, so that the
  least steep one is taken.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np

from dlngeom._lib.arrays import NumpyArray
from dlngeom.points import SVD, Tangent

__all__ = ["Descent"]

# Optimizers of pymanopt stop by default where the Riemannian gradient is shorter than this.
_STOPPED = 1e-6
# Hidden is what is longer than it looks by so much.
_HIDDEN = 10.0


class _Seen(NamedTuple):
    """Singular values, and the Euclidean gradient along each and those that are smaller."""

    s: NumpyArray
    hidden: NumpyArray


class Descent:
    """What a run knows of its past; the points of the run share it.

    Attributes
    ----------
    seen : list of _Seen
        At the start, and last before a singular value fell to another half.
    level : array (r,)
        Singular values where the last of these halves began.
    warned : bool
    moved : bool
        Whether the run has gone on since a gradient was last asked for.
    """

    def __init__(self) -> None:
        self.seen: list[_Seen] = []
        self.level: NumpyArray = np.zeros(1)
        self.warned = False
        self.moved = False

    def watch(self, x: SVD, flat: Tangent, gradient: Tangent, depth: float) -> None:
        """Warn once if singular values have collapsed under a tangent Euclidean gradient."""
        s = np.asarray(x.s)
        digits = math.sqrt(np.finfo(s.dtype).eps)
        self._begin(s)
        fell = not self.seen or bool(np.any(2 * s < self.level))
        if not fell and len(self.seen) == 1 and s[-1] > digits * s[0]:
            return
        now = _Seen(s, _along_pairs(flat))
        self._note(now, fell)
        if self.warned:
            return
        length = math.sqrt(sum(float(np.vdot(a, b)) for a, b in zip(flat, gradient, strict=True)))
        layers = 1.0 if depth == math.inf else depth
        largest = math.sqrt(layers) * math.pow(float(s[0]), 1 - 1 / depth)
        if length > max(_STOPPED, digits * largest * now.hidden[0]):
            return
        least = max(
            _HIDDEN * max(length, _STOPPED) / largest, digits * float(self.seen[0].hidden[0])
        )
        for j in np.flatnonzero(now.hidden > least)[::-1]:
            if self._stays(now, j, digits):
                self.warned = True
                warnings.warn(self._message(now, j, depth), RuntimeWarning, stacklevel=4)
                return

    def _begin(self, s: NumpyArray) -> None:
        """Forget what belongs to another run, if one begins here."""
        if self.seen and s is self.seen[0].s:
            # Another run from the same start.
            self.seen, self.warned = [], False
        elif not self.moved:
            # Another run from where one has ended.
            self.warned = False
        self.moved = False

    def _note(self, now: _Seen, fell: bool) -> None:
        """Keep the last gradient before each half that a singular value loses."""
        if fell:
            self.level = now.s
            self.seen.append(now)
        elif len(self.seen) > 1:
            self.seen[-1] = now

    def _stays(self, now: _Seen, j: int, digits: float) -> bool:
        """Whether the gradient along pairs from ``j`` on stays when they vanish."""
        slopes = [
            (then.hidden[j] - now.hidden[j]) / (then.s[j] - now.s[j])
            for then in self.seen
            if then.s[j] >= 2 * now.s[j]
        ]
        if not slopes:
            return bool(now.s[j] <= digits * now.s[0])
        return bool(min(slopes) * now.s[j] < now.hidden[j] / 2)

    def _message(self, now: _Seen, j: int, depth: float) -> str:
        first, last = float(self.seen[0].s[j]), float(now.s[j])
        return (
            f"rank collapse: singular value {j + 1} of {now.s.size} fell from {first:.2g} to "
            f"{last:.2g}, where the metric of depth {depth:g} has its boundary, while a Euclidean "
            f"gradient of size {now.hidden[j]:.2g} is left: this run ends at a matrix of lower "
            "rank that is no minimum of a smooth cost. Start it again from "
            "manifold.aligned_point(gradient at zero), or from another random_point; depth=1 has "
            "no such boundary"
        )


def _along_pairs(flat: Tangent) -> NumpyArray:
    """Norm of a tangent vector on the pairs ``j, j + 1, ...`` alone, for each ``j``."""
    Up, M, Vp = (np.asarray(x) for x in flat)
    square = M * M
    row = np.cumsum(square[:, ::-1], axis=1)[:, ::-1].diagonal()
    column = np.cumsum(square[::-1], axis=0)[::-1].diagonal()
    own = row + column - square.diagonal()
    own = own + np.einsum("ij,ij->j", Up, Up) + np.einsum("ij,ij->j", Vp, Vp)
    tails: NumpyArray = np.sqrt(np.cumsum(own[::-1])[::-1])
    return tails
