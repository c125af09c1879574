"""``dlngeom complete``: complete a matrix, compare with other methods, write the result."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from dlngeom import plotting
from dlngeom._lib.arrays import NumpyArray
from dlngeom.cli import _files, _peers, _tasks
from dlngeom.cli._tasks import Task
from dlngeom.completion import Completion
from dlngeom.completion import _complete as completion
from dlngeom.completion._losses import rmse

__all__ = ["run"]

MAX_ITERATIONS = 500
# Errors that differ by less, relative to them, are a tie.
TIE = 5e-4


class CompletionRow(NamedTuple):
    """A row of the table of methods."""

    method: str
    error: float
    rank: int | None = None
    iterations: int | None = None
    seconds: float | None = None


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
        results = [_carry_out(part, cap, options) for part in _tasks.by_colour(task)]
        _write(task, _joined(results), options.output)


def _joined(results: list[Completion]) -> Completion:
    """Completions of the colours of a picture side by side, with the numbers of the first."""
    completed, predicted = (
        np.concatenate([getattr(result, name) for result in results], axis=1)
        for name in ("completed", "predicted")
    )
    return results[0]._replace(completed=completed, predicted=predicted)


def _carry_out(task: Task, cap: int, options: argparse.Namespace) -> Completion:
    print(_describe(task, options, cap), flush=True)
    peers = list(_peers.peers(options.compare, task.values.shape))
    with tqdm(total=len(peers) + 1, unit="run", file=sys.stderr) as bar:
        rows = [_peer_row(task, peer, options.seed, bar) for peer in peers]
        result, row = _ours(task, cap, options, bar)
        rows.append(row)
    print(_table(rows))
    print(_verdict(rows, result))
    result = _final(task, result, cap, options)
    print(_range(result))
    return result


def _describe(task: Task, options: argparse.Namespace, cap: int) -> str:
    m, n = task.values.shape
    missing = np.isnan(task.values).mean()
    rows, columns = _tasks.empty(task.values)
    alone = ""
    if rows or columns:
        alone = f" Nothing is observed in {rows} rows and {columns} columns: they get their biases."
    return (
        f"{task.name}: {m} x {n}, {missing:.1%} missing, rank cap {cap}, {options.solver}, "
        f"seed {options.seed}\n"
        f"Errors are on {np.count_nonzero(task.test)} entries that no method sees.{alone}"
    )


def _error(task: Task, predicted: NumpyArray) -> float:
    """RMSE on the entries that no method sees."""
    return rmse(np.where(task.test, predicted - task.truth, 0.0), task.test)


def _peer_row(
    task: Task, peer: tuple[str, int | None, _peers.Peer], seed: int, bar: Any
) -> CompletionRow:
    """Row of another method; one that gives up has no error."""
    method, rank, fill = peer
    bar.set_description(method)
    start = time.perf_counter()
    predicted, iterations = fill(task.visible, seed)
    bar.update()
    seconds = time.perf_counter() - start
    return CompletionRow(method, _error(task, predicted), rank, iterations, seconds)


def _ours(
    task: Task, cap: int, options: argparse.Namespace, bar: Any
) -> tuple[Completion, CompletionRow]:
    bar.set_description(f"depth {options.depth or 'auto'}")

    def report(step: int) -> None:
        bar.set_postfix(step=step, refresh=False)
        bar.update(0)

    start = time.perf_counter()
    result = _run(task.visible, cap, options, options.depth or "auto", report=report)
    bar.set_description(f"depth {result.depth}")
    bar.update()
    method = f"depth {result.depth}, rank cap {cap}"
    found = _tasks.effective_rank(result.point.s) if result.point.s.shape[0] else 0
    error, seconds = _error(task, result.predicted), time.perf_counter() - start
    return result, CompletionRow(method, error, found, result.iterations, seconds)


def _run(
    values: NumpyArray, cap: int, options: argparse.Namespace, depth: int | str, **more: Any
) -> Completion:
    return completion.complete(
        values, rank=cap, depth=depth, solver=options.solver, biases=options.biases,
        scale=False if options.scale == "none" else options.scale, clip=options.clip,
        max_iterations=MAX_ITERATIONS, rng=options.seed, **more,
    )  # fmt: skip


def _table(rows: list[CompletionRow]) -> str:
    """Table of the methods, of which the last is ours."""
    lines = [f"{'method':28}{'held-out RMSE':>15}{'rank':>7}{'iterations':>12}{'seconds':>9}"]
    lines.append("-" * len(lines[0]))
    for row in rows:
        error = "failed" if np.isnan(row.error) else f"{row.error:.5f}"
        if 0 < row.error < 0.01 or row.error >= 1e5:
            error = f"{row.error:.5g}"
        cells = [f"{row.method:28}{error:>15}"]
        cells += ["" if x is None else str(x) for x in (row.rank, row.iterations)]
        capped = "*" if row.iterations == _peers.MAX_ITERATIONS else " "
        line = f"{cells[0]}{cells[1]:>7}{cells[2]:>11}{capped}{row.seconds or 0.0:9.1f}"
        lines.append(line + ("  <- chosen" if row is rows[-1] else ""))
    lines.append("rank: given, or the number of singular values above 1% of the largest")
    if any(row.method.startswith("Fixed") for row in rows):
        lines.append(
            f"FixedRankEmbedded runs until it converges, at most {_peers.MAX_ITERATIONS} "
            f"iterations (*) and {_peers.MAX_SECONDS} seconds;\nours stops early, on entries held "
            "out of the observed ones"
        )
    return "\n".join(lines)


def _final(task: Task, result: Completion, cap: int, options: argparse.Namespace) -> Completion:
    """Completion to write: that of the table, or one that also learns from the test entries."""
    if np.isnan(task.values[task.test]).all():
        return result
    return _run(task.values, cap, options, result.depth)


def _verdict(rows: list[CompletionRow], result: Completion) -> str:
    """Say which method has the least error, also where it is another."""
    ours, others = rows[-1], [row for row in rows[:-1] if not np.isnan(row.error)]
    best = min(others, key=lambda row: row.error)
    scale = ", each column on its own scale" if np.any(result.scale != 1) else ""
    biases = (
        "no biases" if result.kind == "none" else f"biases of {result.kind.replace('+', ' + ')}"
    )
    how = f"depth {result.depth}, {biases}{scale}"
    ratio = ours.error / best.error if best.error else 1.0 if not ours.error else np.inf
    if abs(ratio - 1) < TIE:
        return f"\nOurs ({how}) is as good as {best.method}, the best of {len(others)} others."
    if ratio < 1:
        return (
            f"\nThe least error is ours ({how}): {_times(ratio)} that of {best.method}, the best "
            f"of {len(others)} others."
        )
    return (
        f"\nThe least error is that of {best.method}: {best.error:.5g}. Ours ({how}) is "
        f"{_times(ratio)} that."
    )


def _times(ratio: float) -> str:
    """Ratio of errors with three digits, however small or large it is."""
    return f"{ratio:.3f} times" if 0.01 <= ratio < 1000 else f"{ratio:.2g} times"


def _range(result: Completion) -> str:
    if not result.outside:
        return "No prediction leaves the range of the observed entries."
    return (
        f"{result.outside} predictions leave the range of the observed entries: --clip moves them "
        "into it"
    )


def _write(task: Task, result: Completion, folder: Any) -> None:
    matrix = f"completed{task.suffix}"
    shaped = task.source.shaped
    figure = plotting.completion_figure(
        shaped(task.values), shaped(result.completed), shaped(_difference(task, result)),
        result.singular_values,
    )  # fmt: skip
    writers = {
        matrix: lambda path: task.source.write(path, result.completed),
        "completed.npy": lambda path: task.source.write(path, result.completed),
        "figure.png": lambda path: figure.savefig(path, dpi=150),
    }
    _files.write_all(folder, writers)
    print("\nWritten: " + ", ".join(str(folder / name) for name in writers))


def _difference(task: Task, result: Completion) -> NumpyArray:
    """Prediction minus truth, wherever the truth is known."""
    return np.asarray(result.predicted - task.truth)
