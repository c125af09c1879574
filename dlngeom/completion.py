"""Matrix completion under the depth-N metric: functions behind ``dlngeom complete``.

Row and column biases are removed, the rest is scaled to spectral norm one, and a Riemannian
optimizer starts from a small balanced point along the leading singular vectors.  From a small
start the depth-N flow fits one singular direction after the other, so stopping early on entries
held out of the observed ones replaces tuning the rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pymanopt
from pymanopt import optimizers
from scipy import sparse
from scipy.sparse.linalg import lsqr
from sklearn.utils.extmath import randomized_svd

from dlngeom import _check
from dlngeom._array import Seed, as_generator
from dlngeom.points import SVD, dense
from dlngeom.pymanopt import EndToEnd, Point, ambient_direction

__all__ = ["SOLVERS", "Biases", "Completion", "Fit", "complete", "fit_biases", "rmse"]

SOLVERS = {
    "conjugate-gradient": optimizers.ConjugateGradient,
    "trust-regions": optimizers.TrustRegions,
    "steepest-descent": optimizers.SteepestDescent,
}

# Singular values of the start, relative to the scaled data; the best held-out error chooses.
STARTS = (1e-4, 1e-3)

Matrix = np.ndarray
Report = Callable[[int, float], None]


class Biases(NamedTuple):
    """Additive model ``mean + rows_i + columns_j``."""

    mean: float
    rows: Matrix
    columns: Matrix

    def matrix(self) -> Matrix:
        """Dense matrix of the additive model."""
        return np.asarray(self.mean + self.rows[:, None] + self.columns)


class Fit(NamedTuple):
    """One optimizer run.

    Attributes
    ----------
    point : SVD
        Iterate at the best held-out error, or the last one.
    start : float
        Singular values of the start.
    held_out, training : float
        RMSE of that iterate on the held-out and on the training entries, scaled data.
    iterations : int
        Iterations up to that iterate.
    singular_values : array (iterations + 1, r)
        Their course along the run.
    """

    point: SVD
    start: float
    held_out: float
    training: float
    iterations: int
    singular_values: Matrix


class Completion(NamedTuple):
    """Result of :func:`complete`.

    Attributes
    ----------
    completed : array (m, n)
        Observed entries as given, the others predicted.
    predicted : array (m, n)
        Biases plus the low-rank part, everywhere.
    point : SVD
        Low-rank part in the units of the data.
    biases : Biases
    depth : int
    iterations : int
        Of the final run.
    held_out : float
        RMSE on the held-out entries of the run that chose start, depth and stopping.
    singular_values : array (iterations + 1, r)
        Course of the singular values, in the units of the data.
    empty : (int, int)
        How many rows and columns have no observed entry and fell back to the biases.
    """

    completed: Matrix
    predicted: Matrix
    point: SVD
    biases: Biases
    depth: int
    iterations: int
    held_out: float
    singular_values: Matrix
    empty: tuple[int, int]


def rmse(error: Matrix, where: Matrix) -> float:
    """Root mean square of the entries of ``error`` selected by a mask, NaN if none is."""
    chosen = error[where]
    return math.sqrt(float(np.mean(chosen**2))) if chosen.size else math.nan


def fit_biases(values: Matrix, observed: Matrix, *, ridge: float = 1.0) -> Biases:
    r"""Fit row and column biases to the observed entries.

    .. math:: \min_{a, b} \sum_{(i,j) \in S} (x_{ij} - \mu - a_i - b_j)^2
              + \text{ridge}\,(|a|^2 + |b|^2)

    Parameters
    ----------
    values : array (m, n)
    observed : bool array (m, n)
        Where ``values`` counts; at least one entry.
    ridge : float
        Shrinkage, in entries; a row or column without entries has bias zero.

    Returns
    -------
    Biases
    """
    m, n = values.shape
    rows, columns = np.nonzero(observed)
    mean = float(np.mean(values[rows, columns]))
    entry = np.arange(len(rows))
    index = (np.concatenate([entry, entry]), np.concatenate([rows, m + columns]))
    design = sparse.csr_array((np.ones(2 * len(rows)), index), shape=(len(rows), m + n))
    target = values[rows, columns] - mean
    solution = lsqr(design, target, damp=math.sqrt(ridge), atol=1e-10, btol=1e-10)[0]
    return Biases(mean, solution[:m], solution[m:])


def complete(
    values: Matrix,
    *,
    rank: int = 50,
    depth: int | Iterable[int] = (2, 3),
    solver: str = "conjugate-gradient",
    holdout: float = 0.1,
    max_iterations: int = 500,
    rng: Seed = 0,
    report: Report | None = None,
) -> Completion:
    r"""Complete a matrix without tuning its rank.

    .. math:: \min_{\mathrm{rank}\,W \le r} \tfrac12 \sum_{(i,j) \in S} (W_{ij} - x_{ij})^2

    by Riemannian optimization for ``g^N``, stopped early.

    Parameters
    ----------
    values : array (m, n)
        NaN where an entry is missing.
    rank : int
        Cap of the rank, reduced to ``min(m, n)`` if larger.
    depth : int or several
        Number of layers; of several the best held-out error chooses.
    solver : {"conjugate-gradient", "trust-regions", "steepest-descent"}
    holdout : float
        Part of the observed entries, in (0, 1), that chooses start, depth and stopping.
    max_iterations : int
        Cap of each optimizer run.
    rng : numpy.random.Generator or seed
        Choice of the held-out entries.
    report : callable, optional
        Called with the iteration and the held-out RMSE, scaled data.

    Returns
    -------
    Completion

    Raises
    ------
    ValueError
        If an option is out of range, an entry is infinite, or fewer than two entries are
        observed.
    """
    problem = prepare(values, holdout, as_generator(rng))
    rank = _check.rank(min(rank, min(values.shape)) if rank > 0 else rank, *values.shape)
    depths = tuple(depth) if isinstance(depth, Iterable) else (depth,)
    fits = {N: best_fit(problem, rank, N, solver, max_iterations, report) for N in depths}
    chosen = min(fits, key=lambda N: fits[N].held_out)
    final = refit(problem, rank, chosen, solver, fits[chosen], report)
    return _completion(values, problem, chosen, fits[chosen], final)


class Problem(NamedTuple):
    """Scaled data: ``values = biases + scale * data`` on the observed entries."""

    data: Matrix
    biases: Biases
    scale: float
    training: Matrix
    held_out: Matrix
    seed: int


def prepare(values: Matrix, holdout: float, rng: np.random.Generator) -> Problem:
    """Check the input, remove biases, scale, and hold some observed entries out."""
    observed = check_values(values)
    if not 0 < holdout < 1:
        raise ValueError(f"holdout={holdout!r}: it must lie between 0 and 1")
    biases = fit_biases(values, observed)
    data = np.where(observed, values, 0.0) - biases.matrix()
    data = np.where(observed, data, 0.0)
    where = np.flatnonzero(observed)
    count = min(max(1, round(holdout * len(where))), len(where) - 1)
    held_out = np.zeros(values.size, dtype=bool)
    held_out[rng.choice(where, size=count, replace=False)] = True
    held_out = held_out.reshape(values.shape)
    seed = int(rng.integers(2**31))
    scale = float(_leading(data, 1, seed).s[0])
    # Data that are biases alone leave rounding errors, which need no model of their own.
    if scale <= 1e-12 * np.linalg.norm(np.where(observed, values, 0.0)):
        scale, data = 1.0, np.zeros_like(data)
    return Problem(data / scale, biases, scale, observed & ~held_out, held_out, seed)


def check_values(values: Matrix) -> Matrix:
    """Return the mask of observed entries of a matrix with NaN where entries are missing."""
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind != "f":
        raise ValueError("the input is no matrix of floating-point numbers")
    if min(values.shape) < 2:
        raise ValueError(f"the matrix has shape {values.shape}: completion needs at least 2 x 2")
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        i, j = infinite[0]
        raise ValueError(f"entry [{i}, {j}] is {values[i, j]}: entries must be finite or missing")
    observed = ~np.isnan(values)
    if np.count_nonzero(observed) < 2:
        raise ValueError("fewer than two entries are observed: nothing can be learned")
    return observed


def _leading(matrix: Matrix, rank: int, seed: int) -> SVD:
    """Leading singular triples, all orthonormal even if the matrix has a smaller rank."""
    return SVD(*randomized_svd(matrix, rank, random_state=seed))


def best_fit(
    problem: Problem,
    rank: int,
    depth: int,
    solver: str,
    max_iterations: int,
    report: Report | None = None,
) -> Fit:
    """Run the optimizer from each start, and keep the best held-out error."""
    fits = [_run(problem, rank, depth, solver, start, max_iterations, report) for start in STARTS]
    return min(fits, key=lambda fit: fit.held_out)


def refit(
    problem: Problem, rank: int, depth: int, solver: str, fit: Fit, report: Report | None = None
) -> Fit:
    """Repeat a run on all observed entries, down to the training error it had at its best."""
    everything = problem._replace(
        training=problem.training | problem.held_out, held_out=np.zeros_like(problem.held_out)
    )
    cap = max(2 * fit.iterations, 10)
    return _run(everything, rank, depth, solver, fit.start, cap, report, target=fit.training)


class _Stop(Exception):  # noqa: N818
    """Leaves an optimizer, none of which takes a callback."""


class _Objective:
    """Cost, gradient and Hessian of one run, and what it has seen; one gradient per iterate."""

    def __init__(self, problem: Problem, report: Report | None, target: float) -> None:
        self.problem, self.report, self.target = problem, report, target
        self.point: Any = None
        self.residual = problem.data
        self.seen: Any = None
        self.best: tuple[float, float, int, Any] = (math.inf, math.inf, 0, None)
        self.singular_values: list[Matrix] = []

    def at(self, u: Matrix, s: Matrix, vt: Matrix) -> Matrix:
        """Residual everywhere, kept for the point it belongs to."""
        if self.point is None or self.point.u is not u:
            self.point = SVD(u, s, vt)
            self.residual = (u * s) @ vt - self.problem.data
        return self.residual

    def cost(self, u: Matrix, s: Matrix, vt: Matrix) -> float:
        """Half the squared residual on the training entries."""
        residual = self.at(u, s, vt)
        return 0.5 * float(np.sum(residual**2, where=self.problem.training))

    def gradient(self, u: Matrix, s: Matrix, vt: Matrix) -> Matrix:
        """Euclidean gradient: the residual on the training entries."""
        residual = self.at(u, s, vt)
        if self.seen is not u:
            self.seen = u
            self._judge(residual)
        return np.where(self.problem.training, residual, 0.0)

    def hessian(self, u: Matrix, s: Matrix, vt: Matrix, *direction: Matrix) -> Matrix:
        """Euclidean Hessian along a direction in the factors."""
        moved = dense(ambient_direction((u, s, vt), direction))
        return np.where(self.problem.training, moved, 0.0)

    def _judge(self, residual: Matrix) -> None:
        """Record the iterate; stop once the held-out error has not improved for a while."""
        self.singular_values.append(self.point.s)
        iteration = len(self.singular_values) - 1
        training = rmse(residual, self.problem.training)
        held_out = rmse(residual, self.problem.held_out)
        if self.report is not None:
            self.report(iteration, held_out)
        if math.isnan(held_out):
            self.best = (held_out, training, iteration, self.point)
            if training <= self.target:
                raise _Stop
        elif held_out < self.best[0] * (1 - 1e-4):
            self.best = (held_out, training, iteration, self.point)
        elif iteration - self.best[2] >= max(20, self.best[2] // 2):
            raise _Stop


def _run(
    problem: Problem,
    rank: int,
    depth: int,
    solver: str,
    start: float,
    max_iterations: int,
    report: Report | None,
    target: float = 0.0,
) -> Fit:
    """One optimizer run from a small balanced point along the leading singular vectors."""
    if solver not in SOLVERS:
        raise ValueError(f"solver={solver!r}: it must be one of {', '.join(SOLVERS)}")
    manifold = EndToEnd(*problem.data.shape, rank, depth, rng=problem.seed)
    objective = _Objective(problem, report, target)
    wrap = pymanopt.function.numpy(manifold)
    task = pymanopt.Problem(
        manifold,
        wrap(objective.cost),
        euclidean_gradient=wrap(objective.gradient),
        euclidean_hessian=wrap(lambda *arguments: objective.hessian(*arguments)),
    )
    leading = _leading(np.where(problem.training, problem.data, 0.0), rank, problem.seed)
    optimizer = SOLVERS[solver](
        max_iterations=max_iterations + 1, max_time=math.inf, min_gradient_norm=1e-9, verbosity=0
    )
    try:
        optimizer.run(task, initial_point=Point(leading.u, np.full(rank, start), leading.vt))
    except _Stop:
        pass
    held_out, training, iterations, point = objective.best
    return Fit(point, start, held_out, training, iterations, np.stack(objective.singular_values))


def _completion(
    values: Matrix, problem: Problem, depth: int, chosen: Fit, final: Fit
) -> Completion:
    """Undo the scaling and the biases; rows and columns without entries keep the biases alone."""
    observed = ~np.isnan(values)
    u = np.where(observed.any(axis=1)[:, None], final.point.u, 0.0)
    vt = np.where(observed.any(axis=0), final.point.vt, 0.0)
    low_rank = problem.scale * dense(SVD(u, final.point.s, vt))
    predicted = problem.biases.matrix() + low_rank
    empty = (int(np.sum(~observed.any(axis=1))), int(np.sum(~observed.any(axis=0))))
    return Completion(
        np.where(observed, values, predicted),
        predicted,
        SVD(final.point.u, problem.scale * final.point.s, final.point.vt),
        problem.biases,
        depth,
        final.iterations,
        problem.scale * chosen.held_out,
        problem.scale * final.singular_values,
        empty,
    )
