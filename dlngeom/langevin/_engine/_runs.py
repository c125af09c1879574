"""Driver of all samplers: from arguments to a trajectory, or to an error with the last state."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from dlngeom._lib import checks, memory
from dlngeom._lib.arrays import Array, Seed, as_generator, namespace, to_numpy
from dlngeom._lib.trajectory import Observe, Trajectory, observe_along
from dlngeom._lib.vectors import Point, batch_axes, parts, rebuild, with_chain
from dlngeom.langevin._engine._groups import (
    Group,
    MemorySink,
    Result,
    Sink,
    extras,
    groups,
    joined,
    observed,
    record,
    run,
)
from dlngeom.langevin._engine._pickles import is_of_pickle, unsendable
from dlngeom.langevin._engine._pools import DEAD, mapped
from dlngeom.langevin._engine._steps import DivergenceError, Plan, advance
from dlngeom.langevin._engine._streams import BLOCK, Streams
from dlngeom.submersion import Base, RiemannianSubmersion
from dlngeom.submersion._given import named
from dlngeom.submersion._offers import (
    HasBatchAxes,
    HasObservables,
    HasPointCheck,
    HasStartCheck,
    Walk,
    WalkState,
)
from dlngeom.submersion._walks import walk_of

__all__ = [
    "LangevinError",
    "RunOptions",
    "require_functions",
    "sample",
    "walk_on",
    "with_chains",
]

# Draws are kept one by one, and then joined.
_COPIES = 2
# Bytes of a saved time, and of the random stream of a chain.
_TIME = _STREAM = 24


@dataclass(frozen=True)
class RunOptions:
    """Options of a run, documented in :func:`dlngeom.langevin.brownian_motion`."""

    duration: float
    n_steps: int
    save_every: int
    n_chains: int | None
    observe: Observe | None
    pool: Any
    progress: bool
    checkpoint: str | os.PathLike[str] | None
    rng: Seed

    def check(self) -> None:
        """Check the options, but for those that need the point.

        Raises
        ------
        ValueError
            If a number is out of range.
        TypeError
            If ``observe``, ``pool`` or ``checkpoint`` is of the wrong type.
        """
        checks.positive("duration", self.duration)
        counts: dict[str, Any] = {"n_steps": self.n_steps, "save_every": self.save_every}
        counts |= {} if self.n_chains is None else {"n_chains": self.n_chains}
        for name, value in counts.items():
            checks.integer(name, value, 1)
        if not isinstance(self.observe, (Mapping, type(None))):
            raise TypeError(f"observe={self.observe!r}: it must be a dict from names to functions")
        for name, function in (self.observe or {}).items():
            if not callable(function):
                raise TypeError(f"observe[{name!r}]={function!r}: it must be a function")
        if not isinstance(self.checkpoint, (str, os.PathLike, type(None))):
            raise TypeError(f"checkpoint={self.checkpoint!r}: it must be the path of a folder")
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
        Draws of the group of chains that it belongs to, up to then.

    See Also
    --------
    dlngeom.langevin.brownian_motion : Raises it.
    dlngeom.langevin.riemannian_langevin : Raises it.
    dlngeom.langevin.network_langevin : Raises it.
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


def require_functions(**functions: Any) -> None:
    """Require functions of points downstairs, or None."""
    for name, value in functions.items():
        if value is not None and not callable(value):
            shown = " ".join(repr(value).split())[:60]
            raise TypeError(
                f"{name}={shown}: it must be a function, of batched end-to-end matrices or of "
                "points of the base"
            )


def sample(
    space: Base | RiemannianSubmersion,
    point: Point,
    options: RunOptions,
    vertical: float,
    horizontal: float,
    call: Mapping[str, Any],
    energy_gradient: Callable[[Any], Any] | None = None,
    walk: Walk | None = None,
) -> Trajectory:
    """Check a point and simulate a walk from it, by default that of the space."""
    options.check()
    start = _start(space, point, options.n_chains)
    walk = walk_of(space, start) if walk is None else walk
    return walk_on(walk, start, space, options, vertical, horizontal, call, energy_gradient)


def walk_on(
    walk: Walk,
    start: Point,
    space: Any,
    options: RunOptions,
    vertical: float,
    horizontal: float,
    call: Mapping[str, Any],
    energy_gradient: Callable[[Any], Any] | None = None,
) -> Trajectory:
    """Simulate a walk from a batched point."""
    options.check()
    state = walk.start(start)
    first = walk.point(state)
    functions = dict(_default(walk) if options.observe is None else options.observe)
    for name in extras(walk, state).keys() & functions.keys():
        raise ValueError(f"observe has the name {name!r}, which this run observes by itself")
    found = observe_along([first], functions, parts(first)[0].shape[0])
    plan = Plan(
        walk, options.duration, options.n_steps, options.save_every, vertical, horizontal,
        energy_gradient, functions,
    )  # fmt: skip
    _require_memory(plan, (first, *found.values(), *extras(walk, state).values()))
    streams = as_generator(options.rng).spawn(-(-parts(state)[0].shape[0] // BLOCK))
    with ExitStack() as held:
        sink = _sinks(plan, space, state, streams, options, call, held)
        results = _run_all(groups(plan, state, streams, sink), options)
    return _trajectory(plan, state, [result.draws for result in results], plan.times)


def _require_memory(plan: Plan, draw: Any) -> None:
    """Refuse a trajectory that does not fit into memory, before its first step."""
    draws = len(plan.saved)

    def cure(share: float) -> str:
        # Half of what would fit, since other things are in memory too.
        every = min(plan.n_steps, math.ceil(2 * plan.save_every / share))
        return f"raise save_every to {every}, start fewer chains or observe less"

    what = f"{draws} draws, for n_steps={plan.n_steps} and save_every={plan.save_every},"
    memory.require(what, draws * (_COPIES * memory.bytes_of(draw) + _TIME), cure)


def _sinks(
    plan: Plan,
    space: Any,
    state: WalkState,
    streams: list[np.random.Generator],
    options: RunOptions,
    call: Mapping[str, Any],
    held: ExitStack,
) -> Callable[[int], Sink]:
    """Keep draws in memory, or in a checkpoint that belongs to this call alone."""
    if options.checkpoint is None:
        return lambda first: MemorySink()
    if options.rng is None:
        raise ValueError("rng=None with a checkpoint: give a seed, so that the call can resume")
    # Imported here, since only runs with a checkpoint need zarr.
    from dlngeom.langevin._engine._checkpoints import open_checkpoint
    from dlngeom.langevin._engine._same_call import Call

    seeds = json.dumps([g.bit_generator.state for g in streams], default=lambda x: x.tolist())
    draw, size = record(plan, state), len(parts(plan.walk.point(state)))
    about = {
        # A default repr contains an address, which differs from run to run.
        "space": re.sub(r" at 0x[0-9a-f]+", "", repr(space)),
        **call,
        "duration": float(options.duration),
        "n_steps": int(options.n_steps),
        "save_every": int(options.save_every),
        "observe": sorted(plan.observe),
        "point": [f"{x.dtype}{tuple(x.shape)}" for x in draw[:size]],
        "rng": hashlib.sha256(seeds.encode()).hexdigest(),
    }
    energy = plan.energy_gradient
    names = {"energy_gradient": getattr(energy, "__qualname__", type(energy).__qualname__)}
    # Functions and spaces are compared by what they compute.
    values = {"point": draw[:size], "first draw": draw[size:], "trial step": _trial(plan, state)}
    known = Call(about, names, values)
    return open_checkpoint(options.checkpoint, known, draw, len(plan.saved), joined(state), held)


def _trial(plan: Plan, state: WalkState) -> tuple[Array, ...]:
    """Take a step of the first block with noise that is always the same."""
    block = rebuild(state, [x[:BLOCK, ...] for x in parts(state)])
    try:
        with np.errstate(all="ignore"):
            moved = advance(plan, block, Streams([np.random.default_rng(0)]), 1)
    except DivergenceError:
        return ()
    return parts(moved)


def _start(space: Any, point: Point, n_chains: int | None) -> Point:
    """Check a point and give it a chain axis."""
    if isinstance(space, HasStartCheck):
        point = space.check_start(point)
    elif isinstance(space, HasPointCheck):
        point = space.check_point(point)
    else:
        point = _fitting(space, point)
    return with_chains(point, _batch_axes(space, point), n_chains)


def _fitting(space: Any, point: Point) -> Point:
    """Require finite entries and the shape of a random point, for spaces without a check."""
    like = parts(space.random_point(0))
    given = parts(point)
    fits = len(like) == len(given) and all(
        tuple(x.shape[x.ndim - y.ndim :]) == tuple(y.shape) and x.ndim >= y.ndim
        for x, y in zip(given, like, strict=True)
        if hasattr(x, "ndim")
    )
    if not fits or not all(hasattr(x, "ndim") for x in given):
        shapes = [tuple(getattr(x, "shape", ())) for x in given]
        expected = [("...", *y.shape) for y in like]
        raise ValueError(f"the point has shapes {shapes}: those of {named(space)} are {expected}")
    for x in given:
        if not np.all(np.isfinite(to_numpy(x))):
            raise ValueError("the point is not finite: all entries must be")
    return point


def with_chains(point: Point, axes: int, n_chains: int | None) -> Point:
    """Give a point exactly one batch axis, that of chains.

    Raises
    ------
    ValueError
        If it has more batch axes, or has chains although ``n_chains`` is given.
    """
    if axes == 0:
        single = with_chain(point)
        return single if n_chains is None else _repeated(single, int(n_chains))
    count = parts(point)[0].shape[0]
    checks.chain_axis(tuple(parts(point)[0].shape[:axes]))
    if n_chains is not None:
        raise ValueError(f"n_chains={n_chains} and the point has {count} chains: give one of them")
    return point


def _repeated(point: Point, chains: int) -> Point:
    need = chains * (_COPIES * memory.bytes_of(point) + _STREAM)
    memory.require(f"n_chains={chains}", need, "start fewer chains")
    return rebuild(point, [namespace(x).repeat(x, chains, axis=0) for x in parts(point)])


def _batch_axes(space: Any, point: Point) -> int:
    if isinstance(space, HasBatchAxes):
        return space.batch_axes(point)
    return batch_axes(point, space.random_point(0))


def _default(walk: Walk) -> Observe:
    return walk.observables() if isinstance(walk, HasObservables) else {}


def _run_all(tasks: list[Group], options: RunOptions) -> list[Result]:
    """Run all groups, here or in a pool; the first failure ends the run."""
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
        except DEAD as error:
            raise _dead(tasks[len(results)], error) from error
    return results


def _outcomes(tasks: list[Group], pool: Any, bar: Any) -> Iterator[Result]:
    if pool is None:
        yield from map(partial(run, report=bar.update), tasks)
        return
    try:
        for task, result in zip(tasks, mapped(pool, run, tasks), strict=True):
            bar.update(task.chains * task.plan.n_steps)
            yield result
    except Exception as error:
        reason = unsendable(tasks[0]) if is_of_pickle(error) else None
        if reason is not None:
            raise TypeError(reason) from error
        raise


def _failed(task: Group, result: Result) -> LangevinError:
    failure, plan = result.failure, task.plan
    assert failure is not None
    chain, done = task.first + failure.chain, failure.step - 1
    time = plan.duration * done / plan.n_steps
    message = (
        f"chain {chain} failed at step {failure.step} of {plan.n_steps}, t={time:.6g}: "
        f"{failure.reason}; this error carries its last finite state"
    )
    message += _kept(task)
    times = plan.times[: result.draws[0].shape[1]]
    trajectory = _trajectory(plan, task.state, [result.draws], times)
    return LangevinError(message, chain, failure.step, time, failure.point, trajectory)


def _dead(task: Group, error: BaseException) -> LangevinError:
    last = task.first + task.chains - 1
    message = (
        f"the pool died, {type(error).__name__}: chains {task.first} to {last} had not come back"
    )
    # A checkpoint may know a later state of these chains than their first.
    known = task.sink.last(task.start)
    point = task.plan.walk.point(known.state)
    first = rebuild(point, [x[0, ...] for x in parts(point)])
    time = task.plan.duration * known.step / task.plan.n_steps
    kept = _kept(task)
    message += f"; chain {task.first} was last seen at step {known.step}"
    message += kept or "; with a checkpoint the same call would resume, in a new pool"
    return LangevinError(message, task.first, known.step, time, first, None)


def _kept(task: Group) -> str:
    folder = getattr(task.sink, "folder", None)
    return "" if folder is None else f"; what was computed stays in {folder}"


def _trajectory(
    plan: Plan, state: WalkState, draws: list[list[Array]], times: np.ndarray
) -> Trajectory:
    """Join the draws of all groups, in the structure of the first point."""
    columns = [
        column[0] if len(column) == 1 else namespace(*column).concat(list(column), axis=0)
        for column in zip(*draws, strict=True)
    ]
    names = [*plan.observe, *extras(plan.walk, state)]
    first = plan.walk.point(state)
    template = (first, (*observed(plan, first), *extras(plan.walk, state).values()))
    points, found = rebuild(template, columns)
    return Trajectory(times, points, dict(zip(names, found, strict=True)))
