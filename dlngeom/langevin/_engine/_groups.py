"""Runs of random walks in groups of blocks of chains, each block with a random stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, NamedTuple, Protocol

import array_api_compat
import numpy as np

from dlngeom._lib.arrays import Array, namespace
from dlngeom._lib.vectors import parts, rebuild, stack
from dlngeom.langevin._engine._steps import DivergenceError, Plan, advance
from dlngeom.langevin._engine._streams import BLOCK, Streams
from dlngeom.submersion._offers import HasExtras, Walk, WalkState

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

# Numbers in the states of a group: many enough to hide the cost of calls, few enough for caches.
_NUMBERS = 2**17

# The same on an accelerator, and for arrays whose library compiles, which have other costs.
_MANY_NUMBERS = 2**25

# Groups that a run has at least, if it has as many blocks, for the workers of a pool.
_GROUPS = 4

# Bytes of the block that is freed once, below what the C library treats apart.
_BLOCK = 2**24


class Snapshot(NamedTuple):
    """Where a group stands: enough to go on to the bit."""

    step: int
    state: WalkState
    streams: Streams


class Sink(Protocol):
    """Where the draws of a group go."""

    def begin(self, snapshot: Snapshot, draw: Callable[[], list[Array]]) -> Snapshot:
        """Take the first draw, or return a snapshot from which to go on."""

    def save(self, snapshot: Snapshot, draw: list[Array]) -> None:
        """Take the state after a step, and a draw if that step is to be saved."""

    def end(self, snapshot: Snapshot) -> None:
        """Take note that the run is over, well or badly."""

    def draws(self) -> list[Array]:
        """Arrays ``(chain, draw, ...)`` of all draws."""

    def last(self, snapshot: Snapshot) -> Snapshot:
        """Return what is known of a group that did not come back, which began so."""


class MemorySink:
    """Draws in a list."""

    def __init__(self) -> None:
        self._draws: list[tuple[Array, ...]] = []

    def begin(self, snapshot: Snapshot, draw: Callable[[], list[Array]]) -> Snapshot:
        """Take the first draw."""
        self._draws = [tuple(draw())]
        return snapshot

    def save(self, snapshot: Snapshot, draw: list[Array]) -> None:
        """Take a draw if there is one."""
        if draw:
            self._draws.append(tuple(draw))

    def end(self, snapshot: Snapshot) -> None:
        """Do nothing: all is in memory."""

    def draws(self) -> list[Array]:
        """Arrays ``(chain, draw, ...)``."""
        return list(stack(self._draws))

    def last(self, snapshot: Snapshot) -> Snapshot:
        """Nothing but the beginning."""
        return snapshot


class Group(NamedTuple):
    """A task for one worker.

    Attributes
    ----------
    plan : Plan
    first : int
        Number of its first chain.
    state : State
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
        """Where it begins."""
        return Snapshot(0, self.state, self.streams)

    @property
    def chains(self) -> int:
        """Count the chains."""
        return int(parts(self.state)[0].shape[0])


class Result(NamedTuple):
    """What became of a group: its draws, and how it failed, if it did."""

    draws: list[Array]
    failure: DivergenceError | None


def joined(state: WalkState) -> int:
    """Count the chains of a group, by the number and size of all chains alone."""
    first = parts(state)[0]
    streams = -(-first.shape[0] // BLOCK)
    numbers = sum(math.prod(x.shape[1:]) for x in parts(state))
    if array_api_compat.is_jax_array(first) or "cpu" not in str(array_api_compat.device(first)):
        return int(BLOCK * max(1, min(_MANY_NUMBERS // (BLOCK * numbers), streams)))
    return int(BLOCK * max(1, min(_NUMBERS // (BLOCK * numbers), streams // _GROUPS)))


def groups(
    plan: Plan, state: WalkState, streams: list[np.random.Generator], sink: Callable[[int], Sink]
) -> list[Group]:
    """Cut chains into groups; ``sink`` makes one for the number of a first chain."""
    size, tasks = joined(state), []
    for first in range(0, parts(state)[0].shape[0], size):
        # Copies, in one order of entries: another may change the last bits in another process.
        cuts = [x[first : first + size, ...] for x in parts(state)]
        cuts = [np.array(x, order="C") if type(x) is np.ndarray else x for x in cuts]
        cut = rebuild(state, cuts)
        own = Streams(streams[first // BLOCK : (first + size) // BLOCK])
        tasks.append(Group(plan, first, cut, own, sink(first)))
    return tasks


def run(group: Group, report: Callable[[int], None] | None = None) -> Result:
    """Walk a group to its end; a divergence becomes part of the result.

    The group stays as it was, so that a pool may run it again where a worker died.
    """
    plan, sink = group.plan, group.sink
    _keep_memory()
    start, failure = group.start._replace(streams=deepcopy(group.streams)), None
    with np.errstate(all="ignore"):
        now = sink.begin(start, lambda: record(plan, group.state))
        try:
            for now in _steps(plan, now, report):  # noqa: B020
                sink.save(now, record(plan, now.state) if now.step in plan.saved else [])
        except DivergenceError as error:
            failure = error
        sink.end(now)
    return Result(sink.draws(), failure)


def _keep_memory() -> None:
    """Let the C library keep what is freed after a step, which otherwise costs a third of it.

    It returns memory to the system above a threshold that grows with the largest block freed.
    """
    np.empty(_BLOCK, dtype=np.uint8)


def _steps(
    plan: Plan, snapshot: Snapshot, report: Callable[[int], None] | None
) -> Iterator[Snapshot]:
    done, state, streams = snapshot
    chains = parts(state)[0].shape[0]
    if report and done:
        report(done * chains)
    for step in range(done + 1, plan.n_steps + 1):
        state = advance(plan, state, streams, step)
        yield Snapshot(step, state, streams)
        if report:
            report(chains)


def record(plan: Plan, state: WalkState) -> list[Array]:
    """Arrays ``(chain, ...)`` of the point and of what is observed there."""
    point = plan.walk.point(state)
    values = [*parts(point), *parts(observed(plan, point)), *extras(plan.walk, state).values()]
    # Some arrays, like what LAPACK returns, are views that would keep larger ones alive.
    return [namespace(x).asarray(x, copy=True) for x in values]


def observed(plan: Plan, point: Any) -> tuple[Any, ...]:
    """Values of all functions to observe, in their order."""
    return tuple(_tuples(function(point)) for function in plan.observe.values())


def extras(walk: Walk, state: WalkState) -> dict[str, Array]:
    """Quantities ``(chain, ...)`` that a walk keeps account of by itself."""
    return walk.extras(state) if isinstance(walk, HasExtras) else {}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(x) for x in value) if isinstance(value, (tuple, list)) else value
