"""``dlngeom landscape``: local minima of the free energy of a small matrix with missing entries."""

from __future__ import annotations

import argparse
import csv
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from dlngeom import plotting
from dlngeom._lib import checks
from dlngeom._lib.arrays import NumpyArray
from dlngeom.cli import _files, _tasks
from dlngeom.completion import _complete
from dlngeom.thermodynamics.landscape import Landscape, critical_points, local_minima

__all__ = ["run"]

# Searches work with dense Hessians of all entries.
MAX_SIDE, MAX_STARTS, MAX_DEPTH, MAX_RUNS = 6, 1000, 20, 100
# Rank and temperature have no scale but that of the entries.
LARGEST = (1e-3, 1e3)
# Where entries are missing, the entropy makes F fall without bound unless there is one.
RIDGE = 0.1
# Standard deviations of the starts, relative to the observed entries.
SCALES = (0.1, 3.0)
HEADER = ("depth", "beta", "kind", "F", "energy", "index", "zero", "lowest_rate", "points",
          "searches")  # fmt: skip


class LandscapeRow(NamedTuple):
    """A family of critical points, or searches that ended at none.

    Attributes
    ----------
    depth, beta : float
    kind : str
        ``minimum``, ``saddle``, ``escaped``, ``collapsed`` or ``unfinished``.
    searches : int
    numbers : tuple of float
        Free energy, energy, index, vanishing eigenvalues, lowest eigenvalue, distinct points.
    point : array (m, n), optional
    """

    depth: float
    beta: float
    kind: str
    searches: int
    numbers: tuple[float, ...] = ()
    point: NumpyArray | None = None


class Energy(NamedTuple):
    """Squared distance to the observed entries, and a ridge.

    Attributes
    ----------
    data, seen : array (m, n)
    ridge : float
    """

    data: NumpyArray
    seen: NumpyArray
    ridge: float

    def value(self, W: NumpyArray) -> NumpyArray:
        """Return ``E`` of a batch."""
        squares = self.seen * (W - self.data) ** 2 + self.ridge * W**2
        return np.asarray(np.sum(squares, axis=(-2, -1)) / 2)

    def gradient(self, W: NumpyArray) -> NumpyArray:
        """Return ``E'``."""
        return np.asarray(self.seen * (W - self.data) + self.ridge * W)

    def hessian(self, W: NumpyArray, Z: NumpyArray) -> NumpyArray:
        """Return ``E''`` applied to ``Z``."""
        return np.asarray(self.seen * Z + self.ridge * Z)


def run(options: argparse.Namespace) -> None:
    """Carry out the command.

    Raises
    ------
    ValueError, OSError
        If the input or an option is not valid; the message is one line, and nothing is written.
    """
    values, name = _values(options)
    _check(values.shape, options)
    _files.require_other_file(options.input, options.output, ("landscape.csv", "figure.png"))
    rng = _tasks.generator(options.seed)
    seen = ~np.isnan(values)
    if options.ridge is None:
        options.ridge = 0.0 if seen.all() else RIDGE
    energy = Energy(np.where(seen, values, 0.0), seen.astype(np.float64), options.ridge)
    with _tasks.limited_threads(values.size), _files.open_folder(options.output):
        starts = _starts(energy, options.starts, rng)
        missing = int(np.sum(~seen))
        print(
            f"{name}: {values.shape[0]} x {values.shape[1]}, {missing} of {values.size} entries "
            f"missing, ridge {options.ridge:g}, {options.starts} starts, seed {options.seed}"
        )
        rows = _search(energy, starts, options)
        print(_table(rows, energy, options))
        _write(rows, energy, options)


def _values(options: argparse.Namespace) -> tuple[NumpyArray, str]:
    path: Path | None = options.input
    if path is None:
        return np.where(np.eye(2) > 0, 1.0, np.nan), "unit diagonal"
    source = _tasks.read(path, options)
    _tasks.say(source)
    values = source.values
    _require_small(values.shape)
    observed = _complete.check_values(values)
    largest = float(np.max(np.abs(values[observed])))
    if not LARGEST[0] <= largest <= LARGEST[1]:
        raise ValueError(
            f"the largest entry of {path.name} is {largest:.3g}: rescale to between {LARGEST[0]:g} "
            f"and {LARGEST[1]:g}"
        )
    return values, path.name


def _require_small(shape: tuple[int, ...]) -> None:
    if max(shape) > MAX_SIDE:
        raise ValueError(
            f"the matrix is {shape[0]} x {shape[1]}: this command takes at most "
            f"{MAX_SIDE} x {MAX_SIDE}, since it uses dense Hessians"
        )


def _check(shape: tuple[int, ...], options: argparse.Namespace) -> None:
    checks.integer("starts", options.starts, 1, MAX_STARTS)
    for depth in options.depths:
        if depth == math.inf and shape[0] != shape[1]:
            raise ValueError(
                f"depth=inf needs a square matrix, this one is {shape[0]} x {shape[1]}"
            )
        if checks.depth(depth) < math.inf:
            checks.integer("depth", depth, 1, MAX_DEPTH)
    if len(options.depths) * len(options.betas) > MAX_RUNS:
        count = len(options.depths) * len(options.betas)
        raise ValueError(f"{count} pairs of depth and beta: this command takes at most {MAX_RUNS}")


def _starts(energy: Energy, count: int, rng: np.random.Generator) -> NumpyArray:
    """Gaussian matrices of many sizes, with determinants of both signs if they are square."""
    size = math.sqrt(np.sum(energy.data**2) / np.sum(energy.seen)) or 1.0
    scales = np.exp(rng.uniform(math.log(SCALES[0]), math.log(SCALES[1]), (count, 1, 1)))
    return np.asarray(size * scales * rng.standard_normal((count, *energy.data.shape)))


def _search(energy: Energy, starts: NumpyArray, options: argparse.Namespace) -> list[LandscapeRow]:
    rows = []
    pairs = [(depth, beta) for depth in options.depths for beta in options.betas]
    for depth, beta in tqdm(pairs, unit="landscape", file=sys.stderr):
        found = _landscape(local_minima, energy, starts, depth, beta)
        rows += _rows(found, energy, depth, beta, "minimum")
        if options.saddles:
            found = _landscape(critical_points, energy, starts, depth, beta)
            rows += _rows(found, energy, depth, beta, "saddle")
    return rows


def _landscape(
    search: Any, energy: Energy, starts: NumpyArray, depth: float, beta: float
) -> Landscape:
    m, n = energy.data.shape
    inner = () if depth == math.inf else (min(m, n),) * (int(depth) - 1)
    result: Landscape = search(
        energy.value, energy.gradient, energy.hessian, (n, *inner, m), beta, starts=starts,
        depth=math.inf if depth == math.inf else None,
    )  # fmt: skip
    return result


def _rows(
    found: Landscape, energy: Energy, depth: float, beta: float, kind: str
) -> list[LandscapeRow]:
    rows = []
    for family in range(int(np.max(found.families, initial=-1)) + 1):
        members = np.flatnonzero(found.families == family)
        first = members[0]
        if kind == "saddle" and found.indices[first] == 0:
            continue
        numbers = (
            found.values[first], energy.value(found.points[first]), found.indices[first],
            found.nullities[first], found.eigenvalues[first, 0], len(members),
        )  # fmt: skip
        searches, point = int(np.sum(found.counts[members])), found.points[first]
        rows.append(LandscapeRow(depth, beta, kind, searches, tuple(map(float, numbers)), point))
    if kind == "minimum":
        ends = {name: getattr(found, name) for name in ("escaped", "collapsed", "unfinished")}
        rows += [LandscapeRow(depth, beta, name, count) for name, count in ends.items() if count]
    return rows


def _unbounded(energy: Energy, depth: float, ridge: float) -> bool:
    """Whether an entry without energy can grow, and with it the entropy."""
    return depth > 1 and ridge == 0 and min(energy.data.shape) > 1 and not energy.seen.all()


def _table(rows: list[LandscapeRow], energy: Energy, options: argparse.Namespace) -> str:
    title = f"{'depth':>5} {'beta':>8}  {'kind':10}{'F':>11}{'energy':>11}{'index':>6}{'zero':>5}"
    lines = [title + f"{'lowest rate':>13}{'points':>7}{'searches':>9}   singular values"]
    lines.append("-" * len(lines[0]))
    for row in rows:
        text = f"{row.depth:5g} {row.beta:8g}  {row.kind:10}"
        if row.point is None:
            lines.append(f"{text}{'':53}{row.searches:9d}   {_explained(row, energy, options)}")
            continue
        F, E, index, zero, rate, points = row.numbers
        s = np.linalg.svd(row.point, compute_uv=False)
        lines.append(
            f"{text}{F:11.5f}{E:11.5f}{index:6.0f}{zero:5.0f}{rate:13.5f}{points:7.0f}"
            f"{row.searches:9d}   " + " ".join(f"{x:.4g}" for x in s)
        )
    lines.append(
        "index, zero: negative and vanishing eigenvalues of the Hessian for g^N; lowest rate: the "
        "smallest eigenvalue\npoints: distinct ones that a symmetry or a continuum relates, found "
        "by as many searches"
    )
    if not any(row.kind == "minimum" for row in rows):
        lines.append("No minimum was found: give more --starts, other --depths or a larger --ridge")
    return "\n".join(lines)


def _explained(row: LandscapeRow, energy: Energy, options: argparse.Namespace) -> str:
    if row.kind == "escaped" and _unbounded(energy, row.depth, options.ridge):
        return "no minimiser: F falls without bound"
    return {
        "escaped": "beyond 10,000 times the largest start",
        "collapsed": "to a matrix of lower rank",
        "unfinished": "more steps are needed",
    }[row.kind]


def _write(rows: list[LandscapeRow], energy: Energy, options: argparse.Namespace) -> None:
    folder: Path = options.output
    figure = plotting.landscape_figure([(row.depth, row.beta, row.kind, row.point) for row in rows])
    names = [f"W{i + 1}{j + 1}" for i, j in np.ndindex(energy.data.shape)]

    def write_table(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow([*HEADER, *names])
            writer.writerows(_cells(row, len(names)) for row in rows)

    writers = {
        "landscape.csv": write_table,
        "figure.png": lambda path: figure.savefig(path, dpi=120),
    }
    _files.write_all(folder, writers)
    print("\nWritten: " + ", ".join(str(folder / name) for name in writers))


def _cells(row: LandscapeRow, entries: int) -> list[str]:
    numbers = [f"{x:.10g}" for x in row.numbers] or [""] * 6
    point = [""] * entries if row.point is None else [f"{x:.10g}" for x in row.point.ravel()]
    return [f"{row.depth:g}", f"{row.beta:g}", row.kind, *numbers, str(row.searches), *point]
