"""Spaces of end-to-end matrices, with what flows, geodesics and samplers ask of a space."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dlngeom import endtoend, network
from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed, as_generator, constant, eps, namespace, to_numpy
from dlngeom._lib.derivatives import checked_by_value, held
from dlngeom._lib.stiefel import random_frame, random_spectrum
from dlngeom._lib.vectors import first_array, without_chain
from dlngeom.dln import _closed_forms as closed_forms
from dlngeom.dln import _flows
from dlngeom.dln._geodesics import end_to_end_geodesic
from dlngeom.dln._shooting import end_to_end_shooting
from dlngeom.dln._smooth_geodesics import may_be_compiled, smooth_geodesic
from dlngeom.dln._walks import EndToEndWalk, InfiniteWalk
from dlngeom.endtoend._checks import EndToEndPoint, EndToEndVector, checked_components
from dlngeom.endtoend._curvature import christoffel_table, contract
from dlngeom.network._flow import escape, watch_matrices
from dlngeom.points import SVD, Frames, Tangent, _covectors, dense, svd
from dlngeom.points._checks import check_svd, require_positive, require_rank
from dlngeom.points._covectors import Covector, EnergyGradient
from dlngeom.submersion import Base
from dlngeom.submersion._equations import ClosedLog, Equation, Geodesic, Shooting

__all__ = ["EndToEndGeometry", "InfinitelyDeepNetwork"]


class _EndToEndSpace(Base):
    """Matrices of one shape and rank with the metric of one depth."""

    m: int
    n: int
    rank: int
    depth: float

    @property
    def dim(self) -> int:
        """Dimension ``r (m + n - r)``."""
        return self.rank * (self.m + self.n - self.rank)

    def check_point(self, point: EndToEndPoint) -> EndToEndPoint:
        """Return a dense matrix or an :class:`SVD` of the right shape and rank.

        Raises
        ------
        ValueError
            If it has another shape or rank, or is singular at ``depth=inf``.
        """
        _require_no_network(point)
        if isinstance(point, SVD):
            point = check_svd(point)
            m, n, r = point.u.shape[-2], point.vt.shape[-1], point.s.shape[-1]
            if (m, n, r) != (self.m, self.n, self.rank):
                raise ValueError(
                    f"the point is {m} x {n} of rank {r}: "
                    f"it must be {self.m} x {self.n} of rank {self.rank}"
                )
        else:
            checks.matrix("the point", point)
            checks.shape("the point", point, (self.m, self.n))
            checks.finite("the point", point)
        self._check_rank(point)
        return point

    def _check_rank(self, point: EndToEndPoint) -> None:
        if isinstance(point, SVD) or self.depth == math.inf or self.rank < min(self.m, self.n):
            s = point.s if isinstance(point, SVD) else svd(point).s
            require_rank("the point", s, self.rank, 0 if isinstance(point, SVD) else self.m)

    def random_point(self, rng: Seed, batch: tuple[int, ...] = ()) -> SVD:
        """Uniform singular vectors; ``s^(1/N)`` uniform in (0, 1]."""
        rng = as_generator(rng)
        s = random_spectrum(rng, self.rank, batch)
        if self.depth < math.inf:
            s = s**self.depth
        u = random_frame(rng, self.m, self.rank, batch)
        return SVD(u, s, random_frame(rng, self.n, self.rank, batch).mT)

    def cometric(self, point: EndToEndPoint, covector: Covector) -> EndToEndVector:
        """Apply :func:`dlngeom.endtoend.cometric`."""
        if isinstance(point, SVD) or self._full:
            return endtoend.cometric(point, covector, self.depth)
        at = svd(point, self.rank)
        return dense((at, endtoend.cometric(at, covector, self.depth)))

    def inner(self, point: EndToEndPoint, first: EndToEndVector, second: EndToEndVector) -> Array:
        """Inner product :func:`dlngeom.endtoend.inner`."""
        at = point if isinstance(point, SVD) or self._full else svd(point, self.rank)
        return endtoend.inner(at, first, second, self.depth)

    def inverse_cometric(self, point: EndToEndPoint, vector: EndToEndVector) -> EndToEndVector:
        """Covector :func:`dlngeom.endtoend.inverse_cometric`."""
        if isinstance(point, SVD) or self._full:
            return endtoend.inverse_cometric(point, vector, self.depth)
        at = svd(point, self.rank)
        return dense((at, endtoend.inverse_cometric(at, vector, self.depth)))

    def retraction(
        self, point: EndToEndPoint, vector: EndToEndVector, *, order: int = 2
    ) -> EndToEndPoint:
        """Retraction :func:`dlngeom.endtoend.retraction`."""
        if isinstance(point, SVD) or self._full:
            return endtoend.retraction(point, vector, self.depth, order=order)
        at = svd(point, self.rank)
        return dense(endtoend.retraction(at, vector, self.depth, order=order))

    @property
    def _full(self) -> bool:
        """Whether matrices have full rank; below it their entries do not tell the rank."""
        return self.rank == min(self.m, self.n)

    def norm(self, point: EndToEndPoint, vector: EndToEndVector) -> Array:
        """Length of a tangent vector."""
        squared = self.inner(point, vector, vector)
        return namespace(squared).sqrt(squared)

    def batch_axes(self, point: EndToEndPoint) -> int:
        """Count the batch axes of a point."""
        if isinstance(point, SVD):
            return point.s.ndim - 1
        checks.matrix("the point", point)
        return point.ndim - 2

    def steps(self, curve: EndToEndPoint) -> Array:
        """Lengths of the steps of a curve, by the mean of the metrics at both ends."""
        W = network.end_to_end(self.check_point(curve))
        change = W[..., 1:, :, :] - W[..., :-1, :, :]
        lengths = []
        for ends in (W[..., :-1, :, :], W[..., 1:, :, :]):
            if self._full and not isinstance(ends, np.ndarray):
                # Differentiable at equal singular values too.
                lengths.append(endtoend.inner(ends, change, change, self.depth))
                continue
            point = svd(ends, self.rank)
            Z = _covectors.components(point, change)
            lengths.append(endtoend.inner(point, Z, Z, self.depth))
        return namespace(change).sqrt((lengths[0] + lengths[1]) / 2)

    def geodesic(self, point: EndToEndPoint, vector: EndToEndVector) -> Geodesic:
        """Geodesic of a point and a tangent vector, both dense or both in frames."""
        if may_be_compiled(point, vector, self.depth, self.rank):
            return self._smooth_geodesic(point, vector)
        at = self._regular("the point", point)
        Z = checked_components("tangent", point, at, vector, True, tangent=True)
        curve = end_to_end_geodesic(_broadcast(at, Z), Z, self.depth)
        if isinstance(point, SVD):
            return curve
        return curve._replace(
            point=lambda state: dense(curve.point(state)),
            velocity=lambda state: dense((curve.point(state), curve.velocity(state))),
        )

    def _smooth_geodesic(self, point: Any, vector: Any) -> Geodesic:
        """Geodesic of dense arrays of jax, checked by their values alone."""
        fixed, at = held((point, vector)), self._regular("the point", held(point))
        Z = checked_components("tangent", fixed[0], at, fixed[1], True, tangent=True)
        batch = tuple(np.broadcast_shapes(at.s.shape[:-1], Z.M.shape[:-2]))
        xp = namespace(point)
        W, along = (xp.broadcast_to(x, (*batch, self.m, self.n)) for x in (point, vector))
        curve = smooth_geodesic(W, along, _broadcast(at, Z), int(self.depth))

        def transport(state: tuple[Array, ...], field: tuple[Array, ...]) -> tuple[Array, ...]:
            here = svd(curve.point(state), self.rank)
            rate, carried = (
                _covectors.components(here, x) for x in (curve.velocity(state), field[0])
            )
            return (-contract(here, christoffel_table(here.s, self.depth), rate, carried),)

        return curve._replace(transport=transport)

    def ambient(self, point: EndToEndPoint, vector: EndToEndVector) -> tuple[Array, ...]:
        """Check a tangent vector and make it dense."""
        at = self._regular("the point", point)
        return (dense((at, checked_components("tangent", point, at, vector, True, tangent=True))),)

    def tangent(self, point: EndToEndPoint, vector: tuple[Array, ...]) -> EndToEndVector:
        """Tangent part of a dense matrix, of the kind of the point."""
        at = point if isinstance(point, SVD) else svd(point, self.rank)
        part = _covectors.components(at, vector[0])
        return part if isinstance(point, SVD) else dense((at, part))

    def shooting(self, point: EndToEndPoint, other: EndToEndPoint) -> Shooting:
        """Boundary value problem between two points of one kind."""
        if isinstance(point, SVD) != isinstance(other, SVD):
            raise ValueError("one point is an SVD and the other dense: both must be of one kind")
        start, end = self._regular("the point", point), self._regular("the target", other)
        problem = end_to_end_shooting(self._double(start), self._double(end), self.depth)

        def vector(coefficients: np.ndarray) -> EndToEndVector:
            Z = Tangent(*(constant(x, start.s) for x in problem.vector(coefficients)))
            return Z if isinstance(point, SVD) else dense((start, Z))

        return problem._replace(vector=vector)

    def closed_log(self, point: EndToEndPoint, other: EndToEndPoint) -> ClosedLog | None:
        """Logarithms between points of one kind that have a closed form, None if none has."""
        form = self._closed_form()
        if form is None or isinstance(point, SVD) != isinstance(other, SVD):
            return None
        if form is closed_forms.bures_wasserstein and not isinstance(point, SVD):
            # Roots tell that matrices are regular, at a lower cost than singular values.
            point, other = self.check_point(point), self.check_point(other)
            return self._closed_dense(form, point, other)
        start, end = self._regular("the point", point), self._regular("the target", other)
        if form is closed_forms.cone:
            found, vector, length = form(self._double(start), self._double(end), self.depth)
            inside = Tangent(*(constant(x, start.s) for x in vector))
            Z: EndToEndVector = inside if isinstance(point, SVD) else dense((start, inside))
            return ClosedLog(found, Z, length)
        known = self._closed_dense(form, point, other)
        if known is None or not isinstance(point, SVD):
            return known
        return known._replace(vector=_covectors.components(start, known.vector))

    @staticmethod
    def _closed_dense(
        form: Callable[..., Any], point: EndToEndPoint, other: EndToEndPoint
    ) -> ClosedLog | None:
        """Apply a closed form of dense matrices, with dense vectors."""
        answer = form(*(_double_matrices(x) for x in (point, other)))
        if answer is None:
            return None
        found, change, length = answer
        return ClosedLog(found, constant(change, first_array(point)), length)

    def _closed_form(self) -> Callable[..., Any] | None:
        """Find the closed form of some logarithms, if there is one."""
        if self._full and self.depth == 1:
            return closed_forms.straight
        if self.m == self.n == self.rank and self.depth == 2:
            return closed_forms.bures_wasserstein
        return closed_forms.cone if self.rank == 1 and self.depth < math.inf else None

    def _double(self, point: SVD) -> SVD:
        """Numpy point whose frames are orthonormal in double precision."""
        exact = SVD(*(to_numpy(x) for x in point))
        if exact.s.dtype == np.float64:
            return exact
        return svd(dense(SVD(*(np.asarray(x, np.float64) for x in exact))), self.rank)

    def _regular(self, name: str, point: EndToEndPoint) -> SVD:
        """Check a point that must not be singular, and factorise it."""
        at = self.check_point(point)
        if isinstance(at, SVD):
            require_positive(name, at.s, 0.0)
            return at
        found = svd(at, self.rank)
        require_positive(name, found.s, max(self.m, self.n) * eps(found.s))
        return found

    def gradient_flow(
        self, point: EndToEndPoint, energy_gradient: Callable[[Any], Covector]
    ) -> Equation:
        """Equation of the flow from a dense matrix or an :class:`SVD`."""
        point = checked_by_value(self.check_point, point)
        axes = self.batch_axes(point)
        checks.chain_axis(tuple(first_array(point).shape[:axes]))
        gradient = _covectors.energy_at(energy_gradient, axes == 0)
        equation = self._equation(point, gradient)
        return equation._replace(watch=watch_matrices, escape=escape)

    def _equation(self, point: EndToEndPoint, gradient: EnergyGradient) -> Equation:
        """Choose the coordinates of a flow by the kind and the rank of its start."""
        if isinstance(point, SVD):
            equation = _flows.singular_flow(point, gradient, self.depth)
            below = without_chain if equation.single else None
            return equation._replace(initial=point, below=below)
        return _flows.matrix_flow(point, gradient, self.depth, self.rank)

    def random_walk(self, point: EndToEndPoint) -> EndToEndWalk | InfiniteWalk:
        """Walk of the smallest network over a matrix, or of an SVD at infinite depth."""
        factored = isinstance(point, SVD)
        if self.depth == math.inf:
            return InfiniteWalk(factored)
        return EndToEndWalk(int(self.depth), self.rank, factored)

    def check_start(self, point: EndToEndPoint) -> EndToEndPoint:
        """Return a point that a random walk can start from.

        Raises
        ------
        ValueError
            As for :meth:`check_point`, and if a singular value is zero.
        """
        if self.m == self.n == self.rank and not isinstance(point, SVD):
            # Such a walk may come as close to zero as rounding allows, and start from there again.
            self.check_point(point)
            require_positive("the point", svd(point).s)
        else:
            self._regular("the point", point)
        return point


@dataclass(frozen=True)
class EndToEndGeometry(_EndToEndSpace):
    r"""End-to-end matrices of one rank with the metric of a finite depth.

    .. math:: g^N(W)(Z, Z) = \mathrm{tr}(Z^T \mathcal{A}_{N,W}^{-1} Z)

    Points are dense arrays ``(..., m, n)`` or an :class:`~dlngeom.SVD`; the functions are those
    of :mod:`dlngeom.endtoend`.

    Parameters
    ----------
    m, n : int
        Rows and columns.
    rank : int
        Between 1 and ``min(m, n)``.
    depth : int
        Number of layers.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    dlngeom.DeepLinearNetwork : The space upstairs, whose base this is.
    dlngeom.InfinitelyDeepNetwork : The limit of infinite depth.
    dlngeom.pymanopt.EndToEnd : The same manifold for pymanopt.

    Notes
    -----
    Equations (4.14), (4.17) and (4.20) of Menon, *The geometry of the deep linear network*.
    """

    m: int
    n: int
    rank: int
    depth: int

    def __post_init__(self) -> None:
        m, n = checks.integer("m", self.m, 1), checks.integer("n", self.n, 1)
        checks.integer("rank", self.rank, 1, min(m, n))
        checks.depth(self.depth, infinite=False)


@dataclass(frozen=True)
class InfinitelyDeepNetwork(_EndToEndSpace):
    r"""Invertible matrices with the metric of infinite depth: a base without a space upstairs.

    .. math:: g^\infty(W)(Z, Z) = \mathrm{tr}(Z^T \mathcal{A}_{\infty,W}^{-1} Z)

    Here ``A_inf`` is the limit of ``A_N / N``, so a time ``t`` is ``t / N`` in a network of ``N``
    layers.  Points are dense arrays ``(..., d, d)`` or an :class:`~dlngeom.SVD`.

    Parameters
    ----------
    width : int
        Number ``d`` of rows and columns.

    Raises
    ------
    ValueError
        If ``width`` is not an integer >= 1.

    See Also
    --------
    dlngeom.EndToEndGeometry : The same at finite depth.
    dlngeom.laws.radial_law_infinite_depth : Exact law of Brownian motion on it.
    dlngeom.geomstats.DeepLinearCoordinates : The same manifold for geomstats.

    Notes
    -----
    Equations (14.7) and (14.10) of Menon, *The geometry of the deep linear network*.
    """

    width: int
    m: int = field(init=False, repr=False)
    n: int = field(init=False, repr=False)
    rank: int = field(init=False, repr=False)
    depth: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        width = checks.integer("width", self.width, 1)
        for name in ("m", "n", "rank"):
            object.__setattr__(self, name, width)
        object.__setattr__(self, "depth", math.inf)


def _double_matrices(point: EndToEndPoint) -> np.ndarray:
    """Dense matrices of numpy in double precision."""
    return np.asarray(to_numpy(dense(point) if isinstance(point, SVD) else point), np.float64)


def _require_no_network(point: object) -> None:
    if isinstance(point, (tuple, list)) and not isinstance(point, SVD):
        kind = "Frames" if isinstance(point, Frames) else f"a {type(point).__name__} of layers"
        raise ValueError(f"the point is {kind}, a network: pass upstairs=True or its product")


def _broadcast(point: SVD, vector: Tangent) -> SVD:
    """One point for all vectors of a batch."""
    batch = tuple(vector.M.shape[:-2])
    if tuple(point.s.shape[:-1]) == batch:
        return point
    xp = namespace(point.s)
    u, s, vt = point
    return SVD(
        xp.broadcast_to(u, (*batch, *u.shape[-2:])),
        xp.broadcast_to(s, (*batch, s.shape[-1])),
        xp.broadcast_to(vt, (*batch, *vt.shape[-2:])),
    )
