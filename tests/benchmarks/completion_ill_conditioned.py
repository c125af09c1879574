"""Seconds to complete an ill-conditioned matrix without noise, on one BLAS thread.

By default 2000 x 2000 of rank 10, 10% observed, singular values geometric from 100 to 1.  The
baseline is pymanopt's ``FixedRankEmbedded`` with ConjugateGradient, which is told the rank and
starts at the truncated SVD of the data; it, too, gets the sparse kernels.  Contenders:

* ``DLNCompletion``, told no rank, at several depths;
* alternating least squares at the true rank without any penalty, from the truncated SVD;
* conjugate gradients and trust regions under the metric of depth three, at the true rank, from
  the truncated SVD.

Run ``python tests/benchmarks/completion_ill_conditioned.py``; ``--help`` lists the sizes.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"))

import numpy as np
import pymanopt
from pymanopt.manifolds import FixedRankEmbedded
from pymanopt.optimizers import ConjugateGradient, TrustRegions
from scipy import sparse

from dlngeom.completion import DLNCompletion
from dlngeom.completion._observed import Observed, entries
from dlngeom.completion._regression import ridge_rows
from dlngeom.points import SVD
from dlngeom.pymanopt import EndToEnd, Point, ambient_direction


class Loss:
    """Half the squared residual on the observed entries, with the residual kept per point."""

    def __init__(self, observed: Observed) -> None:
        self.observed = observed
        self.at = self.residual = None

    def move(self, u, s, vt):
        """Residual at a point."""
        if self.at is not u:
            right = np.ascontiguousarray(vt.T)
            self.at, self.residual = u, self.observed.residual(u * s, right)
        return self.residual

    def cost(self, u, s, vt):
        """Half its squared norm."""
        return 0.5 * float(np.sum(self.move(u, s, vt).data ** 2))

    def factor_gradient(self, u, s, vt):
        """Derivatives in the factors, the form that ``FixedRankEmbedded`` takes."""
        G = self.move(u, s, vt)
        Gv = G @ vt.T
        return Gv * s, np.sum(u * Gv, axis=0), s[:, None] * (G.T @ u).T

    def hessian(self, u, s, vt, du, ds, dvt):
        """Direction on the observed entries."""
        U, _, V = ambient_direction((u, s, vt), (du, ds, dvt))
        rows, columns = self.observed.rows, self.observed.columns
        return self.observed.with_values(entries(U, V, rows, columns))


def problem(size: int, rank: int, part: float, condition: float, seed: int):
    """Truth and observed entries."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=(size, rank)))[0] for _ in range(2))
    truth = SVD(u, np.geomspace(condition, 1, rank), v.T)
    rows, columns = np.nonzero(rng.random((size, size)) < part)
    values = entries(u * truth.s, v, rows, columns)
    observed = sparse.csr_array((values, (rows, columns)), shape=(size, size))
    return truth, Observed(observed)


def relative_error(left, right, truth: SVD) -> float:
    """Frobenius distance over the norm of the truth, from two thin QRs."""
    a = np.linalg.qr(np.concatenate([left, -truth.u * truth.s], axis=1))[1]
    b = np.linalg.qr(np.concatenate([right, truth.vt.T], axis=1))[1]
    return float(np.linalg.norm(a @ b.T) / np.linalg.norm(truth.s))


def spectral_start(observed: Observed, rank: int, part: float) -> Point:
    """Truncated SVD of the data over the observed part."""
    u, s, vt = sparse.linalg.svds(observed.matrix, rank, random_state=0)
    return Point(u[:, ::-1].copy(), s[::-1] / part, vt[::-1].copy())


def pymanopt_run(manifold, observed, start, optimizer, **extra):
    """Run an optimizer; return the factors of the last point and its iterations."""
    loss, wrap = Loss(observed), pymanopt.function.numpy(manifold)
    derivatives = {"euclidean_gradient": wrap(loss.factor_gradient)}
    if isinstance(manifold, EndToEnd):
        derivatives = {
            "euclidean_gradient": wrap(loss.move),
            "euclidean_hessian": wrap(loss.hessian),
        }
    cost = pymanopt.Problem(manifold, wrap(loss.cost), **derivatives)
    done = optimizer.run(cost, initial_point=start, **extra)
    u, s, vt = done.point
    return u * s, vt.T, done.iterations


def alternating(observed: Observed, start: Point, sweeps: int):
    """Plain alternating least squares."""
    left, right, none = start.u, start.vt.T, np.full(len(start.s), 1e-13)
    for _ in range(sweeps):
        left = np.linalg.qr(ridge_rows(observed, np.ascontiguousarray(right), none))[0]
        right = np.linalg.qr(ridge_rows(observed.transposed, left, none))[0]
    return ridge_rows(observed, right, none), right, sweeps


def estimator(observed: Observed, depth: int, tol: float, seed: int):
    """Fit of the transformer."""
    model = DLNCompletion(depth=depth, biases=False, tol=tol, random_state=seed)
    model.fit(observed.matrix)
    return model.row_factors_, model.components_.T, model.n_iter_


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("--rank", type=int, default=10)
    parser.add_argument("--part", type=float, default=0.1, help="observed")
    parser.add_argument("--condition", type=float, default=100.0)
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    for seed in range(options.seeds):
        compare(options, seed)


def compare(options: argparse.Namespace, seed: int) -> None:
    """One seed."""
    n, k = options.size, options.rank
    truth, observed = problem(n, k, options.part, options.condition, seed)
    start = spectral_start(observed, k, options.part)
    limits = {"max_time": np.inf, "min_gradient_norm": 1e-14, "verbosity": 0}
    limits["max_iterations"] = options.iterations
    gradients = ConjugateGradient(min_step_size=0.0, **limits)
    embedded, deep = FixedRankEmbedded(n, n, k), EndToEnd(n, n, k, 3)
    runs = {
        "FixedRankEmbedded, CG": lambda: pymanopt_run(embedded, observed, start, gradients),
        "DLNCompletion, depth 3": lambda: estimator(observed, 3, 1e-8, seed),
        "DLNCompletion, depth 4": lambda: estimator(observed, 4, 1e-8, seed),
        "DLNCompletion, depth 2": lambda: estimator(observed, 2, 1e-8, seed),
        "alternating, rank known": lambda: alternating(observed, start, 60),
        "depth 3, CG": lambda: pymanopt_run(deep, observed, start, gradients),
        "depth 3, trust regions": lambda: pymanopt_run(
            deep, observed, start, TrustRegions(**{**limits, "max_iterations": 40}), maxinner=60
        ),
    }
    print(f"{n} x {n}, rank {k}, {len(observed.values)} entries, seed {seed}")
    print(f"{'time / baseline':>15}{'relative error':>16}{'seconds':>9}{'iterations':>12}  method")
    baseline = 0.0
    for name, run in runs.items():
        begin = time.perf_counter()
        with np.errstate(all="ignore"):
            left, right, iterations = run()
        seconds = time.perf_counter() - begin
        baseline = baseline or seconds
        error = relative_error(left, right, truth)
        print(f"{seconds / baseline:15.3f}{error:16.2e}{seconds:9.2f}{iterations:12d}  {name}")


if __name__ == "__main__":
    main()
