"""Input of the subcommands, and the entries that are hidden from every method."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, NumpyArray
from dlngeom.cli import _reading
from dlngeom.cli._reading import ReadingOptions, Source
from dlngeom.completion import _complete

__all__ = [
    "Task", "by_colour", "check_depth", "effective_rank", "empty", "generator", "hide",
    "limited_threads",
    "load", "read", "say",
]  # fmt: skip

HIDDEN_BY_DEFAULT = 0.5
TEST_PART = 0.1
MAX_DEPTH = 100
MANY_ENTRIES = 4_000_000
_COLOURS = ("red", "green", "blue")


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
    name : str
        Of the input file.
    source : Source
        How results are written in the form of the input.
    """

    values: NumpyArray
    truth: NumpyArray
    test: NumpyArray
    name: str
    source: Source

    @property
    def suffix(self) -> str:
        """Suffix of files in the form of the input."""
        return self.source.suffix

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
    name = "china.jpg" if options.sample else options.input.name
    source = _reading.sample_picture() if options.sample else read(options.input, options)
    values = source.values
    try:
        _complete.check_values(values)
    except ValueError as error:
        raise ValueError(". ".join([str(error), *source.notes])) from None
    say(source)
    return Task(values, values, np.zeros(values.shape, dtype=bool), name, source)


def read(path: Path, options: argparse.Namespace) -> Source:
    """Read a matrix with what a command line says about its file."""
    return _reading.read(
        path,
        ReadingOptions(
            **{name: getattr(options, name) for name in ReadingOptions._fields if name != "is_mask"}
        ),
    )


def say(source: Source) -> None:
    """Print what was taken for what; warnings go where errors do."""
    for note in source.notes:
        warning = note.startswith("warning")
        print(note, file=sys.stderr if warning else sys.stdout, flush=True)


def hide(task: Task, fraction: float | None, rng: np.random.Generator) -> Task:
    """Hide entries if asked to; else set some observed ones apart to judge methods on."""
    observed = ~np.isnan(task.values)
    if fraction is None and task.source.is_picture and observed.all():
        fraction = HIDDEN_BY_DEFAULT
    if fraction is None and observed.all():
        said = f"{task.name} has no missing entry: --missing FRACTION hides some"
        raise ValueError(". ".join([said, *task.source.notes]))
    part = TEST_PART if fraction is None else fraction
    # All colours of a pixel are hidden together.
    channels = max(task.source.channels, 1)
    pixels = observed[:, : observed.shape[1] // channels]
    total = int(np.count_nonzero(pixels))
    count = min(max(round(part * total), 1), total - 2)
    if count < 1:
        raise ValueError(f"{task.name} has {total} observed entries: too few to learn from")
    test = np.tile(_complete.choose_entries(pixels, count, rng), (1, channels)) & observed
    values = task.values if fraction is None else np.where(test, np.nan, task.values)
    return task._replace(values=values, test=test)


def by_colour(task: Task) -> list[Task]:
    """Split a picture into its colours, which are completed one by one; all else is one task."""
    count = task.source.channels
    if count < 2:
        return [task]
    parts = zip(
        *(np.split(x, count, axis=1) for x in (task.values, task.truth, task.test)), strict=True
    )
    return [
        task._replace(values=values, truth=truth, test=test, name=f"{task.name}, {colour}")
        for colour, (values, truth, test) in zip(_COLOURS, parts, strict=True)
    ]


def empty(values: NumpyArray) -> tuple[int, int]:
    """Count rows and columns without an observed entry."""
    seen = ~np.isnan(values)
    return int(np.sum(~seen.any(axis=1))), int(np.sum(~seen.any(axis=0)))


def effective_rank(s: Array) -> int:
    """Count the singular values above one percent of the largest."""
    return int(np.sum(s > 0.01 * s[0]))
