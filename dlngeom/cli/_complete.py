"""``dlngeom complete``: complete a matrix, compare with fixed ranks, write the result."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from dlngeom import plotting
from dlngeom._lib.arrays import NumpyArray
from dlngeom.cli import _files, _tasks
from dlngeom.cli._tasks import Task
from dlngeom.completion import Completion
from dlngeom.completion import _complete as completion
from dlngeom.completion._complete import Problem
from dlngeom.completion._descent import rmse

__all__ = ["run"]

BASELINE_RANKS = (5, 10, 20, 50)
AUTOMATIC_DEPTHS = (2, 3)
TABLE_DEPTHS = (1, 2, 3)
MAX_ITERATIONS = 500
MAX_SECONDS = 60


class CompletionRow(NamedTuple):
    """A row of the table of methods."""

    method: str
    error: float
    rank: int | None = None
    iterations: int | None = None
    seconds: float | None = None
    result: Completion | None = None


def run(options: argparse.Namespace) -> None:
    """Carry out the command.

    Raises
    ------
    ValueError, OSError
        If the input or an option is not valid; the message is one line, and nothing is written.
    """
    _tasks.check_depth(options.depth)
    task = _tasks.load(options)
    with _tasks.limited_threads(task.values.size):
        _complete(task, options)


def _complete(task: Task, options: argparse.Namespace) -> None:
    cap = completion.rank_cap(options.rank, _tasks.by_colour(task)[0].values.shape)
    names = (f"completed{task.suffix}", "completed.npy", "figure.png")
    _files.require_other_file(options.input, options.output, names)
    rng = _tasks.generator(options.seed)
    task = _tasks.hide(task, options.missing, rng)
    with _files.open_folder(options.output):
        results = [_carry_out(part, cap, rng, options) for part in _tasks.by_colour(task)]
        _write(task, _joined(results), options.output)


def _joined(results: list[Completion]) -> Completion:
    """Completions of the colours of a picture side by side, with the numbers of the first."""
    completed, predicted = (
        np.concatenate([getattr(result, name) for result in results], axis=1)
        for name in ("completed", "predicted")
    )
    return results[0]._replace(completed=completed, predicted=predicted)


def _carry_out(
    task: Task, cap: int, rng: np.random.Generator, options: argparse.Namespace
) -> Completion:
    problem = completion.prepare(task.visible, completion.HOLDOUT, rng)
    print(_describe(task, options, cap), flush=True)
    depths = AUTOMATIC_DEPTHS if options.depth is None else (options.depth,)
    rows = _compare(task, problem, cap, sorted({*TABLE_DEPTHS, *depths}), options.solver)
    chosen = _chosen(rows, depths)
    print(_table(rows, chosen))
    result = _final(task, chosen, cap, options)
    print(_verdict(rows, chosen, result))
    return result


def _describe(task: Task, options: argparse.Namespace, cap: int) -> str:
    m, n = task.values.shape
    missing = np.isnan(task.values).mean()
    rows, columns = _tasks.empty(task.values)
    return (
        f"{task.name}: {m} x {n}, {missing:.1%} missing, rank cap {cap}, {options.solver}, "
        f"seed {options.seed}\n"
        f"Errors are on {np.count_nonzero(task.test)} entries that no method sees. "
        f"Nothing is observed in {rows} rows and {columns} columns: they get their biases."
    )


def _compare(
    task: Task, problem: Problem, cap: int, depths: list[int], solver: str
) -> list[CompletionRow]:
    """Run every method of the table on the same entries."""
    truth, test = np.where(task.test, task.truth, 0.0), task.test

    def judge(predicted: NumpyArray) -> float:
        return rmse(predicted - truth, test)

    rows = [
        CompletionRow("mean", judge(np.full_like(truth, problem.biases.mean))),
        CompletionRow("row + column biases", judge(problem.biases.matrix())),
    ]
    ranks = sorted({min(rank, *truth.shape) for rank in BASELINE_RANKS})
    with tqdm(total=len(ranks) + len(depths), unit="run", file=sys.stderr) as bar:
        for rank in ranks:
            report = _reporter(bar, f"FixedRankEmbedded, rank {rank}")
            rows.append(_baseline(problem, judge, rank, report))
            bar.update()
        for depth in depths:
            report = _reporter(bar, f"depth {depth}")
            start = time.perf_counter()
            result = completion.at_depth(problem, cap, depth, solver, MAX_ITERATIONS, report)
            rows.append(_row(f"depth {depth}, rank cap {cap}", judge, None, result, start))
            bar.update()
    return rows


def _baseline(
    problem: Problem, judge: Callable[[NumpyArray], float], rank: int, report: Callable[[int], None]
) -> CompletionRow:
    """Row of ``FixedRankEmbedded``, which gives up on some matrices, constant ones for example."""
    method, start = f"FixedRankEmbedded, rank {rank}", time.perf_counter()
    try:
        result = completion.fixed_rank(problem, rank, MAX_ITERATIONS, MAX_SECONDS, report)
    except np.linalg.LinAlgError:
        return CompletionRow(method, np.nan)
    return _row(method, judge, rank, result, start)


def _reporter(bar: Any, label: str) -> Callable[[int], None]:
    bar.set_description(label)

    def report(iteration: int) -> None:
        bar.set_postfix(iteration=iteration, refresh=False)
        bar.update(0)

    return report


def _row(
    method: str,
    judge: Callable[[NumpyArray], float],
    rank: int | None,
    result: Completion,
    start: float,
) -> CompletionRow:
    seconds = time.perf_counter() - start
    rank = _tasks.effective_rank(result.point.s) if rank is None else rank
    return CompletionRow(method, judge(result.predicted), rank, result.iterations, seconds, result)


def _chosen(rows: list[CompletionRow], depths: tuple[int, ...]) -> CompletionRow:
    """Row with the best error on the entries held out for that choice, never on the test."""
    candidates = [row for row in rows if row.result is not None and row.result.depth in depths]
    candidates = [row for row in candidates if row.method.startswith("depth")]
    return min(candidates, key=lambda row: row.result.held_out if row.result else np.inf)


def _table(rows: list[CompletionRow], chosen: CompletionRow) -> str:
    lines = [f"{'method':28}{'held-out RMSE':>15}{'rank':>7}{'iterations':>12}{'seconds':>9}"]
    lines.append("-" * len(lines[0]))
    for row in rows:
        error = "failed" if np.isnan(row.error) else f"{row.error:.5f}"
        cells = [f"{row.method:28}{error:>15}"]
        if row.seconds is not None:
            capped = "*" if row.iterations == MAX_ITERATIONS else " "
            cells.append(f"{row.rank:7d}{row.iterations:11d}{capped}{row.seconds:9.1f}")
        lines.append("".join(cells) + ("  <- chosen" if row is chosen else ""))
    lines.append(
        "rank: given, or the number of singular values above 1% of the largest\n"
        f"FixedRankEmbedded runs until it converges, at most {MAX_ITERATIONS} iterations (*) and "
        f"{MAX_SECONDS} seconds;\nthe others stop early, on entries held out of the observed ones"
    )
    return "\n".join(lines)


def _final(task: Task, chosen: CompletionRow, cap: int, options: argparse.Namespace) -> Completion:
    """Completion to write: that of the table, or one that also learns from the test entries."""
    if chosen.result is None:
        raise ValueError("no method was chosen")
    if np.isnan(task.values[task.test]).all():
        return chosen.result
    return completion.complete(
        task.values, rank=cap, depth=chosen.result.depth, solver=options.solver,
        max_iterations=MAX_ITERATIONS, rng=options.seed,
    )  # fmt: skip


def _verdict(rows: list[CompletionRow], chosen: CompletionRow, result: Completion) -> str:
    fixed = [row for row in rows if row.method.startswith("Fixed") and row.error > 0]
    if not fixed:
        return (
            f"\nWithout tuning the rank, depth {result.depth} has an error of {chosen.error:.3g}."
        )
    best, largest = min(fixed, key=lambda row: row.error), fixed[-1]
    return (
        f"\nWithout tuning the rank, depth {result.depth} has {chosen.error / best.error:.3f} "
        f"times the error of\n{best.method}, the best of {len(fixed)}, and "
        f"{chosen.error / largest.error:.3f} times that of {largest.method}."
    )


def _write(task: Task, result: Completion, folder: Any) -> None:
    matrix = f"completed{task.suffix}"
    shaped = task.source.shaped
    figure = plotting.completion_figure(
        shaped(task.values), shaped(result.completed), shaped(_error(task, result)),
        result.singular_values,
    )  # fmt: skip
    writers = {
        matrix: lambda path: task.source.write(path, result.completed),
        "completed.npy": lambda path: task.source.write(path, result.completed),
        "figure.png": lambda path: figure.savefig(path, dpi=150),
    }
    _files.write_all(folder, writers)
    print("\nWritten: " + ", ".join(str(folder / name) for name in writers))


def _error(task: Task, result: Completion) -> NumpyArray:
    """Prediction minus truth, wherever the truth is known."""
    return np.asarray(result.predicted - task.truth)
