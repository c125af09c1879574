"""Steps per second of many small chains on a GPU, by torch and jax, against the CPU by numpy.

100,000 chains of networks of width 8 and depth 3 follow the Riemannian Langevin equation of a
quadratic energy.  On the CPU one process per core has one BLAS thread.  Each library must give the
law of numpy's chains, by Kolmogorov-Smirnov tests of the norm of the network and of an entry.

Run ``python tests/benchmarks/accelerator.py``; without a GPU it says so and runs nothing, unless
``--device cpu`` asks for the same comparison on the CPU, with few chains, to try the script.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))

import numpy as np  # noqa: E402
from scipy import stats  # noqa: E402

from dlngeom import DeepLinearNetwork  # noqa: E402
from dlngeom._lib.vectors import parts, rebuild  # noqa: E402
from dlngeom.langevin import riemannian_langevin  # noqa: E402

ALPHA = 1e-5


def quadratic(W: Any) -> Any:
    """Gradient of half the squared norm; it does not ask for a library."""
    return W


def find(library: str, device: str) -> str | None:
    """Return a device of a library, if it is there."""
    if importlib.util.find_spec(library) is None:
        return None
    if library == "torch":
        import torch

        torch.set_num_threads(1)
        return device if device == "cpu" or torch.cuda.is_available() else None
    import jax

    jax.config.update("jax_enable_x64", True)
    kinds = {x.platform for x in jax.devices()}
    return device if device == "cpu" or "gpu" in kinds else None


def move(point: Any, library: str, device: str) -> Any:
    """Carry a point to a library and device."""
    if library == "numpy":
        return point
    if library == "torch":
        import torch

        return rebuild(point, [torch.as_tensor(np.array(x), device=device) for x in parts(point)])
    import jax

    place = jax.devices("cpu" if device == "cpu" else "gpu")[0]
    return rebuild(point, [jax.device_put(np.array(x), place) for x in parts(point)])


def to_numpy(x: Any) -> np.ndarray:
    """Bring an array back, once all that it waits for is done."""
    return np.asarray(x.cpu() if hasattr(x, "cpu") else x)


def run(point: Any, steps: int, options: argparse.Namespace, pool: Any = None) -> tuple[float, Any]:
    """Seconds of a run, and its last matrices and squared norms."""
    space = DeepLinearNetwork((options.width,) * (options.depth + 1))
    observe = {"W": Last(options.depth), "R2": Norm(options.depth)}
    begin = time.perf_counter()
    found = riemannian_langevin(
        space, point, energy_gradient=quadratic, beta=20.0, duration=1e-3 * steps, n_steps=steps,
        n_chains=options.chains, save_every=steps, rng=options.seed, pool=pool,
        observe=observe,
    ).observed  # fmt: skip
    values = {name: to_numpy(x)[:, -1] for name, x in found.items()}
    return time.perf_counter() - begin, values


class Last:
    """End-to-end matrix, as an object that processes can share."""

    def __init__(self, depth: int) -> None:
        self.depth = depth

    def __call__(self, x: Any) -> Any:
        """Dense matrices of Frames."""
        return (x.q[-1] * x.lam[..., None, :] ** self.depth) @ x.q[0].mT


class Norm(Last):
    """Squared norm of all layers."""

    def __call__(self, x: Any) -> Any:
        """Squared norms of Frames."""
        return self.depth * (x.lam**2).sum(-1)


def rate(point: Any, options: argparse.Namespace, pool: Any = None) -> tuple[float, Any]:
    """Steps of all chains per second, without what a run costs before its first step."""
    run(point, 1, options, pool)
    short, _ = run(point, 1, options, pool)
    long, values = run(point, options.steps + 1, options, pool)
    return options.steps / max(long - short, 1e-9), values


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--chains", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    libraries = [x for x in ("torch", "jax") if find(x, options.device)]
    if not libraries:
        print("no GPU here: not run")
        return
    space = DeepLinearNetwork((options.width,) * (options.depth + 1))
    point = space.random_point(0)
    point = point._replace(lam=np.linspace(1.5, 0.5, options.width))
    # A fork would copy the threads of jax.
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        base, expected = rate(point, options, pool)
    print(f"{options.chains} chains, width {options.width}, depth {options.depth}, float64")
    print(f"{1.0:8.2f}  {base:9.3g} steps/s  numpy, {options.workers} processes")
    for library in libraries:
        options.seed += 1
        speed, values = rate(move(point, library, options.device), options)
        tests = [
            stats.ks_2samp(values["R2"], expected["R2"]).pvalue,
            stats.ks_2samp(values["W"][:, 0, 0], expected["W"][:, 0, 0]).pvalue,
        ]
        verdict = "same law" if min(tests) > ALPHA / 2 else "ANOTHER LAW"
        print(f"{speed / base:8.2f}  {speed:9.3g} steps/s  {library} on {options.device}; "
              f"{verdict}, p = {', '.join(f'{p:.2g}' for p in tests)}")  # fmt: skip


if __name__ == "__main__":
    main()
