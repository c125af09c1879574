"""Whether the steps of a run are too long: one warning, or a line in the error of a divergence."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np

from dlngeom._lib.arrays import namespace, to_numpy
from dlngeom._lib.vectors import Point, parts, rebuild
from dlngeom.langevin._step_size import DIVERGENT, UNSTABLE, Scene, suggested_step

__all__ = ["StepWatch"]

# Points checked at once; the draws of a short run are fewer, so that a check costs little.
_AT_START, _MOST, _LEAST = 16, 256, 8

# Steps after which the start is checked.
_PATIENCE = 1000

# Steps of one chain that cost what the curvature at a point may cost.
_PRICE = 2000


class StepWatch:
    """Warns once in a run.

    Nothing is asked of the energy before a run has taken some steps, since a look costs as many.

    Parameters
    ----------
    scene : Scene
    time : float
        Of one step.
    start : Point
        First points ``(chain, ...)``.
    automatic : bool
        Whether a pilot run chose the steps.  It knows where chains usually are; a few draws that
        lie further out bias no mean, so that only steps which are unstable there are told.
    """

    def __init__(self, scene: Scene, time: float, start: Point, automatic: bool = False) -> None:
        self.scene, self.time, self._start, self._automatic = scene, time, start, automatic
        self._warned, self._passed, self._begun = scene.energy_gradient is None, 0.0, False

    def passed(self, steps: float) -> None:
        """Check the start once some steps were taken."""
        self._passed += steps
        if self._passed >= _PATIENCE and not self._begun:
            self._check_start()

    def end(self, points: Any, chain_steps: int) -> None:
        """Check points ``(chain, draw, ...)`` of a run: the start, the largest, and some others."""
        if not self._begun:
            self._check_start()
        if not self._warned:
            count = min(_MOST, max(_LEAST, chain_steps // _PRICE))
            self._check(_some(points, count), "at a saved draw")

    def _check_start(self) -> None:
        self._begun = True
        if self._warned:
            return
        found = rebuild(self._start, [to_numpy(x[:_AT_START, ...]) for x in parts(self._start)])
        # Many chains often start from one point.
        if all(np.array_equal(x, np.broadcast_to(x[:1], x.shape)) for x in parts(found)):
            found = rebuild(found, [x[:1] for x in parts(found)])
        self._check(found, "at the start")

    def explain(self, points: Any, last: Point) -> str:
        """Numbers for the error of a chain ``(draw, ...)`` that diverged; nothing without cause."""
        if self.scene.energy_gradient is None:
            return ""
        for one in (*_singly(points), *_singly(last)):
            curvature = float(self._curvature(one)[0])
            if self.time * curvature > UNSTABLE:
                return "; " + self._sentence(one, curvature, "there")
        return ""

    def _curvature(self, point: Point) -> np.ndarray:
        """Curvatures, NaN where the energy fails or numbers overflow: the run itself says that."""
        try:
            return self.scene.curvature(point)
        except Exception:
            return np.full(parts(point)[0].shape[0], np.nan)

    def _check(self, point: Point, where: str) -> None:
        curvature = self._curvature(point)
        worst = int(np.argmax(np.where(np.isfinite(curvature), curvature, 0.0)))
        if self.time * curvature[worst] > (DIVERGENT if self._automatic else UNSTABLE):
            self._warned = True
            one = rebuild(point, [x[worst : worst + 1] for x in parts(point)])
            message = self._sentence(one, float(curvature[worst]), where)
            warnings.warn(message, UserWarning, stacklevel=_outside())

    def _sentence(self, point: Point, curvature: float, where: str) -> str:
        step = suggested_step(self.scene, point)
        instead = ", or n_steps='auto'"
        if self._automatic:
            instead = ": the pilot run of n_steps='auto' did not come there"
        return (
            f"a step of {self.time:.3g} times the largest curvature of the energy {where}, "
            f"{curvature:.3g}, is {self.time * curvature:.3g}: above 1 the law is biased, above 2 "
            f"steps are unstable; take steps of {step:.2g}{instead}"
        )


def _singly(points: Point) -> Iterator[Point]:
    """Points one by one, each with a chain axis."""
    for i in range(parts(points)[0].shape[0]):
        yield rebuild(points, [x[i : i + 1] for x in parts(points)])


def _some(points: Any, count: int) -> Point:
    """Choose points ``(chain, draw, ...)``: half of them the largest, the others anywhere."""
    arrays = parts(points)
    shape = tuple(arrays[0].shape[:2])
    size = sum(
        np.asarray(to_numpy(namespace(x).sum(abs(x) ** 2, axis=tuple(range(2, x.ndim)))))
        for x in arrays
    )
    flat = np.where(np.isfinite(size), size, 0.0).reshape(-1)
    largest = np.argsort(-flat, kind="stable")[: count // 2]
    even = np.linspace(0, flat.size - 1, min(count - count // 2, flat.size)).astype(int)
    chains, draws = np.unravel_index(np.unique([*largest, *even]), shape)
    return rebuild(points, [_picked(x, chains, draws) for x in arrays])


def _picked(x: Any, chains: np.ndarray, draws: np.ndarray) -> np.ndarray:
    if isinstance(x, np.ndarray):
        return np.asarray(x[chains, draws])
    # Libraries differ in what they take as an index; few draws cross over.
    return np.stack([to_numpy(x[int(i), int(j), ...]) for i, j in zip(chains, draws, strict=True)])


def _outside() -> int:
    """Depth of the first frame that is not of this package, where a warning belongs."""
    depth = 1
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("dlngeom."):
        frame, depth = frame.f_back, depth + 1
    return depth
