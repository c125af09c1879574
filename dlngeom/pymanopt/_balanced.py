"""Balanced networks as a Riemannian submanifold for pymanopt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dlngeom import balanced
from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed, as_separate_generator
from dlngeom._lib.stiefel import random_frame, random_spectrum
from dlngeom.points import Frames, factors, frames
from dlngeom.pymanopt._end_to_end import unusable
from dlngeom.pymanopt._layers_manifold import LayersManifold

__all__ = ["Balanced", "Network"]


class Network(tuple[Array, ...]):
    """Point ``(W_1, ..., W_N)`` that carries the frames it was made from."""

    _frames: Frames
    _made: tuple[Array, ...]
    # Widths and rank of the manifold that has made it.
    _checked: tuple[int, ...] | None = None

    @classmethod
    def of(cls, point: Frames) -> Network:
        """Network with given frames."""
        network = cls(factors(point))
        network._frames = point
        network._made = tuple(np.array(x) for x in network)
        return network

    @property
    def frames(self) -> Frames | None:
        """Frames that it was made from, unless its layers were changed in place since."""
        same = all(np.array_equal(x, y) for x, y in zip(self, self._made, strict=True))
        return self._frames if same else None


class Balanced(LayersManifold):
    r"""Balanced networks of given widths and rank with the Frobenius metric.

    .. math:: W_p W_p^T = W_{p+1}^T W_{p+1}, \qquad \iota(V, V) = \sum_p \mathrm{tr}(V_p^T V_p)

    A point is a tuple of ``N`` arrays ``(d_p, d_{p-1})``, input layer first, and so is a tangent
    vector; both are bare arrays when ``N = 1``.  Points that this class returns carry their
    frames, so that the many Hessians of a truncated conjugate-gradient loop factorise once.

    Parameters
    ----------
    widths : sequence of N+1 int
        Layer widths ``(d_0, ..., d_N)``.
    rank : int, optional
        Rank of every layer; the smallest width by default.
    retraction : {"second-order", "first-order"}
        Order of the retraction; TrustRegions needs the second for its fast local convergence.
    rng : numpy.random.Generator or seed, optional
        Source of :meth:`random_point` and :meth:`random_tangent_vector`;
        a seed gives other numbers than ``numpy.random.default_rng`` makes of it.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    dlngeom.pymanopt.EndToEnd : The end-to-end matrices below.
    dlngeom.DeepLinearNetwork : The same manifold for flows and samplers.
    dlngeom.geomstats.BalancedMatrices : The same manifold for geomstats.

    Notes
    -----
    Equation (4.4) and Theorem 14 of Menon, *The geometry of the deep linear network*.
    """

    def __init__(
        self,
        widths: Sequence[int],
        rank: int | None = None,
        *,
        retraction: str = "second-order",
        rng: Seed = None,
    ) -> None:
        self._widths = checks.widths(widths)
        self._rank = checks.rank(rank, *self._widths)
        self._sizes = (*self._widths, self._rank)
        if retraction not in ("second-order", "first-order"):
            raise ValueError(f"retraction={retraction!r}: 'second-order' or 'first-order'")
        self._order = 2 if retraction == "second-order" else 1
        self._rng = as_separate_generator(rng)
        name = f"Balanced networks of widths {self._widths} and rank {self._rank}"
        dimension = balanced.dimension(self._widths, self._rank)
        super().__init__(name, dimension, point_layout=self.depth)

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self._widths) - 1

    @property
    def widths(self) -> tuple[int, ...]:
        """Layer widths ``(d_0, ..., d_N)``."""
        return self._widths

    @property
    def rank(self) -> int:
        """Rank of every layer."""
        return self._rank

    @property
    def typical_dist(self) -> float:
        r"""Distance from zero of a network with unit singular values, ``sqrt(N r)``."""
        return math.sqrt(self.depth * self._rank)

    def projection(self, point: Any, vector: Any) -> Any:
        """Orthogonal projection of an ambient vector on the tangent space."""
        layers = balanced.tangent_projection(
            self._frames(point), self._layers(vector), check_finite=False
        )
        return self._vector(layers)

    to_tangent_space = projection
    euclidean_to_riemannian_gradient = projection

    def weingarten(self, point: Any, tangent_vector: Any, normal_vector: Any) -> Any:
        """Weingarten map of the manifold in the space of all layers."""
        V, nu = self._layers(tangent_vector), self._layers(normal_vector)
        return self._vector(balanced.weingarten(self._frames(point), V, nu, check_finite=False))

    def euclidean_to_riemannian_hessian(
        self, point: Any, euclidean_gradient: Any, euclidean_hessian: Any, tangent_vector: Any
    ) -> Any:
        """Riemannian Hessian along a tangent vector, for any cost of the layers."""
        gradient = self._vector(self._layers(euclidean_gradient))
        normal = gradient - self.projection(point, gradient)
        flat = self.projection(point, euclidean_hessian)
        return flat + self.weingarten(point, tangent_vector, normal)

    def retraction(self, point: Any, tangent_vector: Any) -> Any:
        """Move along a tangent vector and stay exactly balanced."""
        at, V = self._frames(point), self._layers(tangent_vector)
        try:
            moved = balanced.retraction(at, V, order=self._order, check_finite=False)
        except ValueError as error:
            if not isinstance(error.__cause__ or error, np.linalg.LinAlgError):
                raise
            raise ValueError(unusable(V)) from error
        if not math.isfinite(moved.lam[0]):
            raise ValueError(unusable(V))
        return self._point(moved)

    def random_point(self) -> Any:
        """Uniform frames, singular values of the layers uniform in (0, 1) and sorted."""
        q = tuple(random_frame(self._rng, width, self._rank) for width in self._widths)
        return self._point(Frames(random_spectrum(self._rng, self._rank), q))

    def _require(self, point: Any) -> None:
        self._frames(point)

    def _frames(self, point: Any) -> Frames:
        """Frames of a point; one that this manifold did not make itself is checked."""
        if isinstance(point, Network) and point._checked == self._sizes:
            kept = point.frames
            if kept is not None:
                return kept
        layers = self._layers(point)
        shapes = tuple(tuple(np.shape(x)) for x in layers)
        wanted = tuple((high, low) for low, high in pairwise(self._widths))
        if shapes != wanted:
            raise ValueError(
                f"the point has layers of shapes {shapes}: on this manifold they are {wanted}, "
                "the layer of the input first"
            )
        return frames(layers, self._rank)

    def _point(self, point: Frames) -> Any:
        if self.depth == 1:
            return factors(point)[0]
        network = Network.of(point)
        network._checked = self._sizes
        return network
