"""Options of a fit, and the two ways to carry it out: a path of penalties, and descents."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlngeom.completion._observed import MapFunction, Observed
from dlngeom.completion._path import PathStep, PenaltyPath, Schedule, follow_path, refit
from dlngeom.points import SVD

__all__ = [
    "SOLVERS", "Behind", "DescentReport", "FitOptions", "Progress", "Refit", "follow",
    "function_of",
]  # fmt: skip

# The descents are in a module of their own: pymanopt, which they need, loads torch and jax.
SOLVERS = ("alternating", "conjugate-gradient", "trust-regions", "steepest-descent")

DescentReport = Callable[[int], None]


class FitOptions(NamedTuple):
    """Options of a fit.

    Attributes
    ----------
    solver : str
        ``"alternating"``, or one of the Riemannian descents.
    schedule : Schedule
    biases : str
        ``"none"``, ``"columns"`` or ``"rows+columns"``.
    scaled : bool
        Whether each column is brought to its own scale.
    ridge : float
    fraction : float
        Fraction of the entries held out; zero for none.
    seed : int
        Seed of their choice.
    clip : bool
        Whether predictions keep to the observed range.
    """

    solver: str
    schedule: Schedule
    biases: str
    scaled: bool
    ridge: float
    fraction: float
    seed: int
    clip: bool = False


class Progress(NamedTuple):
    """How blocks are mapped, and who is told of every step."""

    apply: MapFunction = map
    report: Callable[[PathStep], None] | None = None


# Takes all entries, returns the point fitted to them and the threshold that it belongs to.
Refit = Callable[[Observed], tuple[SVD, float]]
Behind = Callable[[PathStep], bool]


def follow(
    training: Observed,
    held_out: Observed | None,
    options: FitOptions,
    old: PenaltyPath | None,
    progress: Progress,
    is_behind: Behind | None = None,
    begun: PenaltyPath | None = None,
) -> tuple[PenaltyPath, Refit]:
    """Follow the path of penalised minimisers; its best point is refitted at its threshold."""
    start = None if old is None or not old.threshold else (old.point, old.threshold)
    rng, schedule = np.random.default_rng(options.seed), options.schedule
    path = follow_path(
        training, held_out, schedule, rng, start=start, begun=begun, apply=progress.apply,
        report=progress.report, is_behind=is_behind,
    )  # fmt: skip
    count = len(training.values)

    def again(everything: Observed) -> tuple[SVD, float]:
        # For the same least singular value, the threshold must grow with the number of entries.
        threshold = path.threshold * len(everything.values) / count
        return refit(everything, path.point, schedule.depth, threshold, progress.apply), threshold

    return path, again


def function_of(solver: str) -> Callable[..., tuple[PenaltyPath, Refit]]:
    """Return the function of a solver: :func:`follow`, or that of the descents with its library."""
    if solver == "alternating":
        return follow
    from dlngeom.completion._restarts import descend_path

    return descend_path
