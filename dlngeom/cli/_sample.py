"""``dlngeom sample``: sample the posterior of a low-rank matrix, and write its mean and spread."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from dlngeom import completion, plotting
from dlngeom._lib import checks
from dlngeom._lib.arrays import NumpyArray
from dlngeom._lib.trajectory import Trajectory
from dlngeom.cli import _files, _posterior, _tasks
from dlngeom.cli._posterior import PosteriorModel, PosteriorRun, Problem, Summary
from dlngeom.cli._tasks import Task
from dlngeom.completion import Completion, _complete, _observed
from dlngeom.completion._biases import Biases, biases_of_kind, column_deviations
from dlngeom.completion._descent import leading
from dlngeom.completion._losses import rmse
from dlngeom.dln import DeepLinearNetwork
from dlngeom.points import Frames

__all__ = ["run"]

MAX_ITERATIONS = 500
MAX_RANK = 20
MIN_STEPS = 40
# More would take months.
MAX_STEPS = 10**9
CHAINS = 64
# Numbers in the dense matrices of all chains: by default, and at most, half a gigabyte.
NUMBERS, MAX_NUMBERS = 2**22, 2**26
# Draws of all chains together, numbers in their networks, and in their dense matrices.
MAX_DRAWS, MAX_FRAMES, MAX_ENTRIES = 2**12, 2**26, 2**29
# Chains whose R-hat is larger have not mixed.
MIXED = 1.1
# Steps, in those after which the slowest singular value forgets where it was, that chains need.
ENOUGH = 30
# Columns whose deviations have this ratio may be in different units.
DIFFERENT = 5.0
# Matrices in the file of draws, and numbers in them.
FILED, MAX_FILED = 200, 2**23


class Outcome(NamedTuple):
    """What the command found, in the units of the problem.

    Attributes
    ----------
    problem : Problem
    point : Completion
        Point estimate that the chains start from.
    model : Model
    trajectory : Trajectory
        After the burn-in.
    draws : Frames
        Those of all chains in one batch.
    entries : Summary
    step : float
        Time of a step.
    """

    problem: Problem
    point: Completion
    model: PosteriorModel
    trajectory: Trajectory
    draws: Frames
    entries: Summary
    step: float

    def in_units(self, values: NumpyArray) -> NumpyArray:
        """Undo the scaling and the biases."""
        return np.asarray(self.problem.biases.matrix() + self.problem.scale * values)


def run(options: argparse.Namespace) -> None:
    """Carry out the command.

    Raises
    ------
    ValueError, OSError
        If the input or an option is not valid; the message is one line, and nothing is written.
    """
    _check_counts(options)
    _tasks.check_depth(options.depth)
    began, task = time.perf_counter(), _tasks.load(options)
    chains = _chains(options.chains, task.values.shape)
    with _tasks.limited_threads(task.values.size):
        if options.rank is not None:
            rank = _complete.rank_cap(options.rank, task.values.shape)
            _require_small(chains, rank, options.depth, task.values.shape)
        names = (
            f"{x}{suffix}"
            for x in ("mean", "quantile-05", "quantile-95")
            for suffix in (task.suffix, ".npy")
        )
        _files.require_other_file(options.input, options.output, (*names, "figure.png"))
        rng = _tasks.generator(options.seed)
        task = _tasks.hide(task, options.missing, rng)
        with _files.open_folder(options.output):
            outcome = _sample(task, chains, rng, options)
            print(_report(task, outcome))
            _write(task, outcome, options.output)
    print(f"Time: {time.perf_counter() - began:.1f} seconds")


def _check_counts(options: argparse.Namespace) -> None:
    checks.integer("steps", options.steps, MIN_STEPS)
    if options.steps > MAX_STEPS:
        raise ValueError(
            f"steps={options.steps}: at most {MAX_STEPS:,} are taken, give fewer --steps"
        )
    if options.chains is not None:
        checks.integer("chains", options.chains, 1)


def _chains(chosen: int | None, shape: tuple[int, ...]) -> int:
    size = math.prod(shape)
    chains = min(CHAINS, max(4, NUMBERS // size)) if chosen is None else chosen
    if chains * size > MAX_NUMBERS:
        raise ValueError(
            f"{chains} chains of {shape[0]} x {shape[1]} matrices are {chains * size:,} numbers, "
            f"and more than {MAX_NUMBERS:,} are not sampled: give a smaller matrix or fewer chains"
        )
    return chains


def _require_small(chains: int, rank: int, depth: int, shape: tuple[int, ...]) -> None:
    """Refuse networks of all chains that are too large, before they are allocated."""
    numbers = chains * rank * (sum(shape) + (depth - 1) * rank + 1)
    if numbers > MAX_FRAMES:
        raise ValueError(
            f"{chains} chains of networks of depth {depth} and rank {rank} are {numbers:,} numbers "
            f"({8 * numbers / 2**30:.3g} GiB), and more than {MAX_FRAMES:,} are not sampled: give "
            "fewer --chains, or a smaller --depth or --rank"
        )


def _sample(
    task: Task, chains: int, rng: np.random.Generator, options: argparse.Namespace
) -> Outcome:
    problem, point = _point_estimate(task, rng, options)
    rest = (point.predicted - problem.biases.matrix()) / problem.scale
    rank = options.rank
    if rank is None:
        rank = _rank(problem.scale * np.linalg.svd(rest, compute_uv=False), point, task)
    _require_small(chains, rank, options.depth, task.values.shape)
    model = _model(problem, point, rank, options)
    # The completion may have found fewer directions than the networks have.
    at = leading(rest, rank, options.seed)
    frames = _posterior.start(model, at, chains, rng)
    step = options.step_size * _posterior.step_limit(frames)
    print(_describe(task, problem, model, chains, options), flush=True)
    burn_in = round(options.burn_in * options.steps)
    seeds = [int(seed) for seed in rng.integers(2**63, size=2)]
    before = PosteriorRun(max(burn_in, 1), step, 40, seeds[0], {})
    model, frames = _posterior.warm_up(model, frames, before, estimate=options.beta is None)
    more = {} if options.checkpoint is None else {"checkpoint": options.checkpoint}
    after = PosteriorRun(
        max(options.steps - burn_in, 1), step, _count(frames, model), seeds[1], more
    )
    trajectory = _posterior.simulate(model, frames, after)
    draws = _posterior.flat(trajectory.points)
    truth = np.where(task.test, (task.truth - problem.biases.matrix()) / problem.scale, np.nan)
    entries = _posterior.summary(draws, truth, model.noise)
    return Outcome(problem, point, model, trajectory, draws, entries, step)


def _point_estimate(
    task: Task, rng: np.random.Generator, options: argparse.Namespace
) -> tuple[Problem, Completion]:
    """Complete with the biases that predict held-out entries best, and columns on one scale."""
    cap = min(MAX_RANK, *task.values.shape) if options.rank is None else options.rank
    seed = int(rng.integers(2**31))
    _require_rest(task)
    with tqdm(unit="step", desc="completion") as bar:
        # One noise level for all entries: columns stay on one scale.
        point = completion.complete(
            task.visible, rank=cap, depth=options.depth, scale=False,
            max_iterations=MAX_ITERATIONS, rng=seed, report=lambda step: bar.update(),
        )  # fmt: skip
    return _posterior.problem_of(task.visible, _biases(point, task)), point


def _biases(point: Completion, task: Task) -> Biases:
    """Biases of the completion, or means of its columns where that leaves one direction less."""
    if point.kind != "none":
        return point.biases
    # A large mean among the directions slows all others, and observed means are less exact.
    columns = point.predicted.mean(axis=0)
    rest = np.linalg.svd(point.predicted - columns, compute_uv=False)
    if _rank(rest, point, task) >= _rank(np.asarray(point.point.s), point, task):
        return point.biases
    return Biases(0.0, np.zeros(len(point.predicted)), columns)


def _require_rest(task: Task) -> None:
    seen = ~np.isnan(task.visible)
    biases = _complete.fit_biases(task.visible, seen).matrix()
    if rmse(task.visible - biases, seen) <= 1e-12 * rmse(task.visible, seen):
        raise ValueError(
            f"biases of rows and columns explain {task.name} without noise: nothing to sample"
        )


def _rank(s: NumpyArray, point: Completion, task: Task) -> int:
    """Count the singular values that stand out from the noise of a completion."""
    # Largest singular value of a noise matrix, divided by the root of the observed fraction.
    m, n = task.values.shape
    seen = np.mean(~np.isnan(task.visible))
    edge = point.held_out * (math.sqrt(m) + math.sqrt(n)) / math.sqrt(seen)
    return max(1, int(np.sum(s > edge)))


def _model(
    problem: Problem, point: Completion, rank: int, options: argparse.Namespace
) -> PosteriorModel:
    m, n = problem.values.shape
    space = DeepLinearNetwork((n, *(rank,) * (options.depth - 1), m), rank)
    mask = (~np.isnan(problem.values)).astype(np.float64)
    if options.beta is not None:
        noise = math.sqrt(options.kappa / options.beta) / problem.scale
    else:
        size = rmse(problem.data, mask > 0)
        noise = max(point.held_out / problem.scale, _posterior.SMALLEST_NOISE * size)
    return PosteriorModel(space, problem.data, mask, noise, options.kappa)


def _count(frames: Frames, model: PosteriorModel) -> int:
    """Limit the draws of each chain by memory, and by the time of their quantiles."""
    chains, size = frames.lam.shape[0], model.data.size
    numbers = sum(math.prod(x.shape) for x in (frames.lam, *frames.q))
    limits = (MAX_DRAWS // chains, MAX_FRAMES // numbers, MAX_ENTRIES // (chains * size))
    return max(4, min(limits))


def _describe(
    task: Task, problem: Problem, model: PosteriorModel, chains: int, options: argparse.Namespace
) -> str:
    m, n = task.values.shape
    seen = ~np.isnan(task.visible)
    few = [int(np.sum(seen.sum(axis=axis) < model.space.rank)) for axis in (1, 0)]
    rows, columns = (bool(x.any()) for x in (problem.biases.rows, problem.biases.columns))
    removed = "biases removed" if rows else "means of columns removed" if columns else "biases kept"
    lines = [
        f"{task.name}: {m} x {n}, {np.isnan(task.values).mean():.1%} missing, {removed}, "
        f"seed {options.seed}",
        f"depth {options.depth}, rank {model.space.rank}, {chains} chains of {options.steps} steps",
    ]
    if _differ(task.visible):
        lines.append(
            "deviations of columns differ much, and the noise has one level for all entries: if "
            "units differ,\ndivide each column by its deviation first"
        )
    if any(few):
        lines.append(
            f"{few[0]} rows and {few[1]} columns have fewer observed entries than the rank: "
            "their intervals are mostly those of the prior"
        )
    return "\n".join(lines)


def _differ(values: NumpyArray) -> bool:
    """Whether deviations of columns have a ratio that makes a common noise level doubtful."""
    observed = _observed.observed_entries(values)
    found = column_deviations(observed, biases_of_kind(observed, "columns", 0.0))
    return bool(np.max(found) > DIFFERENT * np.min(found, where=found > 0, initial=np.inf))


def _report(task: Task, outcome: Outcome) -> str:
    model, scale, test = outcome.model, outcome.problem.scale, task.test
    truth, entries = np.where(test, task.truth, 0.0), outcome.entries
    errors = [outcome.in_units(entries.mean) - truth, outcome.point.predicted - truth]
    mean, point = (rmse(error, test) for error in errors)
    levels, below = entries.levels[test], (truth - outcome.in_units(entries.low))[test]
    above = (outcome.in_units(entries.high) - truth)[test]
    predictive = np.mean((levels > 0.05) & (levels < 0.95))
    matrix = np.mean((below > 0) & (above > 0))
    return "\n".join([
        f"noise {scale * model.noise:.4g}, beta {model.beta / scale**2:.4g}, "
        f"kappa {model.kappa:g}",
        f"\nOn {np.count_nonzero(test)} entries that nothing has seen:",
        f"{'RMSE of the posterior mean':44}{mean:10.5g}",
        f"{'RMSE of the point estimate':44}{point:10.5g}",
        f"{'in the 90% predictive interval':44}{predictive:10.1%}",
        f"{'in the 90% interval of W, without noise':44}{matrix:10.1%}\n",
        _scalars(outcome),
    ])  # fmt: skip


def _scalars(outcome: Outcome) -> str:
    """Table of a few numbers along the chains, with R-hat and effective sample size."""
    observed, scale = outcome.trajectory.observed, outcome.problem.scale
    s, stats, found = observed["singular_values"], None, [0.0]
    series = {f"singular value {k + 1}": (scale, s[..., k]) for k in range(min(s.shape[-1], 5))}
    series["energy"] = (scale**2, observed["energy"])
    with contextlib.suppress(ImportError):
        stats = importlib.import_module("arviz_stats.base").array_stats
    lines = [f"{'':20}{'mean':>12}{'deviation':>12}" + f"{'R-hat':>9}{'ESS':>9}" * bool(stats)]
    for name, (unit, values) in series.items():
        # Squares of numbers in the units of the data may overflow.
        line = f"{name:20}{unit * values.mean():12.5g}{unit * values.std():12.3g}"
        if stats:
            rhat, ess = (f(values, chain_axis=0, draw_axis=1) for f in (stats.rhat, stats.ess))
            line += f"{float(rhat):9.3f}{float(ess):9.0f}"
            found.append(float(rhat))
        lines.append(line)
    lines += _warning(found, _advice(outcome))
    if not stats:
        lines.append("R-hat and effective sample sizes need arviz-stats")
    return "\n".join(lines)


def _advice(outcome: Outcome) -> str:
    """Say which option helps: a smaller rank, or as many steps as the slowest direction needs."""
    model, depth = outcome.model, len(outcome.draws.q) - 1
    share, (m, n) = float(np.mean(model.mask)), model.data.shape
    s = outcome.trajectory.observed["singular_values"].mean(axis=(0, 1))
    standing = int(np.sum(s > model.noise * (math.sqrt(m) + math.sqrt(n)) / math.sqrt(share)))
    if 0 < standing < len(s):
        return f"singular values beyond {standing} are lost in the noise: give --rank {standing}"
    # The cometric there times the curvature of the energy is the rate of the slowest direction.
    rate = outcome.step * depth * max(float(s[-1]), 1e-12) ** (2 - 2 / depth) * share
    done, need = outcome.trajectory.times[-1] / outcome.step, ENOUGH / rate
    if need <= done:
        return "give more --steps, a smaller --rank or another --seed"
    flat = ", or --depth 1, where all are as fast" if depth > 1 else ""
    return (
        f"the smallest singular value forgets its start in {1 / rate:.0f} steps: give "
        f"{need / done:.1f} times the --steps{flat}"
    )


def _warning(found: list[float], advice: str) -> list[str]:
    """Say that chains disagree, or that they do not move enough to tell."""
    if any(math.isnan(x) for x in found):
        return [f"NOT CONVERGED: R-hat is undefined, the chains do not move;\n{advice}"]
    if max(found) <= MIXED:
        return []
    return [
        f"NOT CONVERGED: R-hat is up to {max(found):.2f}, the chains disagree and their intervals "
        f"mean little;\n{advice}"
    ]


def _write(task: Task, outcome: Outcome, folder: Any) -> None:
    entries, shaped = outcome.entries, task.source.shaped
    matrices = {
        f"{name}{suffix}": values
        for name, values in (
            ("mean", entries.mean),
            ("quantile-05", entries.low),
            ("quantile-95", entries.high),
        )
        for suffix in (task.suffix, ".npy")
    }
    figure = plotting.sample_figure(
        shaped(outcome.in_units(entries.mean)), shaped(outcome.problem.scale * entries.deviation),
        entries.levels[task.test], outcome.trajectory.times / outcome.step,
        outcome.problem.scale**2 * outcome.trajectory.observed["energy"],
    )  # fmt: skip
    writers: dict[str, Callable[[Path], None]] = {
        name: partial(task.source.write, values=outcome.in_units(values))
        for name, values in matrices.items()
    }
    writers["draws.npz"] = partial(_save, arrays=_filed(outcome))
    writers["figure.png"] = partial(figure.savefig, dpi=150)
    _files.write_all(folder, writers)
    print("\nWritten: " + ", ".join(str(folder / name) for name in writers))


def _save(path: Path, arrays: dict[str, Any]) -> None:
    np.savez(path, **arrays)


def _filed(outcome: Outcome) -> dict[str, NumpyArray]:
    """Arrays of the file of draws, in the units of the data."""
    shape, scale = outcome.problem.values.shape, outcome.problem.scale
    total = outcome.draws.lam.shape[0]
    count = max(1, min(FILED, total, MAX_FILED // math.prod(shape)))
    chosen = np.linspace(0, total - 1, count).round().astype(int)
    few = Frames(outcome.draws.lam[chosen], tuple(q[chosen] for q in outcome.draws.q))
    blocks = [W for _, W in _posterior.dense_draws(few, shape)]
    observed = outcome.trajectory.observed
    return {
        "singular_values": scale * observed["singular_values"],
        "energy": scale**2 * observed["energy"],
        "matrices": outcome.in_units(np.concatenate(blocks, axis=1)),
        "noise": np.asarray(scale * outcome.model.noise),
    }
