"""Choice of biases, scales and depth by the errors on held-out entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dlngeom._lib.arrays import NumpyArray
from dlngeom.completion import _biases, _model
from dlngeom.completion._model import RowSpaceModel, Trial, Units
from dlngeom.completion._observed import Observed, rms
from dlngeom.completion._path import PathStep, PenaltyPath
from dlngeom.completion._solvers import FitOptions, Progress

__all__ = ["Candidates", "learn"]

# Held-out entries that a choice should see, and how often a small matrix is split for them.
ENOUGH, SPLITS = 500, 4

# Beyond so many entries a path is given up once another is ahead, and biases are chosen alone.
MANY, TOO_MANY = 20_000, 1_000_000

# Columns whose deviations have this ratio may be in different units; entries that tell deviations.
DIFFERENT, TELLING = 2.5, 5

# Rank beyond which the paths that choose the biases of a large matrix need not go.
PILOT_RANK = 6

# A path is given up when it was behind for so many steps, or made so much less progress.
STEPS_BEHIND, PROGRESS, LITTLE = 3, 0.8, 0.003


class Candidates(NamedTuple):
    """What may be chosen; where there is no choice, the first counts.

    Attributes
    ----------
    depths : sequence of int
    biases : sequence of str
    scaled : sequence of bool
    """

    depths: Sequence[int]
    biases: Sequence[str]
    scaled: Sequence[bool]


def learn(
    observed: Observed,
    options: FitOptions,
    candidates: Candidates,
    progress: Progress,
    old: PenaltyPath | None = None,
) -> RowSpaceModel:
    """Fit with the biases, the scale of columns and the depth that predict held-out entries best.

    Parameters
    ----------
    observed : Observed (m, n)
    options : FitOptions
        What is not among the candidates.
    candidates : Candidates
    progress : Progress
    old : PenaltyPath, optional
        Path of a matrix of the same shape, from whose best point to go on.

    Returns
    -------
    RowSpaceModel
    """
    field = _Field(observed, options, progress, old)
    kinds = _kinds(
        observed, candidates, options.ridge, field.parts[0] if options.fraction else None
    )
    if not options.fraction:
        kinds = kinds[-1:]
    depths = candidates.depths if options.fraction else candidates.depths[:1]
    field.repeat(len(kinds) > 1 or len(depths) > 1)
    best = field.best_kind([_with(options, depths[0], *kind) for kind in kinds])
    if len(depths) > 1:
        best = field.best(
            [best, *(_with(options, N, best.biases, best.scaled) for N in depths[1:])]
        )
    return _model.finish(observed, field.trials(best)[0], progress)


def _with(options: FitOptions, depth: int, biases: str, scaled: bool) -> FitOptions:
    schedule = options.schedule._replace(depth=depth)
    return options._replace(schedule=schedule, biases=biases, scaled=scaled)


def _kinds(
    observed: Observed,
    candidates: Candidates,
    ridge: float,
    parts: tuple[Observed, Observed | None] | None,
) -> list[tuple[str, bool]]:
    """Pairs of biases and scaling to try, the safest for tables last."""
    biases, scaled = list(candidates.biases), list(candidates.scaled)
    if len(scaled) > 1 and (len(observed.values) > TOO_MANY or not _differ(observed)):
        scaled = [False]
    if len(biases) > 1:
        if _has_empty(observed):
            biases.remove("none")  # It would predict zero there.
        if len(observed.values) > TOO_MANY and parts is not None:
            biases = [_best_alone(parts, biases, ridge)]
    # Columns on their own scales have no common unit for the biases of rows.
    fit_scaled = ["columns"] if len(biases) > 1 else biases
    return [(kind, s) for s in scaled for kind in (fit_scaled if s else biases)]


def _has_empty(observed: Observed) -> bool:
    rows, columns = np.diff(observed.matrix.indptr), observed.columns
    return bool((rows == 0).any() or (np.bincount(columns, minlength=observed.shape[1]) == 0).any())


def _differ(observed: Observed) -> bool:
    """Whether the deviations of columns differ so much that their units may."""
    counts = np.bincount(observed.columns, minlength=observed.shape[1])
    deviations = _deviations(observed)
    telling = deviations[(counts >= TELLING) & (deviations > 0)]
    if len(telling) < 2 or 2 * len(telling) < np.count_nonzero(deviations > 0):
        return False
    low, high = np.quantile(telling, [0.1, 0.9])
    return bool(high > DIFFERENT * low)


def _deviations(observed: Observed) -> NumpyArray:
    means = _biases.biases_of_kind(observed, "columns", 0.0)
    return _biases.column_deviations(observed, means)


def _best_alone(parts: tuple[Observed, Observed | None], kinds: Sequence[str], ridge: float) -> str:
    """Biases that predict held-out entries best without a low-rank part, at no cost."""
    training, held_out = parts
    if held_out is None:
        return kinds[-1]
    errors = []
    for kind in kinds:
        biases = _biases.biases_of_kind(training, kind, ridge)
        found = _biases.bias_values(biases, held_out.rows, held_out.columns)
        errors.append(rms(found - held_out.values))
    return kinds[int(np.argmin(errors))]


class _Field:
    """Trials of candidates on the same splits."""

    def __init__(
        self,
        observed: Observed,
        options: FitOptions,
        progress: Progress,
        old: PenaltyPath | None,
    ) -> None:
        self.observed, self.options = observed, options
        self.progress, self.old = progress, old
        self.parts = [_model.held_out_parts(observed, options.fraction, options.seed)]
        self.done: dict[FitOptions, list[Trial]] = {}
        self.units: dict[tuple[int, str, bool], Units] = {}
        self.begun: dict[FitOptions, PenaltyPath] = {}
        self.is_race = len(observed.values) > MANY

    def repeat(self, is_choice: bool) -> None:
        """Split a small matrix several times, if there is a choice to make."""
        fraction, seed = self.options.fraction, self.options.seed
        if not is_choice or not fraction:
            return
        count = math.ceil(ENOUGH / max(fraction * len(self.observed.values), 1.0))
        for k in range(1, min(count, SPLITS)):
            self.parts.append(_model.held_out_parts(self.observed, fraction, seed + k))

    def trials(self, options: FitOptions, rival: FitOptions | None = None) -> list[Trial]:
        """Trials on all splits; the first is the one to be finished."""
        if options not in self.done:
            kind = options.biases, options.scaled
            self.done[options] = [
                _model.attempt(
                    part, options, self.progress, units=self.units.get((k, *kind)),
                    old=self.old if k == 0 else None, is_behind=self._behind(part, rival),
                    begun=self.begun.pop(options, None) if k == 0 else None,
                )
                for k, part in enumerate(self.parts)
            ]  # fmt: skip
            for k, trial in enumerate(self.done[options]):
                self.units[k, *kind] = trial.units
        return self.done[options]

    def best(self, options: Sequence[FitOptions]) -> FitOptions:
        """Options with the least error on the held-out entries, in units of columns if scaled."""
        if len(options) == 1:
            return options[0]
        best, least = options[0], self._error(options[0], None)
        for other in options[1:]:
            error = self._error(other, best)
            if error < least:
                best, least = other, error
        return best

    def best_kind(self, options: Sequence[FitOptions]) -> FitOptions:
        """Choose among biases, then between one scale and a scale for each column."""
        groups = [self._by_pilots([x for x in options if x.scaled is s]) for s in (False, True)]
        plain, scaled = (self.best(group) if group else None for group in groups)
        if plain is None or scaled is None:
            return plain or scaled  # type: ignore[return-value]
        one, two = (self._squares(x, in_units=False) for x in (plain, scaled))
        gain = one - two
        # Where errors in the units of the data leave it open, those of all columns decide.
        if abs(np.mean(gain)) <= np.std(gain) / math.sqrt(len(gain)):
            one, two = (self._squares(x, in_units=True) for x in (plain, scaled))
        return plain if np.mean(one) < np.mean(two) else scaled

    def _by_pilots(self, options: list[FitOptions]) -> list[FitOptions]:
        """Keep, for a large matrix, the biases whose path begins best, at equal training error."""
        if not self.is_race or self.options.solver != "alternating" or len(options) < 2:
            return options
        curves = []
        for x in options:
            trial = _model.attempt(
                self.parts[0], x, self.progress, is_behind=lambda step, unit: step.rank > PILOT_RANK
            )
            self.units[0, x.biases, x.scaled] = trial.units
            self.begun[x] = trial.path
            unit = trial.units.scale
            curves.append(sorted((unit * y.training, unit * y.held_out) for y in trial.path.steps))
        if not all(curves):
            return options
        level = max(curve[0][0] for curve in curves)
        errors = [float(np.interp(level, *np.array(curve).T)) for curve in curves]
        return [options[int(np.argmin(errors))]]

    def _error(self, options: FitOptions, rival: FitOptions | None) -> float:
        self.trials(options, rival)
        return float(np.mean(self._squares(options, in_units=options.scaled)))

    def _squares(self, options: FitOptions, *, in_units: bool) -> NumpyArray:
        """Squared errors on the held-out entries, in units of the deviations if asked for."""
        errors = [trial.errors for trial in self.trials(options)]
        if in_units:
            deviations = _deviations(self.observed)
            scale = np.where(deviations > 0, deviations, 1.0)
            errors = [
                e / scale[part[1].columns]
                for e, part in zip(errors, self.parts, strict=True)
                if part[1] is not None
            ]
        return np.asarray(np.concatenate(errors) ** 2)

    def _behind(
        self, part: tuple[Observed, Observed | None], rival: FitOptions | None
    ) -> Callable[[PathStep, float], bool] | None:
        if not self.is_race or rival is None or self.options.solver != "alternating":
            return None
        trial, held_out = self.done[rival][0], part[1]
        if held_out is None or trial.options.scaled or not trial.path.steps:
            return None
        start = _biases.bias_values(trial.units.biases, held_out.rows, held_out.columns)
        return _Race(trial, rms(start - held_out.values)).is_behind


class _Race:
    """Errors of a path, against which another is judged at the same training error."""

    def __init__(self, rival: Trial, start: float) -> None:
        unit, steps = rival.units.scale, rival.path.steps
        curve = sorted([(unit * x.training, unit * x.held_out) for x in steps] + [(unit, start)])
        self.training, self.held_out = (np.array(x) for x in zip(*curve, strict=True))
        self.start, self.behind = start, 0

    def is_behind(self, step: PathStep, unit: float) -> bool:
        """Whether a step, with errors in some unit, shows that its path is not worth the time."""
        training, found = unit * step.training, unit * step.held_out
        if not self.training[0] <= training <= self.training[-1]:
            return False
        expected = float(np.interp(training, self.training, self.held_out))
        self.behind = self.behind + 1 if found > expected else 0
        progress = self.start - expected
        is_slow = progress > LITTLE * self.start and self.start - found < PROGRESS * progress
        return is_slow or self.behind >= STEPS_BEHIND
