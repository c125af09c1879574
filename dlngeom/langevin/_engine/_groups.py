"""Groups of chains, the tasks of a run: whole blocks of 64, each with its random stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple, Protocol

import array_api_compat
import numpy as np

from dlngeom._lib.arrays import Array, namespace, to_numpy
from dlngeom._lib.vectors import parts, read_only, rebuild, stack
from dlngeom.langevin._engine._steps import DivergenceError, Plan, advance
from dlngeom.langevin._engine._streams import BLOCK, Streams
from dlngeom.submersion._offers import HasAcceptance, HasExtras, Walk, WalkState

__all__ = [
    "Group",
    "MemorySink",
    "Result",
    "Sink",
    "Snapshot",
    "extras",
    "groups",
    "joined",
    "observed",
    "record",
    "run",
]

# Numbers in the states of a group: enough to hide the cost of calls, few enough for caches.
_NUMBERS = 2**17

# The same on an accelerator and for compiled code, where a call costs more.
_MANY_NUMBERS = 2**25

# Least number of groups, as far as they are worth their calls, so that a pool has work to share.
_GROUPS = 4

# Numbers in the states of a group that are worth the calls of a step, which cost as much as they.
_FEW_NUMBERS = 2**12

# Bytes of the block that _keep_memory frees; much larger ones do not raise the threshold.
_BLOCK = 2**24


class Snapshot(NamedTuple):
    """All that a group needs to continue after a step, with results equal to the bit."""

    step: int
    state: WalkState
    streams: Streams


class Sink(Protocol):
    """Storage for the draws of a group."""

    def begin(self, snapshot: Snapshot, draw: Callable[[], list[Array]]) -> Snapshot:
        """Take the first draw, or return a snapshot from which to go on.

        What ``draw`` returns is empty if the start is no draw.
        """

    def save(self, snapshot: Snapshot, draw: list[Array]) -> None:
        """Take the state after a step, and a draw if that step is to be saved."""

    def end(self, snapshot: Snapshot) -> None:
        """Note that the run is over, whether it succeeded or failed."""

    def draws(self) -> list[Array]:
        """Arrays ``(chain, draw, ...)`` of all draws."""

    def last(self, snapshot: Snapshot) -> Snapshot:
        """Return the last known state of a group whose worker died, given its first."""


class MemorySink:
    """Sink that keeps draws in memory."""

    def __init__(self) -> None:
        self._draws: list[tuple[Array, ...]] = []

    def begin(self, snapshot: Snapshot, draw: Callable[[], list[Array]]) -> Snapshot:
        """Take the first draw, if the start is one."""
        first = draw()
        self._draws = [tuple(first)] if first else []
        return snapshot

    def save(self, snapshot: Snapshot, draw: list[Array]) -> None:
        """Take a draw if there is one."""
        if draw:
            self._draws.append(tuple(draw))

    def end(self, snapshot: Snapshot) -> None:
        """Do nothing: all is in memory."""

    def draws(self) -> list[Array]:
        """Arrays ``(chain, draw, ...)``."""
        return list(_stacked(self._draws)) if self._draws else []

    def last(self, snapshot: Snapshot) -> Snapshot:
        """Return the first state: nothing else is known."""
        return snapshot


def _stacked(draws: list[tuple[Array, ...]]) -> tuple[Array, ...]:
    """Draws ``(chain, draw, ...)``; those of jax by numpy, since jax compiles for each number."""
    like = draws[0]
    if not all(array_api_compat.is_jax_array(x) for x in like):
        return tuple(stack(draws))
    columns = stack([tuple(to_numpy(x) for x in draw) for draw in draws])
    pairs = zip(columns, like, strict=True)
    return tuple(namespace(x).asarray(y, device=array_api_compat.device(x)) for y, x in pairs)


class Group(NamedTuple):
    """A task for one worker.

    Attributes
    ----------
    plan : Plan
    first : int
        Number of its first chain.
    state : WalkState
    streams : Streams
    sink : Sink
    """

    plan: Plan
    first: int
    state: WalkState
    streams: Streams
    sink: Sink

    @property
    def start(self) -> Snapshot:
        """State before the first step."""
        return Snapshot(0, self.state, self.streams)

    @property
    def chains(self) -> int:
        """Count the chains."""
        return int(parts(self.state)[0].shape[0])


class Result(NamedTuple):
    """Outcome of a group: its draws, and the failure that ended it, if any."""

    draws: list[Array]
    failure: DivergenceError | None


def joined(state: WalkState) -> int:
    """Choose the size of groups, by the number and size of the chains alone."""
    first = parts(state)[0]
    streams = -(-first.shape[0] // BLOCK)
    numbers = sum(math.prod(x.shape[1:]) for x in parts(state))
    if array_api_compat.is_jax_array(first) or "cpu" not in str(array_api_compat.device(first)):
        return int(BLOCK * max(1, min(_MANY_NUMBERS // (BLOCK * numbers), streams)))
    least = -(-_FEW_NUMBERS // (BLOCK * numbers))
    most = _NUMBERS // (BLOCK * numbers)
    return int(BLOCK * max(1, min(most, max(least, streams // _GROUPS))))


def groups(
    plan: Plan, state: WalkState, streams: list[np.random.Generator], sink: Callable[[int], Sink]
) -> list[Group]:
    """Cut chains into groups; ``sink`` maps the first chain of a group to its sink."""
    size, tasks = joined(state), []
    for first in range(0, parts(state)[0].shape[0], size):
        # Copies in one memory order, on which the last bits of a result depend.
        cuts = [x[first : first + size, ...] for x in parts(state)]
        cuts = [np.array(x, order="C") if type(x) is np.ndarray else x for x in cuts]
        cut = rebuild(state, cuts)
        own = Streams(streams[first // BLOCK : (first + size) // BLOCK])
        tasks.append(Group(plan, first, cut, own, sink(first)))
    return tasks


def run(group: Group, report: Callable[[int], None] | None = None) -> Result:
    """Walk a group to its end; a divergence becomes part of the result.

    The group itself does not change, so that a pool can run it again after a worker died.
    """
    plan, sink = group.plan, group.sink
    _keep_memory()
    start, failure = group.start._replace(streams=deepcopy(group.streams)), None
    with np.errstate(all="ignore"):
        draw = _recorder(plan, group.state)
        now = sink.begin(start, lambda: [] if plan.warmup else draw(group.state))
        try:
            for now in _steps(plan, now, report):  # noqa: B020
                sink.save(now, draw(now.state) if now.step in plan.saved else [])
        except DivergenceError as error:
            failure = error
        sink.end(now)
    return Result(sink.draws(), failure)


def _recorder(plan: Plan, state: WalkState) -> Callable[[WalkState], list[Array]]:
    """Return :func:`record` for a plan, compiled for jax arrays where that is possible."""
    plainly = partial(record, plan)
    if not array_api_compat.is_jax_array(parts(state)[0]):
        return plainly
    # Imported here, since only jax arrays need jax.
    from dlngeom.langevin._engine._compiled import compiled_record

    return compiled_record(plan, state, plainly)


def _keep_memory() -> None:
    """Let the C library keep freed memory; returning it would take a third of each step.

    It returns blocks above a threshold to the system, and freeing a large one raises the threshold.
    """
    np.empty(_BLOCK, dtype=np.uint8)


def _steps(
    plan: Plan, snapshot: Snapshot, report: Callable[[int], None] | None
) -> Iterator[Snapshot]:
    done, state, streams = snapshot
    chains = parts(state)[0].shape[0]
    if report and done:
        report(done * chains)
    if array_api_compat.is_jax_array(parts(state)[0]):
        # Imported here, since only jax arrays need jax.
        from dlngeom.langevin._engine._compiled import compiled_run, legs

        compiled = compiled_run(plan, state, streams, done)
        if compiled is not None:
            for last in legs(plan, done):
                state = _warmed(plan, compiled(done, state, last), last)
                yield Snapshot(last, state, streams)
                if report:
                    report((last - done) * chains)
                done = last
            return
    for step in range(done + 1, plan.last + 1):
        state = _warmed(plan, advance(plan, state, streams, step), step)
        yield Snapshot(step, state, streams)
        if report:
            report(chains)


def _warmed(plan: Plan, state: WalkState, step: int) -> WalkState:
    """State after a step, from which walks count anew at the end of the warm-up."""
    if step == plan.warmup and isinstance(plan.walk, HasAcceptance):
        return plan.walk.warmed(state)
    return state


def record(plan: Plan, state: WalkState) -> list[Array]:
    """Arrays ``(chain, ...)`` of the point and of what is observed there."""
    point = plan.walk.point(state)
    values = [*parts(point), *parts(observed(plan, point))]
    values += parts(tuple(extras(plan.walk, state).values()))
    # Some arrays, like what LAPACK returns, are views that would keep larger ones alive.
    return [namespace(x).asarray(x, copy=True) for x in values]


def observed(plan: Plan, point: Any) -> tuple[Any, ...]:
    """Values of all functions to observe, in their order."""
    shown = read_only(point)
    return tuple(_tuples(function(shown)) for function in plan.observe.values())


def extras(walk: Walk, state: WalkState) -> dict[str, Array]:
    """Quantities ``(chain, ...)`` that a walk records by itself."""
    return walk.extras(state) if isinstance(walk, HasExtras) else {}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(x) for x in value) if isinstance(value, (tuple, list)) else value
