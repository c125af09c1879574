"""What a caller said about the layers: their widths, or those of the ends at infinite depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array
from dlngeom.endtoend._checks import checked_point
from dlngeom.points import SVD
from dlngeom.points._checks import require_positive

__all__ = ["LayerWidths", "layer_widths", "point_of"]


class LayerWidths(NamedTuple):
    """Widths of a network and its depth.

    Attributes
    ----------
    widths : tuple of int
        ``(d_0, ..., d_N)``; ``(d, d)`` at infinite depth.
    depth : int or inf
    """

    widths: tuple[int, ...]
    depth: float

    @property
    def inner(self) -> tuple[int, ...]:
        """Widths whose rotations move no end; none at infinite depth, where they are all ``d``."""
        return () if self.depth == math.inf else self.widths[1:-1]

    def rank(self, rank: int | None = None) -> int:
        """Return a valid rank of the end-to-end matrix, which is full at infinite depth."""
        r = checks.rank(rank, *self.widths)
        if self.depth == math.inf and r < self.widths[0]:
            raise ValueError(
                f"depth=inf with rank {r} and widths={self.widths}: it needs full rank, since "
                "column and row spaces would freeze"
            )
        return r

    def free(self, rank: int) -> int:
        """Count the directions beyond the rank, ``sum_p (d_p - r)`` over the inner layers."""
        return sum(d - rank for d in self.inner)


def layer_widths(widths: Sequence[int], depth: float | None = None) -> LayerWidths:
    """Return widths and depth from what a caller gave: the depth is ``len(widths) - 1``, or inf.

    Raises
    ------
    ValueError
        If a width or the depth is out of range, or they do not fit.
    """
    known = checks.widths(widths)
    number = len(known) - 1 if depth is None else checks.depth(depth)
    endless = number == math.inf and len(known) == 2 and known[0] == known[1]
    if number != len(known) - 1 and not endless:
        raise ValueError(
            f"depth={depth!r} with widths={known}: give none, or inf with widths (d, d)"
        )
    return LayerWidths(known, number)


def point_of(W: Array | SVD, layers: LayerWidths, check_finite: bool) -> SVD:
    """Return a point as a thin SVD after checking that it fits the layers and is not singular."""
    point = checked_point(W, 1, check_finite)
    shape = (point.u.shape[-2], point.vt.shape[-1])
    widths = layers.widths
    if shape != (widths[-1], widths[0]):
        raise ValueError(
            f"W is {shape[0]} x {shape[1]}: widths={widths} end with {widths[-1]} x {widths[0]}"
        )
    layers.rank(point.s.shape[-1])
    if check_finite:
        require_positive("W", point.s)
    return point
