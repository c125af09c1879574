"""CPU seconds of a gradient flow against training the layers, at equal accuracy, one thread.

The problem: a 500 x 500 matrix of rank 5 with entries of unit variance, 10% of them observed,
three layers, a balanced start of rank 20 with ``|W| = 1e-2``, followed to the time where 1% of the
initial energy is left.  Every contender must know ``W(t)`` to 1e-3 relative at the end; each
baseline is the fastest of the explicit methods of ``solve_ivp`` and of several tolerances that
do.  Ratios are to ``dlngeom.flow.gradient_flow`` with a sparse residual.

Run ``python tests/benchmarks/flow.py``; ``--help`` lists the sizes.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))

import numpy as np  # noqa: E402
from scipy import sparse  # noqa: E402
from scipy.integrate import solve_ivp  # noqa: E402

from dlngeom import SVD, DeepLinearNetwork, dense  # noqa: E402
from dlngeom.flow import gradient_flow  # noqa: E402

ACCURACY = 1e-3
METHODS = {"RK23": (1e-3, 3e-4, 1e-4), "RK45": (1e-2, 3e-3, 1e-3), "DOP853": (1e-1, 1e-2, 3e-3)}


class Problem(NamedTuple):
    """Target, observed entries and start."""

    target: np.ndarray
    seen: np.ndarray
    start: SVD
    depth: int

    def masked_residual(self, W: np.ndarray) -> np.ndarray:
        """Energy gradient as a dense matrix."""
        return self.seen * (W - self.target)


class SparseResidual:
    """Energy gradient on the observed entries alone."""

    def __init__(self, problem: Problem) -> None:
        rows, columns = np.nonzero(problem.seen)
        self._flat = rows * problem.target.shape[1] + columns
        self._values = problem.target[rows, columns]
        shape = problem.target.shape
        self._matrix = sparse.csr_array((self._values.copy(), (rows, columns)), shape=shape)

    def of_product(self, left: np.ndarray, right: np.ndarray) -> sparse.csr_array:
        """Gradient at ``left @ right``."""
        self._matrix.data[:] = np.take(left @ right, self._flat) - self._values
        return self._matrix

    def __call__(self, W: SVD) -> sparse.csr_array:
        """Gradient at an SVD."""
        return self.of_product(W.u * W.s, W.vt)


def make_problem(size: int, rank: int, depth: int, seed: int) -> Problem:
    """Draw a target, the observed entries and a small balanced start."""
    rng = np.random.default_rng(seed)
    target = rng.standard_normal((size, 5)) @ rng.standard_normal((5, size)) / np.sqrt(5)
    seen = (rng.random((size, size)) < 0.1).astype(float)
    u, v = (np.linalg.qr(rng.standard_normal((size, rank)))[0] for _ in range(2))
    s = 1e-2 * np.sort(rng.uniform(0.5, 1, rank))[::-1]
    return Problem(target, seen, SVD(u, s * 1e-2 / s[0], v.T), depth)


def layers_of(start: SVD, depth: int, width: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Balanced layers of a given hidden width over the start."""
    lam = start.s ** (1 / depth)
    shape = (width, len(lam))
    inner = [np.linalg.qr(rng.standard_normal(shape))[0] for _ in range(depth - 1)]
    q = [start.vt.T, *inner, start.u]
    return [(high * lam) @ low.T for low, high in pairwise(q)]


class Training:
    """The flow of the layers as one flat vector, with a dense or a sparse residual."""

    def __init__(self, problem: Problem, layers: list[np.ndarray], sparse_residual: bool) -> None:
        self._problem, self._shapes = problem, [x.shape for x in layers]
        self._residual = SparseResidual(problem) if sparse_residual else None
        self.start = np.concatenate([x.ravel() for x in layers])

    def layers(self, y: np.ndarray) -> list[np.ndarray]:
        """Layers of a flat vector."""
        ends = np.cumsum([a * b for a, b in self._shapes])[:-1]
        return [x.reshape(s) for x, s in zip(np.split(y, ends), self._shapes, strict=True)]

    def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
        """Rates of the layers."""
        layers = self.layers(y)
        above = [layers[-1]]
        for layer in layers[-2:0:-1]:
            above.insert(0, above[0] @ layer)
        if self._residual is None:
            G = self._problem.masked_residual(above[0] @ layers[0])
        else:
            G = self._residual.of_product(above[0], layers[0])
        rates = [(G.T @ above[0]).T]
        below = G @ layers[0].T
        for factor, layer in zip(above[1:], layers[1:-1], strict=True):
            rates.append(factor.T @ below)
            below = below @ layer.T
        return -np.concatenate([x.ravel() for x in (*rates, below)])

    def product(self, y: np.ndarray) -> np.ndarray:
        """End-to-end matrix."""
        return np.linalg.multi_dot(self.layers(y)[::-1])


class Row(NamedTuple):
    """What a contender needed."""

    name: str
    seconds: float
    evaluations: float
    error: float
    how: str


def reference(problem: Problem) -> tuple[float, np.ndarray]:
    """Time where 1% of the energy is left, and the matrix then, at a tight tolerance."""
    initial = np.sum(problem.masked_residual(dense(problem.start)) ** 2)

    def fitted(t: float, W: SVD) -> float:
        return float(np.sum(problem.masked_residual(dense(W)) ** 2) / initial - 0.01)

    fitted.terminal = True  # type: ignore[attr-defined]
    options = {"rtol": 1e-9, "events": fitted, "observe": {}}
    run = gradient_flow(
        space_of(problem), problem.start, SparseResidual(problem), [0, 1e3], **options
    )
    times, points = run.events[0]
    return float(times[0]), dense(SVD(*(x[0, 0] for x in points)))


def space_of(problem: Problem, depth: int | None = None) -> DeepLinearNetwork:
    """Smallest network over the start."""
    rank, size = problem.start.vt.shape
    return DeepLinearNetwork((size, *[rank] * ((depth or problem.depth) - 1), size), rank)


def best(candidates: list[Callable[[], Row]], repeats: int) -> Row:
    """Fastest candidate that is accurate enough, timed again."""
    rows = [(run(), run) for run in candidates]
    accurate = [(row, run) for row, run in rows if row.error <= ACCURACY]
    _, run = min(accurate, key=lambda pair: pair[0].seconds)
    return min((run() for _ in range(repeats)), key=lambda row: row.seconds)


def ours(problem: Problem, end: float, W: np.ndarray) -> list[Callable[[], Row]]:
    """Runs of this library with its default method."""

    def run(rtol: float) -> Row:
        residual, calls = SparseResidual(problem), [0]

        def gradient(X: SVD) -> sparse.csr_array:
            calls[0] += 1
            return residual(X)

        options = {"rtol": rtol, "atol": 1e-2 * rtol, "observe": {}}
        begin = time.process_time()
        run = gradient_flow(space_of(problem), problem.start, gradient, [0, end], **options)
        seconds = time.process_time() - begin
        last = dense(SVD(*(x[0, -1] for x in run.points)))
        return Row("dlngeom", seconds, calls[0], relative(last, W), f"rtol {rtol:g}")

    return [lambda rtol=rtol: run(rtol) for rtol in (1e-2, 3e-3, 1e-3)]


def training(name: str, task: Training, end: float, W: np.ndarray) -> list[Callable[[], Row]]:
    """Runs of ``solve_ivp`` on the layers."""

    def run(method: str, rtol: float, share: float) -> Row:
        begin = time.process_time()
        with np.errstate(all="ignore"):
            options = {"method": method, "rtol": rtol, "atol": share * rtol, "t_eval": [end]}
            solution = solve_ivp(task, (0, end), task.start, **options)
        seconds = time.process_time() - begin
        error = relative(task.product(solution.y[:, -1]), W)
        return Row(name, seconds, solution.nfev, error, f"{method}, rtol {rtol:g}")

    grid = [
        (m, rtol, share) for m, rtols in METHODS.items() for rtol in rtols for share in (0.1, 0.01)
    ]
    return [lambda case=case: run(*case) for case in grid]


def euler(task: Training, end: float, W: np.ndarray, steps: int) -> Row:
    """Explicit Euler: its error falls like one over the steps, so both are scaled."""
    y, h = task.start.copy(), end / steps
    begin = time.process_time()
    for _ in range(steps):
        y += h * task(0.0, y)
    seconds = time.process_time() - begin
    needed = steps * relative(task.product(y), W) / ACCURACY
    how = f"scaled from {steps} steps"
    return Row("explicit Euler, width 20", seconds / steps * needed, needed, ACCURACY, how)


def wide(problem: Problem, width: int, evaluations: float) -> Row:
    """Training at full width, a few evaluations scaled: its flow is the same."""
    layers = layers_of(problem.start, problem.depth, width, np.random.default_rng(2))
    task, count = Training(problem, layers, False), 10
    begin = time.process_time()
    for _ in range(count):
        task(0.0, task.start)
    each = (time.process_time() - begin) / count
    how = f"scaled from {count} evaluations"
    return Row(
        f"solve_ivp on the layers, width {width}", each * evaluations, evaluations, np.nan, how
    )


def relative(X: np.ndarray, W: np.ndarray) -> float:
    """Relative error, infinite where there is no number."""
    error = float(np.linalg.norm(X - W) / np.linalg.norm(W))
    return error if np.isfinite(error) else np.inf


def depth_sweep(problem: Problem, depths: tuple[int, ...], count: int) -> dict[int, float]:
    """Milliseconds of one evaluation of the field downstairs, energy included, by depth."""
    fields = {}
    for depth in depths:
        equation = space_of(problem, depth).base.gradient_flow(
            problem.start, SparseResidual(problem)
        )
        fields[depth] = equation
    cost = dict.fromkeys(depths, np.inf)
    for _ in range(5):
        for depth, equation in fields.items():
            begin = time.process_time()
            for _ in range(count):
                equation.rates(equation.start)
            cost[depth] = min(cost[depth], (time.process_time() - begin) / count * 1e3)
    return cost


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--euler-steps", type=int, default=20_000)
    arguments = parser.parse_args()
    problem = make_problem(arguments.size, arguments.rank, arguments.depth, arguments.seed)
    end, W = reference(problem)
    print(f"1% of the energy is left at t = {end:.5g}")
    layers = layers_of(problem.start, problem.depth, arguments.rank, np.random.default_rng(1))
    dense_task, sparse_task = (Training(problem, layers, flag) for flag in (False, True))
    width = f"width {arguments.rank}"
    rows = [
        best(ours(problem, end, W), arguments.repeats),
        best(training(f"solve_ivp on the layers, {width}", dense_task, end, W), arguments.repeats),
        best(training("the same, sparse residual", sparse_task, end, W), arguments.repeats),
    ]
    rows.append(wide(problem, arguments.size, rows[1].evaluations))
    rows.append(euler(dense_task, end, W, arguments.euler_steps))
    print(f"{'ratio':>8}  {'seconds':>8}  {'calls':>7}  {'error':>8}  contender")
    for row in rows:
        error = "the same" if np.isnan(row.error) else f"{row.error:8.1e}"
        print(f"{row.seconds / rows[0].seconds:8.2f}  {row.seconds:8.3g}  {row.evaluations:7.0f}  "
              f"{error}  {row.name} ({row.how})")  # fmt: skip
    cost = depth_sweep(problem, (2, 3, 4, 8, 16, 32, 64), 100)
    print("\nmilliseconds of one evaluation downstairs, by depth:")
    print("  ".join(f"{depth}: {value:.3f}" for depth, value in cost.items()))
    print(f"slowest over fastest: {max(cost.values()) / min(cost.values()):.2f}")


if __name__ == "__main__":
    main()
