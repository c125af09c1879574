"""Cost of a step of the Riemannian Langevin equation, in singular value decompositions.

One step for 1,000 chains of networks of widths (10, 10, 10, 10) is compared with batched SVDs of
the same 1,000 matrices of size 10 x 10, and one process with a pool of two.  It prints ratios.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402

from dlngeom import DeepLinearNetwork  # noqa: E402
from dlngeom.langevin import riemannian_langevin  # noqa: E402

TARGET = np.random.default_rng(1).standard_normal((10, 10))


def gradient(W: np.ndarray) -> np.ndarray:
    """Gradient of a quadratic energy."""
    return W - TARGET


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Shortest time of several calls, since others only add to it."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def run(kappa: float, steps: int, pool: ProcessPoolExecutor | None = None) -> None:
    """Simulate 1,000 chains."""
    space = DeepLinearNetwork((10, 10, 10, 10))
    riemannian_langevin(
        space, space.random_point(0), energy_gradient=gradient, beta=10.0, kappa=kappa,
        duration=1e-4 * steps, n_steps=steps, n_chains=1000, save_every=steps, rng=2, pool=pool,
    )  # fmt: skip


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    matrices = np.random.default_rng(0).standard_normal((1000, 10, 10))
    for kappa in (1.0, 0.5):
        # Alternating measurements share what else the machine does.
        svds, steps = [], []
        for _ in range(options.repeats):
            svds.append(seconds(lambda: np.linalg.svd(matrices), 3))
            whole = seconds(lambda k=kappa: run(k, options.steps + 1), 1)
            start = seconds(lambda k=kappa: run(k, 1), 1)
            steps.append((whole - start) / options.steps)
        svd, step = min(svds), min(steps)
        print(
            f"kappa {kappa}: a step {1e3 * step:.1f} ms, an SVD {1e3 * svd:.1f} ms, "
            f"ratio {step / svd:.2f} (limit 3)"
        )
    with ProcessPoolExecutor(2) as pool:
        run(1.0, 1, pool)
        long = 10 * options.steps
        one = seconds(lambda: run(1.0, long), 2)
        two = seconds(lambda: run(1.0, long, pool), 2)
    print(f"{one:.2f} s alone, {two:.2f} s in a pool of two: {one / two:.2f} times (limit 1.7)")


if __name__ == "__main__":
    main()
