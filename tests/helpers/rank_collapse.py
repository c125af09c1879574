"""Runs of ``min |W - B|^2 / 2`` on ``EndToEnd``, and how they end."""

import warnings
from collections import Counter
from typing import NamedTuple

import numpy as np
import pymanopt
from pymanopt.optimizers import ConjugateGradient, TrustRegions

from dlngeom import dense, svd
from dlngeom.pymanopt import EndToEnd, ambient_direction

# And how many runs.
OPTIMIZERS = {"ConjugateGradient": (ConjugateGradient, 20), "TrustRegions": (TrustRegions, 8)}


class Case(NamedTuple):
    """Targets of one kind.

    Attributes
    ----------
    shape, rank : of the matrices that are searched
    own : rank of the target, or None
    decades : between its largest and its smallest singular value, or None
    """

    shape: tuple[int, int]
    rank: int
    own: int | None = None
    decades: float | None = None

    def target(self, seed):
        rng = np.random.default_rng(seed)
        if self.own is not None:
            return rng.standard_normal((self.shape[0], self.own)) @ rng.standard_normal(
                (self.own, self.shape[1])
            )
        B = rng.standard_normal(self.shape)
        if self.decades is not None:
            u, s, vt = np.linalg.svd(B, full_matrices=False)
            B = (u * np.logspace(0, -self.decades, s.size)) @ vt
        return B


CASES = {
    "6 x 5": Case((6, 5), 5),
    "5 x 5": Case((5, 5), 5),
    "5 x 5, condition 1000": Case((5, 5), 5, decades=3),
    "20 x 15 of rank 3, target of rank 15": Case((20, 15), 3),
    "20 x 15 of rank 3, target of rank 3": Case((20, 15), 3, own=3),
    "20 x 15 of rank 5, target of rank 3": Case((20, 15), 5, own=3),
}


def distance(manifold, target, seen=1.0):
    """``|seen (W - B)|^2 / 2``."""
    from_factors = pymanopt.function.numpy(manifold)
    return pymanopt.Problem(
        manifold,
        from_factors(lambda u, s, vt: np.sum(seen * ((u * s) @ vt - target) ** 2) / 2),
        euclidean_gradient=from_factors(lambda u, s, vt: seen**2 * ((u * s) @ vt - target)),
        euclidean_hessian=from_factors(lambda *x: seen**2 * dense(ambient_direction(x[:3], x[3:]))),
    )


def solved(optimizer, problem, start, **options):
    """Result of a run, and the number of warnings of collapse."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = optimizer(verbosity=0, **options).run(problem, initial_point=start)
    return result, sum("rank collapse" in str(w.message) for w in seen)


def start_of(kind, manifold, target):
    """Start: ``random``, random in the ``columns`` of the target, or ``aligned`` with it."""
    if kind == "aligned":
        return manifold.aligned_point(-target)
    x = manifold.random_point()
    if kind == "random":
        return x
    columns = np.linalg.svd(target, full_matrices=False)[0][:, : manifold.rank]
    turn = np.linalg.qr(x.u[: manifold.rank])[0]
    return type(x)(columns @ turn, x.s, x.vt)


def same_sign(start, target):
    """Whether the determinants of two square matrices of full rank have one sign."""
    return np.linalg.det(dense(start)) * np.linalg.det(target) > 0


def ending(result, warned, target, best=0.0):
    """One word: ``reached``, ``warned``, ``both``, ``unfinished`` as it says itself, ``silent``."""
    if result.cost - best <= max(1e-8, 1e-10 * np.sum(target**2)):
        return "both" if warned else "reached"
    if warned:
        return "warned"
    return "silent" if "grad norm" in result.stopping_criterion else "unfinished"


def endings(case, depth, optimizer, kind, seeds):
    """Counts of ``(ending, one sign)``, where the sign of square matrices is no obstacle."""
    counts = Counter()
    for k in seeds:
        B = case.target(k)
        manifold = EndToEnd(*case.shape, case.rank, depth, rng=k)
        start = start_of(kind, manifold, B)
        best = np.sum((B - dense(svd(B, case.rank))) ** 2) / 2
        square = case.rank == max(case.shape)
        result, warned = solved(optimizer, distance(manifold, B), start)
        counts[ending(result, warned, B, best), not square or bool(same_sign(start, B))] += 1
    return counts
