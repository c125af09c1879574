"""Riemannian descent on the training entries of a matrix, stopped early by held-out entries."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pymanopt
from pymanopt import optimizers
from pymanopt.manifolds import FixedRankEmbedded
from pymanopt.optimizers.line_search import AdaptiveLineSearcher, BackTrackingLineSearcher
from sklearn.utils.extmath import randomized_svd

from dlngeom._lib.arrays import NumpyArray
from dlngeom.completion._losses import LeastSquares
from dlngeom.completion._solvers import DescentReport
from dlngeom.completion._stopping import Patience
from dlngeom.points import SVD
from dlngeom.pymanopt import EndToEnd, Point, ambient_direction

__all__ = [
    "SOLVERS",
    "STARTS",
    "Fit",
    "descend",
    "descend_fixed_rank",
    "leading",
    "small_start",
]


# Singular values of a small start, relative to the largest of the data.
STARTS = (1e-4, 1e-6, 1e-8)

# A short first step keeps the path close to the gradient flow, which is what regularises.
FIRST_STEP = 0.01

SOLVERS: dict[str, Callable[..., Any]] = {
    "conjugate-gradient": lambda **options: optimizers.ConjugateGradient(
        line_searcher=AdaptiveLineSearcher(initial_step_size=FIRST_STEP, max_iterations=40),
        **options,
    ),
    "trust-regions": optimizers.TrustRegions,
    "steepest-descent": lambda **options: optimizers.SteepestDescent(
        line_searcher=BackTrackingLineSearcher(initial_step_size=FIRST_STEP), **options
    ),
}

# Caps: truncated conjugate gradients may take a step for each dimension of the manifold.
RUN_OPTIONS = {"trust-regions": {"maxinner": 20, "Delta_bar": 4.0, "Delta0": 0.1}}

# Iterations without a better held-out error before a run ends: few once the error rises, many
# while it is level, since the flow passes saddles on its way from rank to rank.
PATIENCE = Patience(rising=1.02, when_rising=40, when_level=150, share=0.5)

# Directions whose squares underflow.
NO_DIRECTION = 1e-150


def leading(matrix: Any, rank: int, seed: int) -> SVD:
    """Leading singular triples, with orthonormal vectors even beyond the rank of the matrix."""
    u, s, vt = randomized_svd(matrix, rank, random_state=seed)
    return SVD(_completed_frame(u), s, _completed_frame(vt.T).T)


def small_start(matrix: Any, rank: int, size: float, seed: int) -> SVD:
    """Balanced point with equal singular values along the leading singular vectors of a matrix."""
    return leading(matrix, rank, seed)._replace(s=np.full(rank, size))


def _completed_frame(q: NumpyArray) -> NumpyArray:
    """Orthonormal columns that agree with those of ``q`` where these are orthonormal."""
    frame, triangle = np.linalg.qr(q)
    return np.asarray(frame * np.where(np.diag(triangle) < 0, -1.0, 1.0))


class Fit(NamedTuple):
    """Outcome of one optimizer run.

    Attributes
    ----------
    point : SVD
        Iterate at the best held-out error, or the last one if nothing is held out.
    held_out, training : float
        RMSE of that iterate; ``held_out`` is NaN if nothing is held out.
    iterations : int
        Iterations up to that iterate.
    singular_values : array (steps, r)
        Singular values of all iterates.
    errors : array (steps, 2)
        RMSE on the training and the held-out entries.
    """

    point: SVD
    held_out: float
    training: float
    iterations: int
    singular_values: NumpyArray
    errors: NumpyArray


def descend(
    split: LeastSquares,
    start: SVD,
    depth: int,
    solver: str,
    max_iterations: int,
    report: DescentReport | None = None,
    target: float = 0.0,
) -> Fit:
    """Minimise the squared residual under ``g^N`` until the held-out error stops improving.

    With nothing held out the run ends once the training RMSE is at most ``target``.

    Raises
    ------
    ValueError
        If ``solver`` is unknown.
    """
    if solver not in SOLVERS:
        raise ValueError(f"solver={solver!r}: it must be one of {', '.join(SOLVERS)}")
    m, n = split.shape
    manifold = EndToEnd(m, n, start.s.shape[0], depth)
    objective = _Objective(split, report, target)
    wrap = pymanopt.function.numpy(manifold)
    problem = pymanopt.Problem(
        manifold,
        wrap(objective.cost),
        euclidean_gradient=wrap(objective.gradient),
        euclidean_hessian=wrap(objective.hessian),
    )
    optimizer = SOLVERS[solver](
        max_iterations=max_iterations + 1, max_time=math.inf, min_gradient_norm=1e-9, verbosity=0
    )
    with contextlib.suppress(_Stop):
        optimizer.run(problem, initial_point=Point(*start), **RUN_OPTIONS.get(solver, {}))
    return objective.fit()


def descend_fixed_rank(
    split: LeastSquares,
    start: SVD,
    max_iterations: int,
    max_seconds: float,
    report: DescentReport | None = None,
) -> Fit:
    """Minimise the squared residual with pymanopt's ``FixedRankEmbedded`` until it converges."""
    manifold = FixedRankEmbedded(*split.shape, start.s.shape[0])
    objective = _Objective(split, report, 0.0)
    wrap = pymanopt.function.numpy(manifold)
    problem = pymanopt.Problem(
        manifold, wrap(objective.cost), euclidean_gradient=wrap(objective.factor_gradient)
    )
    optimizer = optimizers.ConjugateGradient(
        max_iterations=max_iterations + 1, max_time=max_seconds, min_gradient_norm=1e-6, verbosity=0
    )
    # Its gradient divides by differences of singular values, which an exact fit may tie.
    with contextlib.suppress(_Stop), np.errstate(all="ignore"):
        optimizer.run(problem, initial_point=Point(*start))
    return objective.fit()


class _Stop(Exception):  # noqa: N818
    """Raised to stop an optimizer of pymanopt, which takes no callback."""


class _Objective:
    """Cost and derivatives of one run; each iterate is recorded at its first gradient."""

    def __init__(self, split: LeastSquares, report: DescentReport | None, target: float) -> None:
        self.split, self.report, self.target = split, report, target
        self.at: NumpyArray | None = None
        self.judged: NumpyArray | None = None
        self.residual: Any = None
        self.best: tuple[float, float, int, SVD | None] = (math.inf, math.inf, 0, None)
        self.singular_values: list[NumpyArray] = []
        self.errors: list[tuple[float, float]] = []

    def move(self, u: NumpyArray, s: NumpyArray, vt: NumpyArray) -> Any:
        """Compute the residual, once for each point."""
        if self.at is None or self.at is not u:
            self.at, self.residual = u, self.split.residual(SVD(u, s, vt))
        return self.residual

    def cost(self, u: NumpyArray, s: NumpyArray, vt: NumpyArray) -> float:
        """Half the squared residual on the training entries."""
        residual = self.move(u, s, vt)
        values = residual if isinstance(residual, np.ndarray) else residual.data
        return 0.5 * float(np.vdot(values, values))

    def gradient(self, u: NumpyArray, s: NumpyArray, vt: NumpyArray) -> Any:
        """Euclidean gradient: the residual on the training entries."""
        training = math.sqrt(2 * self.cost(u, s, vt) / self.split.count)
        if self.judged is not u:
            self.judged = u
            self._judge(SVD(u, s, vt), training)
        return self.residual

    def factor_gradient(
        self, u: NumpyArray, s: NumpyArray, vt: NumpyArray
    ) -> tuple[NumpyArray, NumpyArray, NumpyArray]:
        """Return the derivatives in the factors that ``FixedRankEmbedded`` takes."""
        G = self.gradient(u, s, vt)
        Gv = G @ vt.T
        return Gv * s, np.sum(u * Gv, axis=0), s[:, None] * (G.T @ u).T

    def hessian(
        self,
        u: NumpyArray,
        s: NumpyArray,
        vt: NumpyArray,
        du: NumpyArray,
        ds: NumpyArray,
        dvt: NumpyArray,
    ) -> Any:
        """Euclidean Hessian along a direction in the factors."""
        # pymanopt would divide by its square; the first direction is the gradient.
        if max(float(np.max(np.abs(x))) for x in (du, ds, dvt)) < NO_DIRECTION:
            raise _Stop
        left, middle, right = ambient_direction((u, s, vt), (du, ds, dvt))
        return self.split.derivative(np.asarray(left @ middle), np.asarray(right))

    def _judge(self, point: SVD, training: float) -> None:
        """Record the iterate; stop once the held-out error has not improved for a while."""
        self.singular_values.append(np.asarray(point.s))
        iteration = len(self.singular_values) - 1
        held_out = self.split.held_out_error(point)
        self.errors.append((training, held_out))
        if self.report is not None:
            self.report(iteration)
        if math.isnan(held_out):
            self.best = (held_out, training, iteration, point)
            if training <= self.target:
                raise _Stop
        elif held_out < self.best[0] * (1 - 1e-4):
            self.best = (held_out, training, iteration, point)
        else:
            best = self.best[2]
            if PATIENCE.is_over(held_out, self.best[0], iteration - best, best):
                raise _Stop

    def fit(self) -> Fit:
        """Outcome of the run so far."""
        held_out, training, iterations, point = self.best
        if point is None:
            raise RuntimeError("the optimizer asked for no gradient: there is no iterate to return")
        course, errors = np.stack(self.singular_values), np.asarray(self.errors)
        return Fit(point, held_out, training, iterations, course, errors)
