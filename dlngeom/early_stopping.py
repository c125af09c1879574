"""Riemannian least squares on part of a matrix, stopped by the error on another part."""

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

from dlngeom.pymanopt import EndToEnd, Point, ambient_direction
from dlngeom.tuples import SVD, dense

__all__ = ["SOLVERS", "Fit", "Report", "Split", "descend", "descend_fixed_rank", "rmse"]

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

# Truncated conjugate gradients may take as many steps as the manifold has dimensions.
RUN_OPTIONS = {"trust-regions": {"maxinner": 20, "Delta_bar": 4.0, "Delta0": 0.1}}

# Iterations without a better held-out error before a run ends: few once the error rises, many
# while it is level, since the flow passes saddles on its way from rank to rank.
PATIENCE = 40
PATIENCE_ON_A_PLATEAU = 150
RISING = 1.02

Matrix = np.ndarray
Report = Callable[[int], None]


class Split(NamedTuple):
    """A matrix, and which of its entries train and which decide when to stop.

    Attributes
    ----------
    data : array (m, n)
    training, held_out : bool array (m, n)
        ``held_out`` may be empty.
    """

    data: Matrix
    training: Matrix
    held_out: Matrix


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
    singular_values : array (iterations + 1, r)
        Their course along the run.
    """

    point: SVD
    held_out: float
    training: float
    iterations: int
    singular_values: Matrix


def rmse(error: Matrix, where: Matrix) -> float:
    """Root mean square of the entries of ``error`` that a mask or index selects, NaN if none."""
    chosen = error[where]
    return math.sqrt(float(np.mean(chosen**2))) if chosen.size else math.nan


def descend(
    split: Split,
    start: SVD,
    depth: int,
    solver: str,
    max_iterations: int,
    report: Report | None = None,
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
    m, n = split.data.shape
    manifold = EndToEnd(m, n, len(start.s), depth)
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
    split: Split,
    start: SVD,
    max_iterations: int,
    max_seconds: float,
    report: Report | None = None,
) -> Fit:
    """Minimise the squared residual with pymanopt's ``FixedRankEmbedded`` until it converges."""
    manifold = FixedRankEmbedded(*split.data.shape, len(start.s))
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
    """Leaves an optimizer, none of which takes a callback."""


class _Objective:
    """Cost and derivatives of one run, and its iterates: each is judged at its first gradient."""

    def __init__(self, split: Split, report: Report | None, target: float) -> None:
        self.data, self.report, self.target = split.data, report, target
        self.mask = split.training.astype(split.data.dtype)
        self.count = np.count_nonzero(split.training)
        self.held_out = np.flatnonzero(split.held_out)
        self.point: SVD | None = None
        self.judged: Matrix | None = None
        self.residual = self.training_residual = split.data
        self.best = (math.inf, math.inf, 0, SVD(None, None, None))
        self.singular_values: list[Matrix] = []

    def move(self, u: Matrix, s: Matrix, vt: Matrix) -> None:
        """Compute the residual, which is kept for the point it belongs to."""
        if self.point is None or self.point.u is not u:
            self.point = SVD(u, s, vt)
            self.residual = (u * s) @ vt - self.data
            self.training_residual = self.residual * self.mask

    def cost(self, u: Matrix, s: Matrix, vt: Matrix) -> float:
        """Half the squared residual on the training entries."""
        self.move(u, s, vt)
        return 0.5 * float(np.vdot(self.training_residual, self.training_residual))

    def gradient(self, u: Matrix, s: Matrix, vt: Matrix) -> Matrix:
        """Euclidean gradient: the residual on the training entries."""
        training = math.sqrt(2 * self.cost(u, s, vt) / self.count)
        if self.judged is not u:
            self.judged = u
            self._judge(SVD(u, s, vt), training)
        return self.training_residual

    def factor_gradient(self, u: Matrix, s: Matrix, vt: Matrix) -> tuple[Matrix, Matrix, Matrix]:
        """Return the derivatives in the factors that ``FixedRankEmbedded`` takes."""
        G = self.gradient(u, s, vt)
        Gv = G @ vt.T
        return Gv * s, np.sum(u * Gv, axis=0), s[:, None] * (u.T @ G)

    def hessian(
        self, u: Matrix, s: Matrix, vt: Matrix, du: Matrix, ds: Matrix, dvt: Matrix
    ) -> Matrix:
        """Euclidean Hessian along a direction in the factors."""
        moved = dense(ambient_direction((u, s, vt), (du, ds, dvt)))
        return np.asarray(moved * self.mask)

    def _judge(self, point: SVD, training: float) -> None:
        """Record the iterate; stop once the held-out error has not improved for a while."""
        self.singular_values.append(point.s)
        iteration = len(self.singular_values) - 1
        held_out = rmse(self.residual.ravel(), self.held_out)
        if self.report is not None:
            self.report(iteration)
        if math.isnan(held_out):
            self.best = (held_out, training, iteration, point)
            if training <= self.target:
                raise _Stop
        elif held_out < self.best[0] * (1 - 1e-4):
            self.best = (held_out, training, iteration, point)
        else:
            patience = PATIENCE if held_out > RISING * self.best[0] else PATIENCE_ON_A_PLATEAU
            if iteration - self.best[2] >= max(patience, self.best[2] // 2):
                raise _Stop

    def fit(self) -> Fit:
        """Outcome of the run so far."""
        held_out, training, iterations, point = self.best
        return Fit(point, held_out, training, iterations, np.stack(self.singular_values))
