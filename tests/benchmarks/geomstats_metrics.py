"""Our metric and Brownian motion beside those of geomstats, on one BLAS thread.

Inner products for 100 matrices of size 100: on symmetric positive definite ones in units of its
Bures-Wasserstein metric, on general ones in units of batched SVDs.  Brownian motion of 1,000
chains of 3 x 3 matrices: its sampler in our coordinates, and ours, per step and chain.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
from geomstats.distributions.brownian_motion import BrownianMotion  # noqa: E402
from geomstats.geometry.spd_matrices import SPDBuresWassersteinMetric, SPDMatrices  # noqa: E402

from dlngeom.dln import EndToEndGeometry  # noqa: E402
from dlngeom.geomstats import DeepLinearCoordinates, DeepLinearMetric, EndToEndMatrices  # noqa: E402
from dlngeom.langevin import brownian_motion  # noqa: E402


def alternating(first: Callable[[], object], second: Callable[[], object], repeats: int):
    """Shortest times of two calls in turn, so that both share what else the machine does."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for kept, call in zip(times, (first, second), strict=True):
            start = time.perf_counter()
            call()
            kept.append(time.perf_counter() - start)
    return tuple(min(x) for x in times)


def inner_products(repeats: int) -> None:
    """Print the ratios of inner products."""
    size, rng = 100, np.random.default_rng(0)
    W, X, Y = rng.standard_normal((3, 100, size, size))
    P = W @ W.mT / size + np.eye(size)
    X, Y = X + X.mT, Y + Y.mT
    theirs = SPDMatrices(size).equip_with_metric(SPDBuresWassersteinMetric).metric
    for depth in (2, 3, 5):
        ours = SPDMatrices(size).equip_with_metric(DeepLinearMetric, depth=depth).metric
        a, b = alternating(
            lambda m=ours: m.inner_product(X, Y, P), lambda: theirs.inner_product(X, Y, P), repeats
        )
        print(f"SPD, depth {depth}: ratio {a / b:.3f} (limit 1), {1e3 * a:.0f} ms")
        general = EndToEndMatrices(size, size, size, depth).metric
        a, b = alternating(
            lambda m=general: m.inner_product(X, Y, W), lambda: np.linalg.svd(W), repeats
        )
        print(f"general, depth {depth}: ratio {a / b:.2f} (limit 1.5), {1e3 * a:.0f} ms")


def brownian_motions(chains: int, steps: int) -> None:
    """Print the ratio of two Brownian motions."""
    space, point = DeepLinearCoordinates(3, 3), np.diag([1.5, 1.2, 0.9])
    start = np.broadcast_to(space.to_vector(point), (chains, 9))
    step = 1e-4

    def theirs() -> None:
        BrownianMotion(space).sample_path(3 * step, 3, start)  # Two steps.

    def ours() -> None:
        brownian_motion(
            EndToEndGeometry(3, 3, 3, 3), point, duration=step * steps, n_steps=steps,
            beta=2.0, n_chains=chains, save_every=steps, rng=0,
        )  # fmt: skip

    a, b = alternating(theirs, ours, 2)
    a, b = a / 2 / chains, b / steps / chains
    print(
        f"Brownian motion: {1e6 * a:.0f} and {1e6 * b:.2f} us per step and chain, "
        f"ratio {a / b:.0f} (limit 100)"
    )


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    inner_products(options.repeats)
    brownian_motions(options.chains, options.steps)


if __name__ == "__main__":
    main()
