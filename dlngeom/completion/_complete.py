"""Matrix completion: the function behind ``dlngeom complete``.

Biases are removed and the rest is fitted by the engine that :class:`DLNCompletion` uses too.
Directions enter one after the other, as along the depth-N flow from a small start, so the rank
need not be tuned: the run stops once the error on held-out entries rises.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import NumpyArray, Seed, as_generator
from dlngeom.completion import _biases, _choice, _door, _observed, _options
from dlngeom.completion._biases import Biases
from dlngeom.completion._choice import Candidates
from dlngeom.completion._model import RowSpaceModel
from dlngeom.completion._options import rank_cap
from dlngeom.completion._path import PathStep, Schedule, empty_path, svd_of_product
from dlngeom.completion._solvers import SOLVERS, DescentReport, FitOptions, Progress
from dlngeom.points import SVD

__all__ = [
    "Completion",
    "check_values",
    "choose_entries",
    "complete",
    "fit_biases",
    "rank_cap",
]

# Fraction of the observed entries held out, to choose biases, depth and stopping.
HOLDOUT = 0.1

# Relative training error at which a run ends, and shrinkage of the biases in entries.
TOLERANCE, RIDGE = 1e-8, 1.0


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
        Steps of the path, or iterations of the descent that was best.
    held_out : float
        RMSE on the held-out entries.
    singular_values : array (iterations, r)
        Singular values of the low-rank part at each step, of scaled columns if they were, zero
        before a direction enters.
    empty : (int, int)
        Number of rows and of columns without an observed entry, which get the biases alone.
    kind : str
        Which biases were removed: ``"none"``, ``"columns"`` or ``"rows+columns"``.
    scale : array (n,)
        Deviations of the columns if each is on its own scale, else ones.
    outside : int
        Number of missing entries whose prediction leaves the observed range.

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
    kind: str
    scale: NumpyArray
    outside: int


def complete(
    values: Any,
    *,
    rank: int | None = None,
    depth: int | str | Sequence[int] = "auto",
    solver: str = "alternating",
    biases: bool | str = "auto",
    scale: bool | str = "auto",
    clip: bool = False,
    holdout: float = HOLDOUT,
    max_iterations: int = 500,
    rng: Seed = 0,
    report: DescentReport | None = None,
) -> Completion:
    r"""Complete a matrix without tuning its rank.

    .. math:: \min_W \tfrac12 \sum_{(i,j) \in S} (W_{ij} - x_{ij})^2
              + \tfrac{\lambda}{2} \min_{W_N \cdots W_1 = W} \sum_p \|W_p\|^2

    after biases are removed, where ``lambda`` falls until the error on held-out entries rises.

    Parameters
    ----------
    values : array, nested lists, data frame or sparse matrix (m, n)
        Of integers, float32 or float64; missing are NaN, ``None``, ``pandas.NA``, what a mask
        covers and what a sparse matrix does not store.
    rank : int, optional
        Cap of the rank; 50 by default, or ``min(m, n)`` if that is smaller.
    depth : int, several or "auto"
        Number of layers; of several the one with the least held-out error is taken.  ``"auto"``
        stands for one, two and three.
    solver : {"alternating", "conjugate-gradient", "trust-regions", "steepest-descent"}
        Alternating least squares along the path of ``lambda``, or a Riemannian descent of the
        loss without penalty under ``g^N``, from small starts and stopped early.
    biases : {"auto", "none", "columns", "rows+columns"} or bool
        What to remove first: nothing, the means of columns, or biases of rows and columns.
        ``"auto"`` chooses by the held-out entries; ``True`` and ``False`` stand for the last and
        the first.
    scale : {"auto", "columns"} or False
        Whether each column is divided by its deviation; ``"auto"`` tries it where deviations
        differ by much.  Results are in the units of the data.
    clip : bool
        Whether predictions are moved into the range of the observed entries, that of each column
        if these are scaled.
    holdout : float
        Fraction of the observed entries, in (0, 1), held out for all choices and to stop the run.
        Biases are estimated without them; the final fit learns from them too.
    max_iterations : int
        Cap of the steps of each run.
    rng : numpy.random.Generator or seed
        Chooses the held-out entries.
    report : callable, optional
        Called with the number of every step.

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
    dlngeom.pymanopt.EndToEnd : The manifold of the Riemannian solvers.
    dlngeom.flow.gradient_flow : The flow that the paths approximate.

    Notes
    -----
    Sparse matrices are read as :class:`DLNCompletion` reads them.  The loss is (3.8), the flow
    (4.21), the least norm of the layers (5.16) of Menon, *The geometry of the deep linear
    network*.
    """
    max_iterations = checks.integer("max_iterations", max_iterations, 1)
    solver = _options.one_of("solver", solver, SOLVERS)
    candidates = Candidates(
        _options.depths(depth), _options.bias_kinds(biases), _options.scales(scale)
    )
    clip = _options.flag("clip", clip)
    if report is not None and not callable(report):
        raise ValueError(f"report={report!r}: it must be a function of the number of a step")
    matrix = _door.as_dense(values)
    rng, holdout = as_generator(rng), checks.fraction("holdout", holdout)
    check_values(matrix)
    rank = rank_cap(rank, matrix.shape)
    if solver != "alternating":
        _require_few_layers(max(candidates.depths), rank)
    schedule = Schedule(candidates.depths[0], rank, max_iterations, TOLERANCE)
    seed = int(rng.integers(2**31))
    options = FitOptions(solver, schedule, "none", False, RIDGE, holdout, seed, clip)
    observed = _observed.observed_entries(matrix)
    progress = Progress(report=None if report is None else _counter(report))
    return _completion(matrix, _choice.learn(observed, options, candidates, progress))


def _counter(report: DescentReport) -> Callable[[PathStep], None]:
    numbers = itertools.count()
    return lambda step: report(next(numbers))


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


def choose_entries(among: NumpyArray, count: int, rng: np.random.Generator) -> NumpyArray:
    """Mask of ``count`` entries drawn from those of another mask, all equally likely."""
    chosen = np.zeros(among.shape, dtype=bool)
    chosen.flat[rng.choice(np.flatnonzero(among), size=count, replace=False)] = True
    return chosen


def _completion(values: NumpyArray, model: RowSpaceModel) -> Completion:
    """Dense results of a model; rows and columns without entries keep the biases alone."""
    observed: NumpyArray = ~np.isnan(values)
    predicted = model.biases.matrix() + model.left @ model.right.T
    predicted = model.clipped(predicted, slice(None))
    steps, course = len(model.path.course), model.path.course
    singular_values = np.zeros((steps, max((len(s) for s in course), default=1)))
    for row, s in zip(singular_values, course, strict=True):
        row[: len(s)] = model.scale * s
    return Completion(
        completed=np.where(observed, values, predicted),
        predicted=predicted,
        point=_point(model),
        biases=model.biases,
        depth=model.options.schedule.depth,
        iterations=steps,
        held_out=model.validation_error,
        singular_values=singular_values,
        empty=(int(np.sum(~observed.any(axis=1))), int(np.sum(~observed.any(axis=0)))),
        kind=model.options.biases,
        scale=np.ones(values.shape[1]) if model.columns is None else model.columns,
        outside=_outside(predicted[~observed], model, np.nonzero(~observed)[1]),
    )


def _point(model: RowSpaceModel) -> SVD:
    """Low-rank part in the units of the data."""
    if not model.s.shape[0]:
        return empty_path(len(model.left), model.components.shape[1])
    return svd_of_product(model.left, model.right)


def _outside(predicted: NumpyArray, model: RowSpaceModel, columns: NumpyArray) -> int:
    """Count predictions that leave the observed range."""
    low, high = (x if x.ndim == 0 else x[columns] for x in model.bounds)
    return int(np.sum((predicted < low) | (predicted > high)))
