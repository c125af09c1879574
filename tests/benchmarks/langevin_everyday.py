"""Steps of the Riemannian Langevin equation, in decompositions of LAPACK that they could be."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from _rows import Case, Row, fastest

from dlngeom import DeepLinearNetwork
from dlngeom.langevin import riemannian_langevin

__all__ = ["langevin_rows"]

# Widths and chains; how often the decomposition is repeated; whether it is of all chains.
RUNS = (((2, 2, 2, 2), 1, 1000, False), ((2, 2, 2, 2), 64, 1000, False),
        ((10, 10, 10, 10), 1000, 3, True))  # fmt: skip
DURATION = 2.5e-4


def langevin_rows() -> Iterator[Case]:
    """One step of all chains upstairs, with the gradient of a quadratic energy."""
    for widths, chains, repeated, whole in RUNS:
        floor = "one batched SVD" if whole else "SVDs of one 2 x 2 matrix"
        name = f"RLE step {widths[0]}^{len(widths)} chains={chains}"
        yield name, partial(_row, widths, chains, repeated, whole, floor)


def _row(
    widths: tuple[int, ...],
    chains: int,
    repeated: int,
    whole: bool,
    floor: str,
    options: argparse.Namespace,
) -> Row:
    space = DeepLinearNetwork(widths)
    start = space.random_point(0)
    size = chains if whole else 1
    matrices = np.random.default_rng(0).standard_normal((size, widths[0], widths[0]))
    n_steps = 10 if whole else 200

    def run(steps: int) -> Callable[[], object]:
        return lambda: riemannian_langevin(
            space, start, energy_gradient=lambda W: W, beta=10.0, kappa=1.0, rng=0,
            duration=DURATION * steps, n_steps=steps, n_chains=chains, save_every=steps, observe={}
        )  # fmt: skip

    def decompose() -> None:
        for _ in range(repeated):
            np.linalg.svd(matrices)

    long, short, svd = fastest(run(n_steps + 1), run(1), decompose, repeats=options.repeats)
    return Row((long - short) / n_steps, svd / repeated, floor)
