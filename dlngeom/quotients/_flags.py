"""Orthonormal frames over flags, the nested subspaces that their blocks of columns span."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from dlngeom._lib import checks
from dlngeom._lib.arrays import (
    Array,
    Seed,
    antisymmetric,
    as_generator,
    constant,
    namespace,
    polar,
    symmetric,
)
from dlngeom._lib.stiefel import log_orthogonal_volume, random_frame
from dlngeom.submersion import RiemannianSubmersion

__all__ = ["Flags"]


@dataclass(frozen=True)
class Flags(RiemannianSubmersion):
    r"""Orthonormal frames over flags; the group is ``O_{k_1} x ... x O_{k_p}``.

    .. math:: \phi(X) = (X_1 X_1^T, \dots, X_p X_p^T), \qquad S = \sum_i \log \mathrm{vol}\, O_{k_i}

    Points upstairs are arrays ``(..., n, k)`` with orthonormal columns in blocks ``X_i`` of
    ``k_i``, points downstairs the projectors ``(..., p, n, n)`` on the spans of the blocks.  The
    orbits are minimal: there is no entropic force.

    Parameters
    ----------
    n : int
        Dimension of the space.
    sizes : sequence of int
        ``(k_1, ..., k_p)``, each >= 1, with a sum ``k <= n``.

    Raises
    ------
    ValueError
        If they are out of range.

    See Also
    --------
    dlngeom.quotients.Grassmann : Flags with one block.
    dlngeom.check_submersion : Tests of every property of a submersion.

    Notes
    -----
    An instance of Section 12.1 of Menon, *The geometry of the deep linear network*.  Upstairs the
    metric is that of the ambient space, in which turning two blocks into each other is ``sqrt(2)``
    times as long as turning one out of the frame; for ``k = n`` it is invariant under ``O_n`` from
    both sides.
    """

    n: int
    sizes: tuple[int, ...]

    def __init__(self, n: int, sizes: Sequence[int]) -> None:
        object.__setattr__(self, "n", checks.integer("n", n, 1))
        try:
            given = tuple(sizes)
        except TypeError:
            raise TypeError(f"sizes={sizes!r}: it must be a sequence of integers") from None
        blocks = tuple(checks.integer("sizes", k, 1, n) for k in given)
        if blocks == (n,):
            raise ValueError(f"sizes={sizes!r}: there is a single flag, take smaller blocks")
        checks.integer("the sum of sizes", sum(blocks), 1, n)
        object.__setattr__(self, "sizes", blocks)

    @property
    def dim(self) -> int:
        """Dimension of the Stiefel manifold."""
        k = sum(self.sizes)
        return self.n * k - k * (k + 1) // 2

    @property
    def dim_base(self) -> int:
        """Dimension of the flags."""
        return self.dim - self.dim_orbit

    @property
    def dim_orbit(self) -> int:
        """Dimension of the group, the sum of ``k_i (k_i - 1) / 2``."""
        return sum(k * (k - 1) // 2 for k in self.sizes)

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Array:
        """Uniform frames."""
        return random_frame(rng, self.n, sum(self.sizes), batch)

    def project(self, point: Array) -> Array:
        """Projectors on the spans of the blocks."""
        return namespace(point).stack([x @ x.mT for x in self._blocks(point)], axis=-3)

    def differential(self, point: Array, vector: Array) -> Array:
        """Symmetric ``V_i X_i^T + X_i V_i^T``."""
        pairs = zip(self._blocks(point), self._blocks(vector), strict=True)
        return namespace(point).stack([2 * symmetric(v @ x.mT) for x, v in pairs], axis=-3)

    def codifferential(self, point: Array, covector: Array) -> Array:
        """Tangent part of the blocks ``(G_i + G_i^T) X_i``."""
        blocks = enumerate(self._blocks(point))
        images = [2 * symmetric(covector[..., i, :, :]) @ x for i, x in blocks]
        return self.tangent_projection(point, namespace(point).concat(images, axis=-1))

    def tangent_projection(self, point: Array, vector: Array) -> Array:
        """Subtract ``X sym(X^T V)``."""
        return vector - point @ symmetric(point.mT @ vector)

    def vertical_projection(self, point: Array, vector: Array) -> Array:
        """Rotations ``X_i skew(X_i^T V_i)`` within the blocks."""
        pairs = zip(self._blocks(point), self._blocks(vector), strict=True)
        turned = [x @ antisymmetric(x.mT @ v) for x, v in pairs]
        return namespace(point).concat(turned, axis=-1)

    def retraction(self, point: Array, vector: Array, *, order: int = 2) -> Array:
        """Polar factor of ``X + V``: the nearest frame, of second order."""
        return polar(point + vector)

    def log_orbit_volume(self, point: Array) -> Array:
        """Constant entropy."""
        return point[..., 0, 0, 0] * 0 + sum(log_orthogonal_volume(k) for k in self.sizes)

    def orbit_point(self, point: Array, rng: Seed) -> Array:
        """Uniform random frames of the subspaces."""
        xp, rng, frames = namespace(point), as_generator(rng), []
        for i, k in enumerate(self.sizes):
            basis = xp.linalg.eigh(point[..., i, :, :])[1][..., -k:]
            frames.append(basis @ constant(random_frame(rng, k, k, point.shape[:-3]), point))
        return xp.concat(frames, axis=-1)

    def _blocks(self, frame: Array) -> list[Array]:
        return [frame[..., a:b] for a, b in pairwise(accumulate(self.sizes, initial=0))]
