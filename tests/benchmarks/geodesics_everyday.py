"""Geodesics of everyday sizes: CPU time a pair, and against the metric of geomstats, on one thread.

Each row is the best of several runs, those of two libraries in turn.  Rows are the functions in
``ROWS``; each returns the seconds here, those of the other library or a bound, and a note.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("GEOMSTATS_BACKEND", "numpy")

import numpy as np  # noqa: E402
from _rows import Row, fastest  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import geomstats.backend as gs
    from geomstats.geometry.spd_matrices import SPDBuresWassersteinMetric, SPDMatrices
    from geomstats.learning.frechet_mean import FrechetMean

from dlngeom import geodesics  # noqa: E402
from dlngeom.dln import EndToEndGeometry  # noqa: E402
from dlngeom.geomstats import DeepLinearMetric, EndToEndMatrices  # noqa: E402


def near_identity(scale: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs ``I + scale G`` of 3 x 3 matrices whose determinants agree in sign."""
    rng = np.random.default_rng(1)
    A, B = np.eye(3) + scale * rng.standard_normal((2, count, 3, 3))
    same = np.linalg.det(A) * np.linalg.det(B) > 0
    return A[same], B[same]


def positive_definite(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of positive definite 3 x 3 matrices."""
    X = np.random.default_rng(0).standard_normal((2, count, 3, 3))
    A, B = np.eye(3) + 0.2 * (X @ X.mT)
    return A, B


def pairs(scale: float, bound: float) -> Row:
    """Distances of 1,000 pairs at depth 3, a pair."""
    A, B = near_identity(scale, 1000)
    space = EndToEndGeometry(3, 3, 3, 3)
    (time,) = fastest(lambda: geodesics.dist(space, A, B), repeats=3)
    return Row(time / len(A), bound, f"a pair of {len(A)}, I + {scale} G, depth 3")


def one_pair() -> Row:
    """Distance of one pair at depth 3."""
    A, B = near_identity(0.15, 1)
    space = EndToEndGeometry(3, 3, 3, 3)
    (time,) = fastest(lambda: geodesics.dist(space, A[0], B[0]), repeats=5)
    return Row(time, 0.2, "one pair alone, I + 0.15 G, depth 3")


def positive_pairs(depth: int, bound: float) -> Row:
    """Distances of 66 pairs of positive definite matrices."""
    A, B = positive_definite(66)
    metric = SPDMatrices(3).equip_with_metric(DeepLinearMetric, depth=depth).metric
    (time,) = fastest(lambda: metric.dist(A, B), repeats=5)
    return Row(time, bound, f"66 pairs of positive definite matrices, depth {depth}")


def bures_wasserstein(call: str, count: int) -> Row:
    """Distances or logarithms of two layers against geomstats."""
    A, B = positive_definite(count)
    ours = SPDMatrices(3).equip_with_metric(DeepLinearMetric, depth=2).metric
    theirs = SPDMatrices(3).equip_with_metric(SPDBuresWassersteinMetric).metric
    here, other = fastest(
        lambda: getattr(ours, call)(A, B), lambda: getattr(theirs, call)(A, B), repeats=5
    )
    return Row(here, other, f"{call} of {count} positive definite pairs, against geomstats")


def rank_one() -> Row:
    """All distances of 40 random 3 x 2 matrices of rank one, a pair."""
    space = EndToEndMatrices(3, 2, 1, depth=2)
    gs.random.seed(0)
    points = space.random_point(40)
    (time,) = fastest(lambda: space.metric.dist_pairwise(points), repeats=5)
    return Row(time / 780, 0.03, "a pair of rank one, random, depth 2, dist_pairwise")


def low_rank(dims: tuple[int, int], rank: int, depth: int) -> Row:
    """Distances of random matrices below full rank, a pair; some need shots."""
    space = EndToEndMatrices(*dims, rank, depth=depth)
    gs.random.seed(0)
    A, B = space.random_point(10), space.random_point(10)
    (time,) = fastest(lambda: space.metric.dist(A, B), repeats=1)
    return Row(time / 10, 0.03, f"a pair of {dims} of rank {rank}, random, depth {depth}")


def alone(dims: tuple[int, int], rank: int, depth: int) -> Row:
    """Distances of random matrices below full rank, asked for pair by pair."""
    space = EndToEndMatrices(*dims, rank, depth=depth)
    gs.random.seed(0)
    A, B = space.random_point(20), space.random_point(20)
    (time,) = fastest(
        lambda: [space.metric.dist(a, b) for a, b in zip(A, B, strict=True)], repeats=1
    )
    return Row(time / 20, 0.03, f"one pair of {dims} of rank {rank} alone, depth {depth}")


def mean() -> Row:
    """Frechet mean of 20 matrices at depth 3."""
    space = EndToEndMatrices(3, 3, 3, depth=3)
    points, _ = near_identity(0.15, 20)
    (time,) = fastest(lambda: FrechetMean(space).fit(points), repeats=3)
    return Row(time, 1.0, "FrechetMean of 20 matrices, I + 0.15 G, depth 3")


ROWS: dict[str, Callable[[], Row]] = {
    "pairs 0.15": lambda: pairs(0.15, 4e-3),
    "pairs 0.3": lambda: pairs(0.3, 12e-3),
    "one pair": one_pair,
    "positive definite, depth 1": lambda: positive_pairs(1, 0.24),
    "positive definite, depth 2": lambda: positive_pairs(2, 1.4),
    "positive definite, depth 3": lambda: positive_pairs(3, 4.8),
    "Bures-Wasserstein dist": lambda: bures_wasserstein("dist", 1000),
    "Bures-Wasserstein log": lambda: bures_wasserstein("log", 1000),
    "rank one": rank_one,
    "rank two": lambda: low_rank((4, 4), 2, 2),
    "rank two alone, depth 1": lambda: alone((4, 4), 2, 1),
    "rank two alone, depth 2": lambda: alone((4, 4), 2, 2),
    "rank three alone, depth 1": lambda: alone((6, 6), 3, 1),
    "rank three alone, depth 2": lambda: alone((6, 6), 3, 2),
    "rank three alone, depth 3": lambda: alone((6, 6), 3, 3),
    "Frechet mean": mean,
}


def main() -> None:
    """Print the table."""
    print(" ratio   ms here  ms other or bound")
    for name, row in ROWS.items():
        print(f"{row()}  [{name}]", flush=True)


if __name__ == "__main__":
    main()
