"""Everyday sizes on jax arrays, compiled, against the same call with numpy arrays, on one core.

Each row is the CPU time with jax over that with numpy, the best of several runs that take turns,
and the seconds of the first call, which compiles.  Run it under ``taskset -c 0``: jax has no
option that keeps it to one core.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from functools import partial
from time import process_time
from typing import Any, NamedTuple

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import jax  # noqa: E402
import numpy as np  # noqa: E402

from dlngeom import DeepLinearNetwork  # noqa: E402
from dlngeom._lib.vectors import parts, rebuild  # noqa: E402
from dlngeom.flow import gradient_flow  # noqa: E402
from dlngeom.langevin import brownian_motion, riemannian_langevin  # noqa: E402

jax.config.update("jax_enable_x64", True)

TARGET = np.diag([2.0, 1.0])


class Row(NamedTuple):
    """Seconds of CPU time of one unit of work with jax and numpy, and of the first call."""

    there: float
    here: float
    first: float

    def __str__(self) -> str:
        times = f"{1e3 * self.there:9.3f} {1e3 * self.here:9.3f} {self.first:9.1f}"
        return f"{self.there / self.here:6.3f} {times}"


Case = tuple[str, Callable[[int], Row]]
Run = Callable[[Any, Any], Any]


def on_jax(value: Any) -> Any:
    """Arrays of jax."""
    return rebuild(value, [jax.numpy.asarray(x) for x in parts(value)])


def seconds(call: Callable[[], Any]) -> float:
    """CPU time until all results are there."""
    begin = process_time()
    jax.block_until_ready(parts(call()))
    return process_time() - begin


def compared(run: Run, start: Any, units: int, repeats: int) -> Row:
    """Run with both libraries in turn; a run takes a start and the target of its energy."""
    there, here = partial(run, on_jax(start), on_jax(TARGET)), partial(run, start, TARGET)
    first = seconds(there)
    seconds(here)
    pairs = [(seconds(there), seconds(here)) for _ in range(repeats)]
    best = (min(column) / units for column in zip(*pairs, strict=True))
    return Row(*best, first)


def langevin_rows() -> Iterator[Case]:
    """Steps upstairs of widths (2,2,2,2), saved at the end or each; times are those of one step."""
    for chains, steps in ((1, 2000), (64, 500), (1000, 60)):
        for save_every in (steps, 1):
            name = f"RLE step, {chains} chains, saved every {save_every}"
            yield name, partial(langevin_row, chains, steps, save_every)


def langevin_row(chains: int, steps: int, save_every: int, repeats: int) -> Row:
    """Steps with an energy and unequal noises."""
    space = DeepLinearNetwork((2, 2, 2, 2))

    def run(start: Any, target: Any) -> Any:
        return riemannian_langevin(
            space, start, energy_gradient=lambda W: W - target, beta=4.0, kappa=0.5,
            duration=1e-3 * steps, n_steps=steps, rng=0, n_chains=chains, save_every=save_every,
        ).points  # fmt: skip

    return compared(run, space.random_point(3), steps, repeats)


def brownian_rows() -> Iterator[Case]:
    """Steps of Brownian motion downstairs, of 3 x 3 matrices."""
    for chains, steps in ((1, 2000), (64, 500), (1000, 60)):
        name = f"Brownian step, {chains} chains"
        yield name, partial(brownian_row, chains, steps)


def brownian_row(chains: int, steps: int, repeats: int) -> Row:
    """Steps downstairs at depth 3."""
    space = DeepLinearNetwork((3, 3, 3, 3))

    def run(start: Any, _: Any) -> Any:
        return brownian_motion(
            space, start, duration=1e-3 * steps, n_steps=steps, rng=0, n_chains=chains,
            save_every=steps,
        ).points  # fmt: skip

    return compared(run, space.project(space.random_point(3)), steps, repeats)


def flow_rows() -> Iterator[Case]:
    """Flows of 2 x 2 matrices downstairs to two saved times; times are those of a flow."""
    for depth in (2, 3):
        for chains in (1, 200):
            yield f"flow N={depth}, {chains} chains", partial(flow_row, depth, chains)


def flow_row(depth: int, chains: int, repeats: int) -> Row:
    """Flow from small starts, at tight tolerances."""
    space = DeepLinearNetwork((2,) * (depth + 1))
    start = 1e-2 * np.random.default_rng(0).normal(size=(chains, 2, 2))
    t = np.linspace(0, 10, 2)

    def run(start: Any, target: Any) -> Any:
        return gradient_flow(
            space, start, lambda W: W - target, t, rtol=1e-8, atol=1e-10, observe={}
        ).points

    return compared(run, start, 1, repeats)


TABLES: dict[str, Callable[[], Iterator[Case]]] = {
    "langevin": langevin_rows,
    "brownian": brownian_rows,
    "flow": flow_rows,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", default=list(TABLES))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for table in options.tables:
        print(f"{table:40} {'ratio':>6} {'jax ms':>9} {'numpy ms':>9} {'first s':>9}")
        for case, measure in TABLES[table]():
            print(f"{case:40} {measure(options.repeats)}", flush=True)


if __name__ == "__main__":
    main()
