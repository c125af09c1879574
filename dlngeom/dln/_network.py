"""The deep linear network as a Riemannian submersion over its end-to-end matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlngeom import balanced, network, thermodynamics
from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed, as_generator, constant, inner, namespace, to_numpy
from dlngeom._lib.derivatives import checked_by_value
from dlngeom._lib.stiefel import random_frame, random_spectrum
from dlngeom.dln import _flows
from dlngeom.dln._downstairs import EndToEndGeometry
from dlngeom.dln._geodesics import network_geodesic
from dlngeom.dln._moving import MovingNetwork
from dlngeom.dln._shooting import network_shooting
from dlngeom.dln._square_walk import MOST_LAYERS, SquareNetworkWalk
from dlngeom.dln._walks import NetworkWalk
from dlngeom.endtoend._checks import EndToEndPoint
from dlngeom.network._flow import escape, watch_networks
from dlngeom.points import SVD, Frames, _covectors, dense, factors, frames, svd
from dlngeom.points._checks import check_frames
from dlngeom.points._covectors import Covector
from dlngeom.submersion import RiemannianSubmersion
from dlngeom.submersion._equations import Equation, Geodesic, Shooting

__all__ = ["DeepLinearNetwork"]


@dataclass(frozen=True)
class DeepLinearNetwork(RiemannianSubmersion):
    r"""Balanced networks of given widths and rank over their end-to-end matrices.

    .. math:: \phi(W_1, \dots, W_N) = W_N \cdots W_1

    Points upstairs are :class:`~dlngeom.Frames`, and balanced layers are accepted for them;
    vectors are tuples of ``N`` arrays ``(..., d_p, d_{p-1})``, input layer first.  Points
    downstairs are dense arrays ``(..., d_N, d_0)`` or an :class:`~dlngeom.SVD`.

    Parameters
    ----------
    widths : sequence of N+1 int
        ``(d_0, ..., d_N)``.
    rank : int, optional
        Rank of every layer; the smallest width by default.

    Raises
    ------
    ValueError
        If a width or the rank is out of range.

    See Also
    --------
    dlngeom.EndToEndGeometry : The base, end-to-end matrices with ``g^N``.
    dlngeom.InfinitelyDeepNetwork : The limit of the base at infinite depth.
    dlngeom.pymanopt.Balanced : The space upstairs, for pymanopt.

    Notes
    -----
    Theorems 13 and 14 of Menon, *The geometry of the deep linear network*.
    """

    widths: tuple[int, ...]
    rank: int

    def __init__(self, widths: Sequence[int], rank: int | None = None) -> None:
        object.__setattr__(self, "widths", checks.widths(widths))
        object.__setattr__(self, "rank", checks.rank(rank, *self.widths))

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.widths) - 1

    @property
    def dim(self) -> int:
        """Dimension upstairs, :func:`dlngeom.balanced.dimension`."""
        return balanced.dimension(self.widths, self.rank)

    @property
    def dim_base(self) -> int:
        """Dimension ``r (m + n - r)`` downstairs."""
        return self.base.dim

    @property
    def dim_orbit(self) -> int:
        """Dimension of the fibres."""
        return self.dim - self.dim_base

    @property
    def base(self) -> EndToEndGeometry:
        """End-to-end matrices with the metric ``g^N``."""
        return EndToEndGeometry(self.widths[-1], self.widths[0], self.rank, self.depth)

    def check_point(self, point: Frames | Sequence[Array]) -> Frames:
        """Return Frames of the right widths and rank.

        Raises
        ------
        ValueError
            If the widths or the rank are others, or layers are not balanced.
        """
        if isinstance(point, SVD) or not isinstance(point, (tuple, list)):
            raise ValueError(
                f"the point is of type {type(point).__name__}: upstairs it must be Frames or "
                "balanced layers"
            )
        at = check_frames(point) if isinstance(point, Frames) else frames(point, self.rank)
        widths = tuple(q.shape[-2] for q in at.q)
        if widths != self.widths or at.lam.shape[-1] != self.rank:
            raise ValueError(
                f"the point has widths {widths} and rank {at.lam.shape[-1]}: "
                f"they must be {self.widths} and {self.rank}"
            )
        return at

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> Frames:
        """Uniform frames; singular values of the layers uniform in (0, 1]."""
        rng = as_generator(rng)
        lam = random_spectrum(rng, self.rank, batch)
        return Frames(lam, tuple(random_frame(rng, d, self.rank, batch) for d in self.widths))

    def project(self, point: Frames) -> Array:
        """End-to-end matrix (3.3)."""
        return dense(point)

    def differential(self, point: Frames, vector: Sequence[Array]) -> Array:
        r"""Push a vector down: :math:`\sum_p W_N \cdots V_p \cdots W_1`."""
        return network.differential(factors(point), vector)

    def codifferential(self, point: Frames, covector: Covector) -> tuple[Array, ...]:
        """Gradient of the layers (3.6), tangent and horizontal."""
        lifted = network.lifted_gradient(factors(point), covector)
        return self.tangent_projection(point, lifted) if self.depth == 1 else lifted

    def tangent_projection(self, point: Frames, vector: Sequence[Array]) -> tuple[Array, ...]:
        """Projection :func:`dlngeom.balanced.tangent_projection`."""
        return balanced.tangent_projection(point, vector)

    def vertical_projection(self, point: Frames, vector: Sequence[Array]) -> tuple[Array, ...]:
        """Projection :func:`dlngeom.balanced.vertical_projection`."""
        return balanced.vertical_projection(point, vector)

    def retraction(self, point: Frames, vector: Sequence[Array], *, order: int = 2) -> Frames:
        """Retraction :func:`dlngeom.balanced.retraction`."""
        return balanced.retraction(point, vector, order=order)

    def orbit_point(self, point: EndToEndPoint, rng: Seed) -> Frames:
        """Uniform random network over an end-to-end matrix, dense or an SVD."""
        u, s, vt = point if isinstance(point, SVD) else svd(point, self.rank)
        rng, batch = as_generator(rng), tuple(s.shape[:-1])
        inner = (random_frame(rng, d, self.rank, batch) for d in self.widths[1:-1])
        q = (vt.mT, *(constant(frame, u) for frame in inner), u)
        return Frames(s ** (1 / self.depth), q)

    def log_orbit_volume(self, point: EndToEndPoint) -> Array:
        """Entropy :func:`dlngeom.thermodynamics.entropy` of an end-to-end matrix."""
        at = point if isinstance(point, SVD) else svd(point, self.rank)
        return thermodynamics.entropy(at, self.widths)

    def embedding(self, point: Frames) -> tuple[Array, ...]:
        """Layers of a network."""
        return factors(point)

    def adjusted_rank(self) -> int:
        """Rank, if the balance equations are regular equations of the manifold.

        Raises
        ------
        ValueError
            If an inner width is not the rank, or one layer has not full rank.
        """
        inner = self.widths[1:-1]
        if any(d != self.rank for d in inner):
            raise ValueError(
                f"inner widths {inner} and rank {self.rank}: where they differ, the balance "
                "equations are not regular equations of the manifold"
            )
        if not inner and self.rank < min(self.widths):
            raise ValueError(f"one layer of rank {self.rank}: the rank is no balance equation")
        return self.rank

    def random_walk(self, point: Frames) -> NetworkWalk | SquareNetworkWalk:
        """Walk of the frames."""
        square = set(self.widths) == {self.rank} and self.rank > 1 and self.depth <= MOST_LAYERS
        return SquareNetworkWalk() if square else NetworkWalk()

    def unchecked(self) -> MovingNetwork:
        """Return the projections and the retraction without checks."""
        return MovingNetwork()

    def gradient_flow(
        self, point: Frames | Sequence[Array], energy_gradient: Callable[[Any], Covector]
    ) -> Equation:
        """Equation of the flow of the lifted energy, in the smallest network over the point."""
        at: Frames = checked_by_value(self.check_point, point)
        checks.chain_axis(tuple(at.lam.shape[:-1]))
        gradient = _covectors.energy_at(energy_gradient, at.lam.ndim == 1)
        equation = _flows.balanced_flow(at, gradient)
        return equation._replace(initial=at, below=dense, watch=watch_networks, escape=escape)

    def norm(self, point: object, vector: Sequence[Array]) -> Array:
        """Frobenius norm of a tangent vector."""
        squares = [inner(x, x) for x in vector]
        return namespace(squares[0]).sqrt(sum(squares[1:], squares[0]))

    def batch_axes(self, point: Frames | Sequence[Array]) -> int:
        """Count the batch axes of a point."""
        return point.lam.ndim - 1 if isinstance(point, Frames) else point[0].ndim - 2

    def steps(self, curve: Frames | Sequence[Array]) -> Array:
        """Lengths of the chords between the points of a curve."""
        layers = factors(self.check_point(curve))
        return self.norm(None, [x[..., 1:, :, :] - x[..., :-1, :, :] for x in layers])

    def geodesic(self, point: Frames | Sequence[Array], vector: Sequence[Array]) -> Geodesic:
        """Geodesic of a point and a tangent vector."""
        at = self.check_point(point)
        return network_geodesic(at, self.ambient(at, vector))

    def ambient(
        self, point: Frames | Sequence[Array], vector: Sequence[Array]
    ) -> tuple[Array, ...]:
        """Check a tangent vector and project its rounding errors away."""
        at = self.check_point(point)
        V = tuple(vector)
        flat = self.tangent_projection(at, V)
        gap = self.norm(at, [x - y for x, y in zip(V, flat, strict=True)])
        off = (
            0.0 if 0 in gap.shape else float(namespace(gap).max(gap / (self.norm(at, V) + 1e-300)))
        )
        limit = checks.relative_tolerance(at.lam)
        if not off <= limit:
            raise ValueError(
                f"tangent is not tangent: off by {off:.2g} relative, allowed {limit:g}"
            )
        return flat

    def tangent(self, point: Frames, vector: Sequence[Array]) -> tuple[Array, ...]:
        """Tangent part of layers."""
        return self.tangent_projection(point, vector)

    def shooting(
        self, point: Frames | Sequence[Array], other: Frames | Sequence[Array]
    ) -> Shooting:
        """Boundary value problem between two balanced networks."""
        ends = [self.check_point(x) for x in (point, other)]
        one, two = (Frames(to_numpy(x.lam), tuple(map(to_numpy, x.q))) for x in ends)
        problem = network_shooting(one, two)
        like = ends[0].lam

        def vector(coefficients: np.ndarray) -> tuple[Array, ...]:
            return tuple(constant(x, like) for x in problem.vector(coefficients))

        return problem._replace(vector=vector)
