"""Matrix completion under the depth-N metric: functions behind ``dlngeom complete``.

Row and column biases are removed, the rest is scaled to spectral norm one, and a Riemannian
optimizer starts from a small balanced point along the leading singular vectors.  From a small
start the depth-N flow fits one singular direction after the other.  So the rank need not be
tuned: the run stops once the error on held-out entries rises.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import NumpyArray, Seed, as_generator
from dlngeom.completion import _biases, _door, _observed, _options
from dlngeom.completion._biases import Biases
from dlngeom.completion._descent import (
    SOLVERS,
    STARTS,
    DescentReport,
    Fit,
    Split,
    descend,
    descend_fixed_rank,
    leading,
    small_start,
)
from dlngeom.completion._options import rank_cap
from dlngeom.points import SVD, dense

__all__ = [
    "Completion",
    "Problem",
    "at_depth",
    "check_values",
    "choose_entries",
    "complete",
    "fit_biases",
    "fixed_rank",
    "prepare",
    "rank_cap",
]

# Fraction of the observed entries held out, to choose start, depth and stopping.
HOLDOUT = 0.1


class Completion(NamedTuple):
    """A completed matrix.

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
        Iterations of the final run.
    held_out : float
        RMSE on the held-out entries of the run that chose start and stopping, NaN if there is none.
    singular_values : array (iterations + 1, r)
        Singular values at the iterations of the final run, in the units of the data.
    empty : (int, int)
        Number of rows and of columns without an observed entry, which get the biases alone.

    See Also
    --------
    dlngeom.completion.complete : Returns it.
    """

    completed: NumpyArray
    predicted: NumpyArray
    point: SVD
    biases: Biases
    depth: int
    iterations: int
    held_out: float
    singular_values: NumpyArray
    empty: tuple[int, int]


class Problem(NamedTuple):
    """Scaled data: ``values = biases + scale * split.data`` on the observed entries.

    Attributes
    ----------
    values : array (m, n)
        As given, NaN where an entry is missing.
    biases : Biases
    scale : float
    split : Split
        Which observed entries train and which are held out.
    seed : int
        Seed of the randomised singular value decomposition.
    """

    values: NumpyArray
    biases: Biases
    scale: float
    split: Split
    seed: int


def complete(
    values: Any,
    *,
    rank: int | None = None,
    depth: int | Sequence[int] = (2, 3),
    solver: str = "conjugate-gradient",
    holdout: float = HOLDOUT,
    max_iterations: int = 500,
    rng: Seed = 0,
    report: DescentReport | None = None,
) -> Completion:
    r"""Complete a matrix without tuning its rank.

    .. math:: \min_{\mathrm{rank}\,W = r} \tfrac12 \sum_{(i,j) \in S} (W_{ij} - x_{ij})^2

    by Riemannian optimization under ``g^N``, stopped early.

    Parameters
    ----------
    values : array, nested lists, data frame or sparse matrix (m, n)
        Of integers, float32 or float64; missing are NaN, ``None``, ``pandas.NA``, what a mask
        covers and what a sparse matrix does not store.
    rank : int, optional
        Cap of the rank; 50 by default, or ``min(m, n)`` if that is smaller.
    depth : int or several
        Number of layers; of several the one with the least held-out error is taken.
    solver : {"conjugate-gradient", "trust-regions", "steepest-descent"}
    holdout : float
        Fraction of the observed entries, in (0, 1), held out to choose start, depth and
        stopping.  The final run learns from them too.
    max_iterations : int
        Cap of each optimizer run.
    rng : numpy.random.Generator or seed
        Chooses the held-out entries.
    report : callable, optional
        Called with the number of every iteration.

    Returns
    -------
    Completion

    Raises
    ------
    ValueError
        If an option is out of range, an entry is infinite or no number, fewer than two entries
        are observed, or a sparse matrix is too large to be made dense.

    See Also
    --------
    dlngeom.completion.DLNCompletion : The same for large and sparse matrices, with scikit-learn.
    dlngeom.pymanopt.EndToEnd : The manifold of the optimization.
    dlngeom.flow.gradient_flow : The flow that the iterations approximate.

    Notes
    -----
    Sparse matrices are read as :class:`DLNCompletion` reads them.  The loss is (3.8), the flow
    (4.21) of Menon, *The geometry of the deep linear network*.
    """
    max_iterations = checks.integer("max_iterations", max_iterations, 1)
    depths, solver = _options.depths(depth), _options.one_of("solver", solver, tuple(SOLVERS))
    if report is not None and not callable(report):
        raise ValueError(f"report={report!r}: it must be a function of the number of an iteration")
    matrix = _door.as_dense(values)
    rng, holdout = as_generator(rng), checks.fraction("holdout", holdout)
    check_values(matrix)
    rank = rank_cap(rank, matrix.shape)
    _require_few_layers(max(depths), rank)
    problem = prepare(matrix, holdout, rng)
    results = [at_depth(problem, rank, N, solver, max_iterations, report) for N in depths]
    return min(results, key=lambda result: result.held_out)


def _require_few_layers(depth: int, rank: int) -> None:
    """Refuse a network whose layers take more than 4 GiB, before they are allocated."""
    if (need := _observed.layer_bytes(depth, rank)) > _door.LARGEST:
        raise ValueError(
            f"depth={depth} at rank {rank} needs {need / 2**30:.3g} GiB, more than "
            f"{_door.LARGEST / 2**30:g}: give a smaller depth or rank, or take DLNCompletion with "
            "its alternating solver, which keeps no layers"
        )


def check_values(values: Any) -> NumpyArray:
    """Return the mask of observed entries of a matrix with NaN where entries are missing.

    Raises
    ------
    ValueError
        If there is nothing to learn from, or an entry is infinite.
    """
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind != "f":
        raise ValueError("the input is no matrix of floating-point numbers")
    if min(values.shape) < 2:
        raise ValueError(f"the matrix has shape {values.shape}: completion needs at least 2 x 2")
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        i, j = infinite[0]
        raise ValueError(f"entry [{i}, {j}] is {values[i, j]}: entries must be finite or missing")
    observed: NumpyArray = ~np.isnan(values)
    if np.count_nonzero(observed) < 2:
        raise ValueError("fewer than two entries are observed: nothing can be learned")
    _observed.require_scale(values[observed])
    return observed


def fit_biases(values: NumpyArray, observed: NumpyArray, *, ridge: float = 1.0) -> Biases:
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
    return _biases.fit_biases(_observed.observed_entries(np.where(observed, values, np.nan)), ridge)


def prepare(values: NumpyArray, holdout: float, rng: np.random.Generator) -> Problem:
    """Check the input, remove biases, scale, and hold some observed entries out.

    Raises
    ------
    ValueError
        If ``holdout`` is out of range or there is nothing to learn from.
    """
    observed = check_values(values)
    holdout = checks.fraction("holdout", holdout)
    count = int(np.count_nonzero(observed))
    held_out = choose_entries(observed, min(max(1, round(holdout * count)), count - 1), rng)
    seed = int(rng.integers(2**31))
    biases = fit_biases(values, observed)
    data = np.where(observed, values - biases.matrix(), 0.0)
    scale = float(leading(data, 1, seed).s[0])
    # If the data are biases alone, the rest is rounding error and needs no model.
    if scale <= 1e-12 * np.linalg.norm(np.where(observed, values, 0.0)):
        scale, data = 1.0, np.zeros_like(data)
    split = Split(data / scale, observed & ~held_out, held_out)
    return Problem(values, biases, scale, split, seed)


def choose_entries(among: NumpyArray, count: int, rng: np.random.Generator) -> NumpyArray:
    """Mask of ``count`` entries drawn from those of another mask, all equally likely."""
    chosen = np.zeros(among.shape, dtype=bool)
    chosen.flat[rng.choice(np.flatnonzero(among), size=count, replace=False)] = True
    return chosen


def at_depth(
    problem: Problem,
    rank: int,
    depth: int,
    solver: str,
    max_iterations: int,
    report: DescentReport | None = None,
) -> Completion:
    """Complete at one depth: run from each start, and repeat the best run on all entries."""
    split = problem.split
    fits = {
        start: descend(
            split, _small(problem, split, rank, start), depth, solver, max_iterations, report
        )
        for start in STARTS
    }
    start = min(fits, key=lambda start: fits[start].held_out)
    best = fits[start]
    everything = _everything(split)
    final = descend(
        everything,
        _small(problem, everything, rank, start),
        depth,
        solver,
        max(2 * best.iterations, 10),
        report,
        target=best.training,
    )
    return _completion(problem, depth, best.held_out, final)


def fixed_rank(
    problem: Problem,
    rank: int,
    max_iterations: int,
    max_seconds: float,
    report: DescentReport | None = None,
) -> Completion:
    """Complete with pymanopt's ``FixedRankEmbedded``, from the truncated SVD, on all entries."""
    everything = _everything(problem.split)
    start = leading(everything.data, rank, problem.seed)
    start = start._replace(s=start.s / np.mean(everything.training) + 1e-12)
    final = descend_fixed_rank(everything, start, max_iterations, max_seconds, report)
    return _completion(problem, 1, math.nan, final)


def _everything(split: Split) -> Split:
    nothing = np.zeros_like(split.held_out)
    return Split(split.data, split.training | split.held_out, nothing)


def _small(problem: Problem, split: Split, rank: int, size: float) -> SVD:
    """Small balanced start, along the leading singular vectors of the training entries."""
    return small_start(np.where(split.training, split.data, 0.0), rank, size, problem.seed)


def _completion(problem: Problem, depth: int, held_out: float, final: Fit) -> Completion:
    """Undo the scaling and the biases; rows and columns without entries keep the biases alone."""
    observed: NumpyArray = ~np.isnan(problem.values)
    scale = problem.scale
    u, s, vt = final.point
    seen_rows: NumpyArray = np.any(observed, axis=1)
    seen_columns: NumpyArray = np.any(observed, axis=0)
    point = SVD(np.where(seen_rows[:, None], u, 0.0), scale * s, np.where(seen_columns, vt, 0.0))
    predicted = problem.biases.matrix() + dense(point)
    return Completion(
        completed=np.where(observed, problem.values, predicted),
        predicted=predicted,
        point=SVD(u, scale * s, vt),
        biases=problem.biases,
        depth=depth,
        iterations=final.iterations,
        held_out=scale * held_out,
        singular_values=scale * final.singular_values,
        empty=(int(np.sum(~seen_rows)), int(np.sum(~seen_columns))),
    )
