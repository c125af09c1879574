"""From the arguments of a sampler to a trajectory, or to an error that carries what there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from dlngeom import observables
from dlngeom._array import Array, Seed, as_generator, namespace
from dlngeom.ambient import parts, rebuild
from dlngeom.submersion import Base, Point, RiemannianSubmersion
from dlngeom.trajectory import Trajectory, observe_along, with_chain
from dlngeom.walk_runs import Group, MemorySink, Result, groups, observed, run
from dlngeom.walk_steps import Plan
from dlngeom.walks import Walk, walk_of

__all__ = ["LangevinError", "Observe", "Options", "sample"]

Observe = Mapping[str, Callable[[Any], Any]]

# What an executor raises when its workers are gone.
_DEAD = (BrokenExecutor, EOFError, ConnectionError)


@dataclass(frozen=True)
class Options:
    """Options of a run, documented in :func:`dlngeom.langevin.brownian_motion`."""

    duration: float
    n_steps: int
    save_every: int
    n_chains: int | None
    observe: Observe | None
    pool: Any
    progress: bool
    checkpoint: Any
    rng: Seed

    def check(self) -> None:
        """Require sensible numbers.

        Raises
        ------
        ValueError, TypeError
        """
        if not self.duration > 0 or not math.isfinite(self.duration):
            raise ValueError(f"duration={self.duration!r}: it must be positive and finite")
        counts = {"n_steps": self.n_steps, "save_every": self.save_every}
        counts |= {} if self.n_chains is None else {"n_chains": self.n_chains}
        for name, value in counts.items():
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not whole or value < 1:
                raise ValueError(f"{name}={value!r}: it must be an integer >= 1")
        if not isinstance(self.observe, (Mapping, type(None))):
            raise TypeError(f"observe={self.observe!r}: it must be a dict from names to functions")
        if self.pool is not None and not hasattr(self.pool, "map"):
            raise TypeError(f"pool={self.pool!r}: it must have a method map")


class LangevinError(RuntimeError):
    """A run that could not be finished.

    Attributes
    ----------
    chain, step : int
        The chain that failed, and the step.
    time : float
        Time of the last finite state.
    point : Point
        Last finite state of the chain, without a chain axis.
    trajectory : Trajectory or None
        Draws of the block of chains that it belongs to, up to then.
    """

    def __init__(
        self,
        message: str,
        chain: int,
        step: int,
        time: float,
        point: Any,
        trajectory: Trajectory | None = None,
    ) -> None:
        super().__init__(message)
        self.chain, self.step, self.time = chain, step, time
        self.point, self.trajectory = point, trajectory

    def __reduce__(self) -> tuple[Any, ...]:
        rest = (self.chain, self.step, self.time, self.point, self.trajectory)
        return type(self), (str(self), *rest)


def sample(
    space: Base | RiemannianSubmersion,
    point: Point,
    options: Options,
    vertical: float,
    horizontal: float,
    call: Mapping[str, Any],
    energy_gradient: Callable[[Any], Any] | None = None,
) -> Trajectory:
    """Check, cut into blocks, walk, and put together."""
    options.check()
    start = _start(space, point, options.n_chains)
    walk = walk_of(space, start)
    return walk_on(walk, start, space, options, vertical, horizontal, call, energy_gradient)


def walk_on(
    walk: Walk,
    start: Point,
    space: Any,
    options: Options,
    vertical: float,
    horizontal: float,
    call: Mapping[str, Any],
    energy_gradient: Callable[[Any], Any] | None = None,
) -> Trajectory:
    """Follow a walk from a batched point."""
    state = walk.start(start)
    first = walk.point(state)
    functions = _functions(space, options.observe)
    observe_along([first], functions, parts(first)[0].shape[0])
    plan = Plan(
        walk, options.duration, options.n_steps, options.save_every, vertical, horizontal,
        energy_gradient, functions,
    )  # fmt: skip
    tasks = groups(plan, state, as_generator(options.rng), lambda i: MemorySink())
    results = _run_all(tasks, options)
    return _trajectory(plan, first, [result.draws for result in results], plan.times)


def _start(space: Any, point: Point, n_chains: int | None) -> Point:
    """Check a point and give it a chain axis."""
    check = getattr(space, "check_start", None) or getattr(space, "check_point", None)
    point = check(point) if check else point
    axes = _batch_axes(space, point)
    if axes == 0:
        single = with_chain(point)
        return single if n_chains is None else _repeated(single, int(n_chains))
    if axes != 1 or parts(point)[0].shape[0] == 0:
        batch = tuple(parts(point)[0].shape[:axes])
        raise ValueError(f"the point has batch shape {batch}: it must be () or (chain,)")
    if n_chains is not None:
        raise ValueError(
            f"n_chains={n_chains} and the point has a batch of {parts(point)[0].shape[0]}: "
            "give one of them"
        )
    return point


def _repeated(point: Point, chains: int) -> Point:
    def repeat(x: Array) -> Array:
        xp = namespace(x)
        return xp.asarray(xp.broadcast_to(x, (chains, *x.shape[1:])), copy=True)

    return rebuild(point, [repeat(x) for x in parts(point)])


def _batch_axes(space: Any, point: Point) -> int:
    if hasattr(space, "batch_axes"):
        return int(space.batch_axes(point))
    return int(parts(point)[0].ndim - parts(space.random_point(0))[0].ndim)


def _functions(space: Any, observe: Observe | None) -> dict[str, Callable[[Any], Any]]:
    if observe is not None:
        return dict(observe)
    networks = hasattr(space, "depth") and hasattr(space, "rank")
    return {"end_to_end": observables.end_to_end} if networks else {}


def _run_all(tasks: list[Group], options: Options) -> list[Result]:
    """Run all blocks, here or in a pool; the first failure ends the run."""
    total = sum(task.chains for task in tasks) * options.n_steps
    results: list[Result] = []
    with tqdm(
        total=total, unit="step", unit_scale=True, disable=not options.progress, desc="chains"
    ) as bar:
        try:
            for task, result in zip(tasks, _outcomes(tasks, options.pool, bar), strict=True):
                if result.failure is not None:
                    raise _failed(task, result)
                results.append(result)
        except _DEAD as error:
            raise _dead(tasks[len(results)], error) from error
    return results


def _outcomes(tasks: list[Group], pool: Any, bar: Any) -> Iterator[Result]:
    if pool is None:
        yield from map(partial(run, report=bar.update), tasks)
        return
    for task, result in zip(tasks, pool.map(run, tasks), strict=True):
        bar.update(task.chains * task.plan.n_steps)
        yield result


def _failed(task: Group, result: Result) -> LangevinError:
    failure, plan = result.failure, task.plan
    assert failure is not None
    chain, done = task.first + failure.chain, failure.step - 1
    time = plan.duration * done / plan.n_steps
    message = (
        f"chain {chain} failed at step {failure.step} of {plan.n_steps}, t={time:.6g}: "
        f"{failure.reason}; this error carries its last finite state"
    )
    first = plan.walk.point(task.state)
    times = plan.times[: result.draws[0].shape[1]]
    trajectory = _trajectory(plan, first, [result.draws], times)
    return LangevinError(message, chain, failure.step, time, failure.point, trajectory)


def _dead(task: Group, error: BaseException) -> LangevinError:
    last = task.first + task.chains - 1
    message = (
        f"the pool died, {type(error).__name__}: chains {task.first} to {last} had not come back"
    )
    return LangevinError(message, task.first, 0, 0.0, _one(task), None)


def _one(task: Group) -> Point:
    point = task.plan.walk.point(task.state)
    return rebuild(point, [x[0, ...] for x in parts(point)])


def _trajectory(
    plan: Plan, first: Point, draws: list[list[Array]], times: np.ndarray
) -> Trajectory:
    """Put the draws of blocks together, in the tuples of the first point."""
    columns = [
        column[0] if len(column) == 1 else namespace(*column).concat(list(column), axis=0)
        for column in zip(*draws, strict=True)
    ]
    values = observed(plan, first)
    points, found = rebuild((first, values), columns)
    return Trajectory(times, points, dict(zip(plan.observe, found, strict=True)))
