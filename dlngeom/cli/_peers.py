"""What else a person would fill missing entries with, to compare a completion with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dlngeom._lib.arrays import NumpyArray
from dlngeom.completion import _biases, _observed
from dlngeom.completion._losses import DenseSplit

__all__ = ["COMPARISONS", "Peer", "fixed_rank", "peers"]

COMPARISONS = ("none", "fast", "all")
RANKS = (5, 10, 20, 50)
ROUNDS = 20
RIDGE = 1.0

# Caps of a run of pymanopt's, and the work up to which scikit-learn's imputers take seconds.
MAX_ITERATIONS, MAX_SECONDS = 500, 60
NEIGHBOUR_WORK, REGRESSION_WORK = 5e8, 2e8

# Completes a matrix with NaN where an entry is missing; returns it and the iterations, if any.
Peer = Callable[[NumpyArray, int], tuple[NumpyArray, int | None]]


def peers(comparison: str, shape: tuple[int, ...]) -> Iterator[tuple[str, int | None, Peer]]:
    """Name, rank and function of every method of a comparison that the shape allows.

    Parameters
    ----------
    comparison : {"none", "fast", "all"}
        All have the mean and the biases; ``"all"`` has fixed ranks too.
    shape : (int, int)
    """
    yield "mean", None, _mean
    yield "means of columns", None, _biased("columns")
    yield "row + column biases", None, _biased("rows+columns")
    if comparison == "none":
        return
    m, n = shape
    if m * m * n <= NEIGHBOUR_WORK:
        yield "KNNImputer", None, _neighbours
    if m * n**3 * ROUNDS <= REGRESSION_WORK * ROUNDS and n**2 * ROUNDS <= 50_000:
        yield "IterativeImputer", None, _regressions
    if comparison == "all":
        for rank in sorted({min(rank, *shape) for rank in RANKS}):
            yield f"FixedRankEmbedded, rank {rank}", rank, _of_rank(rank)


def _mean(values: NumpyArray, seed: int) -> tuple[NumpyArray, None]:
    return np.full_like(values, np.nanmean(values)), None


def _biased(kind: str) -> Peer:
    def fill(values: NumpyArray, seed: int) -> tuple[NumpyArray, None]:
        observed = _observed.observed_entries(values)
        return _biases.biases_of_kind(observed, kind, RIDGE).matrix(), None

    return fill


def _neighbours(values: NumpyArray, seed: int) -> tuple[NumpyArray, None]:
    from sklearn.impute import KNNImputer

    return _imputed(KNNImputer(keep_empty_features=True), values), None


def _regressions(values: NumpyArray, seed: int) -> tuple[NumpyArray, None]:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    imputer = IterativeImputer(max_iter=ROUNDS, keep_empty_features=True, random_state=seed)
    return _imputed(imputer, values), None


def _imputed(imputer: Any, values: NumpyArray) -> NumpyArray:
    with warnings.catch_warnings():
        # It warns that it has not converged, which is for its error to show.
        warnings.simplefilter("ignore")
        return np.asarray(imputer.fit_transform(values))


def _of_rank(rank: int) -> Peer:
    def fill(values: NumpyArray, seed: int) -> tuple[NumpyArray, int]:
        return fixed_rank(values, rank, seed)

    return fill


def fixed_rank(
    values: NumpyArray,
    rank: int,
    seed: int,
    max_seconds: float = MAX_SECONDS,
    report: Callable[[int], None] | None = None,
) -> tuple[NumpyArray, int]:
    """Complete with pymanopt's ``FixedRankEmbedded``, from the truncated SVD, after biases.

    Returns
    -------
    completed : array (m, n)
        NaN where it breaks down, on constant matrices for example.
    iterations : int
    """
    from dlngeom.completion._descent import descend_fixed_rank, leading

    observed = _observed.observed_entries(values)
    biases = _biases.fit_biases(observed, RIDGE).matrix()
    rest = _observed.observed_entries(values - biases)
    scale = float(leading(rest.matrix, 1, seed).s[0])
    if scale <= 1e-12 * np.linalg.norm(observed.values):
        return biases, 0
    split = DenseSplit.of(_observed.Observed(rest.with_values(rest.values / scale)), None)
    start = leading(split.data, rank, seed)
    start = start._replace(s=start.s / np.mean(split.training) + 1e-12)
    try:
        fit = descend_fixed_rank(split, start, MAX_ITERATIONS, max_seconds, report)
    except np.linalg.LinAlgError:
        return np.full_like(values, np.nan), 0
    u, s, vt = fit.point
    return np.asarray(biases + scale * ((u * s) @ vt)), fit.iterations
