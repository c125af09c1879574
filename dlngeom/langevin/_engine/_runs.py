"""Driver of all samplers: from arguments to a trajectory, or to an error with the last state."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from dlngeom._lib import checks, memory
from dlngeom._lib.arrays import Array, Seed, as_generator, namespace, to_numpy
from dlngeom._lib.trajectory import Observe, Trajectory, observe_along
from dlngeom._lib.vectors import Point, batch_axes, parts, rebuild, with_chain
from dlngeom.langevin._engine._adaptation import adapted_time
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
from dlngeom.langevin._engine._step_checks import StepWatch
from dlngeom.langevin._engine._steps import DivergenceError, Plan, advance
from dlngeom.langevin._engine._streams import BLOCK, Streams
from dlngeom.langevin._step_size import Scene, piloted_step
from dlngeom.submersion import Base, RiemannianSubmersion
from dlngeom.submersion._given import named, point_upstairs
from dlngeom.submersion._offers import (
    HasAcceptance,
    HasBatchAxes,
    HasObservables,
    HasPointCheck,
    HasStartCheck,
    HasSubmersion,
    Walk,
    WalkState,
)
from dlngeom.submersion._spaces import above
from dlngeom.submersion._walks import walk_of

__all__ = [
    "LangevinError",
    "RunOptions",
    "batched_start",
    "require_functions",
    "sample",
    "walk_on",
    "with_chains",
]

# Draws are kept one by one, and then joined.
_COPIES = 2
# Last draws of a chain among which its divergence is explained.
_SHOWN = 64
# Bytes of a saved time, and of the random stream of a chain.
_TIME = _STREAM = 24


@dataclass(frozen=True)
class RunOptions:
    """Options of a run, documented in :func:`dlngeom.langevin.brownian_motion`."""

    duration: float
    n_steps: int | str
    warmup: int
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
        if isinstance(self.n_steps, str) and self.n_steps != "auto":
            raise ValueError(f"n_steps={self.n_steps!r}: it must be an integer, or 'auto'")
        checks.integer("warmup", self.warmup, 0)
        counts: dict[str, Any] = {"save_every": self.save_every}
        counts |= {} if isinstance(self.n_steps, str) else {"n_steps": self.n_steps}
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
        The chain that failed, and the step; it is zero or less in the warm-up.
    time : float
        Time of the last finite state, negative in the warm-up.
    point : Point
        Last finite state of the chain, without a chain axis.
    trajectory : Trajectory or None
        Draws of the group of chains that it belongs to, up to then, if there were any.

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
    start = batched_start(space, point, options.n_chains)
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
    scene: Scene | None = None,
) -> Trajectory:
    """Simulate a walk from a batched point, with steps that are right for it or in a scene."""
    options.check()
    state = walk.start(start)
    first = walk.point(state)
    functions = dict(_default(walk) if options.observe is None else options.observe)
    for name in extras(walk, state).keys() & functions.keys():
        raise ValueError(f"observe has the name {name!r}, which this run observes by itself")
    found = observe_along([first], functions, parts(first)[0].shape[0])
    if scene is None:
        scene = Scene.of(space, walk, first, vertical, horizontal, energy_gradient)
    steps = _first_steps(options, scene, first)
    plan = Plan(
        walk, options.duration, steps, options.save_every, vertical, horizontal,
        energy_gradient, functions, options.warmup,
    )  # fmt: skip
    blocks = -(-parts(state)[0].shape[0] // BLOCK)
    adapting = isinstance(walk, HasAcceptance) and plan.warmup > 0
    streams = as_generator(options.rng).spawn(blocks + adapting)
    if adapting:
        plan = _with_steps(plan, adapted_time(plan, state, streams.pop()), options)
    _require_memory(plan, (first, *found.values(), *extras(walk, state).values()))
    watch = StepWatch(scene, plan.time, first, options.n_steps == "auto")
    with ExitStack() as held:
        sink = _sinks(plan, space, state, streams, options, call, held)
        results = _run_all(groups(plan, state, streams, sink), options, watch)
    run = _trajectory(plan, state, [result.draws for result in results], plan.times)
    if not isinstance(walk, HasAcceptance):
        watch.end(run.points, parts(state)[0].shape[0] * plan.last)
    return run


def _first_steps(options: RunOptions, scene: Scene, start: Point) -> int:
    """Count the steps of a run: as given, or by a pilot run."""
    if options.n_steps != "auto":
        return int(options.n_steps)
    few = rebuild(start, [to_numpy(x[:BLOCK, ...]) for x in parts(start)])
    return _count(options.duration, piloted_step(scene, few, options.duration))


def _count(duration: float, time: float) -> int:
    """Least number of equal steps that are not longer than ``time``, but for rounding."""
    return max(1, math.ceil(duration / time * (1 - 1e-9)))


def _with_steps(plan: Plan, time: float, options: RunOptions) -> Plan:
    """Plan with adapted steps: for as long as was asked for, or as many as were asked for."""
    if options.n_steps != "auto":
        return replace(plan, duration=plan.n_steps * time)
    return replace(plan, n_steps=_count(options.duration, time))


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
        "n_steps": options.n_steps if isinstance(options.n_steps, str) else int(options.n_steps),
        **({"warmup": int(options.warmup)} if options.warmup else {}),
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


def batched_start(space: Any, point: Point, n_chains: int | None) -> Point:
    """Check a point and give it a chain axis."""
    if isinstance(space, HasStartCheck):
        point = space.check_start(point)
    elif isinstance(space, HasPointCheck):
        point = space.check_point(point)
    else:
        point = _fitting(space, point)
        if isinstance(space, HasSubmersion):
            point_upstairs(space.space, above(space.space, point))
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


def _run_all(tasks: list[Group], options: RunOptions, watch: StepWatch) -> list[Result]:
    """Run all groups, here or in a pool; the first failure ends the run."""
    total = sum(task.chains for task in tasks) * tasks[0].plan.last
    watched = not isinstance(tasks[0].plan.walk, HasAcceptance) and options.pool is None
    results: list[Result] = []
    with tqdm(
        total=total, unit="step", unit_scale=True, disable=not options.progress, desc="chains"
    ) as bar:

        def report(steps: int) -> None:
            bar.update(steps)
            if watched:
                watch.passed(steps / tasks[0].chains)

        try:
            for task, result in zip(tasks, _outcomes(tasks, options.pool, report), strict=True):
                if result.failure is not None:
                    raise _failed(task, result, watch)
                results.append(result)
        except DEAD as error:
            raise _dead(tasks[len(results)], error) from error
    return results


def _outcomes(tasks: list[Group], pool: Any, report: Callable[[int], None]) -> Iterator[Result]:
    if pool is None:
        yield from map(partial(run, report=report), tasks)
        return
    try:
        for task, result in zip(tasks, mapped(pool, run, tasks), strict=True):
            report(task.chains * task.plan.last)
            yield result
    except Exception as error:
        reason = unsendable(tasks[0]) if is_of_pickle(error) else None
        if reason is not None:
            raise TypeError(reason) from error
        raise


def _failed(task: Group, result: Result, watch: StepWatch) -> LangevinError:
    failure, plan = result.failure, task.plan
    assert failure is not None
    chain, step = task.first + failure.chain, failure.step - plan.warmup
    time = plan.duration * (step - 1) / plan.n_steps
    where = f"step {step} of {plan.n_steps}"
    if step <= 0:
        where = f"step {failure.step} of the {plan.warmup} of the warm-up"
    trajectory = _trajectory_so_far(task, result)
    message = f"chain {chain} failed at {where}, t={time:.6g}: {failure.reason}"
    message += _too_long(task, failure, trajectory, watch)
    message += f"; this error carries its last finite state{_kept(task)}"
    return LangevinError(message, chain, step, time, failure.point, trajectory)


def _trajectory_so_far(task: Group, result: Result) -> Trajectory | None:
    """Draws of a group that failed, if there are any."""
    if not result.draws:
        return None
    times = task.plan.times[: result.draws[0].shape[1]]
    return _trajectory(task.plan, task.state, [result.draws], times)


def _too_long(
    task: Group, failure: DivergenceError, trajectory: Trajectory | None, watch: StepWatch
) -> str:
    """Say by which curvature the steps were too long, where that is why a chain diverged."""
    if isinstance(task.plan.walk, HasAcceptance):
        return ""
    start = task.plan.walk.point(task.state)
    points = rebuild(start, [to_numpy(x[failure.chain][None]) for x in parts(start)])
    if trajectory is not None:
        points = trajectory.points
        arrays = [to_numpy(x[failure.chain])[-_SHOWN:] for x in parts(points)]
        points = rebuild(points, arrays)
    last = rebuild(failure.point, [to_numpy(x)[None] for x in parts(failure.point)])
    return watch.explain(points, last)


def _dead(task: Group, error: BaseException) -> LangevinError:
    last = task.first + task.chains - 1
    message = (
        f"the pool died, {type(error).__name__}: chains {task.first} to {last} had not come back"
    )
    # A checkpoint may know a later state of these chains than their first.
    known = task.sink.last(task.start)
    point = task.plan.walk.point(known.state)
    first = rebuild(point, [x[0, ...] for x in parts(point)])
    time = task.plan.time * (known.step - task.plan.warmup)
    kept = _kept(task)
    step = known.step - task.plan.warmup
    message += f"; chain {task.first} was last seen at step {step}"
    message += kept or "; with a checkpoint the same call would resume, in a new pool"
    return LangevinError(message, task.first, step, time, first, None)


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
    return Trajectory(
        times, points, dict(zip(names, found, strict=True)),
        step_size=plan.time, invariants=partial(_invariants, plan.walk),
        running=tuple(extras(plan.walk, state)),
    )  # fmt: skip


def _invariants(walk: Walk, points: Point) -> dict[str, Any]:
    """Quantities that depend on no gauge: what a walk observes by default, or points downstairs."""
    if isinstance(walk, HasObservables):
        return {name: function(points) for name, function in walk.observables().items()}
    return {"downstairs": walk.below(walk.start(points))}
