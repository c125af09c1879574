"""Input of the subcommands, and the entries that are hidden from every method."""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, NumpyArray
from dlngeom.cli import _files
from dlngeom.completion import _complete

__all__ = [
    "Task", "check_depth", "effective_rank", "empty", "generator", "hide", "limited_threads", "load"
]  # fmt: skip

HIDDEN_BY_DEFAULT = 0.5
TEST_PART = 0.1
MAX_DEPTH = 100
MANY_ENTRIES = 4_000_000


class Task(NamedTuple):
    """A matrix to complete, and the entries to judge on.

    Attributes
    ----------
    values : array (m, n)
        NaN where an entry is missing or was hidden.
    truth : array (m, n)
        The same before entries were hidden.
    test : bool array (m, n)
        Entries of ``truth`` that no method sees and every method is judged on.
    name, suffix : str
        Of the input file.
    """

    values: NumpyArray
    truth: NumpyArray
    test: NumpyArray
    name: str
    suffix: str

    @property
    def visible(self) -> NumpyArray:
        """Values that a method may learn from, NaN elsewhere."""
        return np.where(self.test, np.nan, self.values)


def check_depth(depth: int | None) -> None:
    """Check the depth that a command was given, if any."""
    if depth is not None:
        checks.integer("depth", depth, 1, MAX_DEPTH)


def generator(seed: int) -> np.random.Generator:
    """Random generator of a seed, which must not be negative."""
    return np.random.default_rng(checks.integer("seed", seed, 0))


def limited_threads(size: int) -> Any:
    """Context with as many BLAS threads as matrices with ``size`` entries can use."""
    # On small matrices BLAS threads wait for each other, much longer on busy cores.
    return threadpool_limits(1 if size < MANY_ENTRIES else None, user_api="blas")


def load(options: argparse.Namespace) -> Task:
    """Read the input that a command line names.

    Raises
    ------
    ValueError, OSError
        If it holds no matrix that can be completed.
    """
    if options.sample:
        values, name, suffix = _files.sample_picture(), "china.jpg", ".png"
    else:
        values, name = _files.read_matrix(options.input), options.input.name
        suffix = options.input.suffix.lower()
        suffix = ".png" if suffix in _files.IMAGES else suffix
    _complete.check_values(values)
    return Task(values, values, np.zeros(values.shape, dtype=bool), name, suffix)


def hide(task: Task, fraction: float | None, rng: np.random.Generator) -> Task:
    """Hide entries if asked to; else set some observed ones apart to judge methods on."""
    observed = ~np.isnan(task.values)
    if fraction is None and task.suffix in _files.IMAGES:
        fraction = HIDDEN_BY_DEFAULT
    if fraction is None and observed.all():
        raise ValueError(f"{task.name} has no missing entry: --missing FRACTION hides some")
    part = TEST_PART if fraction is None else fraction
    total = int(np.count_nonzero(observed))
    count = min(max(round(part * total), 1), total - 2)
    if count < 1:
        raise ValueError(f"{task.name} has {total} observed entries: too few to learn from")
    test = _complete.choose_entries(observed, count, rng)
    values = task.values if fraction is None else np.where(test, np.nan, task.values)
    return task._replace(values=values, test=test)


def empty(values: NumpyArray) -> tuple[int, int]:
    """Count rows and columns without an observed entry."""
    seen = ~np.isnan(values)
    return int(np.sum(~seen.any(axis=1))), int(np.sum(~seen.any(axis=0)))


def effective_rank(s: Array) -> int:
    """Count the singular values above one percent of the largest."""
    return int(np.sum(s > 0.01 * s[0]))
