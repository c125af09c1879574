"""Runs of random walks in blocks of chains, each with a random stream of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from dlngeom._array import Array, namespace
from dlngeom.ambient import parts, rebuild
from dlngeom.trajectory import stack
from dlngeom.walk_steps import DivergenceError, Plan, advance
from dlngeom.walks import State

__all__ = ["BLOCK", "Block", "MemorySink", "Result", "Sink", "Snapshot", "blocks", "record", "run"]

# Chains that share a random stream: results depend on this number, and on no other grouping.
BLOCK = 64


class Snapshot(NamedTuple):
    """Where a block stands: enough to go on to the bit."""

    step: int
    state: State
    rng: np.random.Generator


class Sink(Protocol):
    """Where the draws of a block go."""

    def begin(self, snapshot: Snapshot, draw: Callable[[], list[Array]]) -> Snapshot:
        """Take the first draw, or return a snapshot from which to go on."""

    def save(self, snapshot: Snapshot, draw: list[Array]) -> None:
        """Take the state after a step, and a draw if that step is to be saved."""

    def end(self, snapshot: Snapshot) -> None:
        """Take note that the block is done."""

    def draws(self) -> list[Array]:
        """Arrays ``(chain, draw, ...)`` of all draws."""


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
        """Nothing is left to do."""

    def draws(self) -> list[Array]:
        """Arrays ``(chain, draw, ...)``."""
        return list(stack(self._draws))


class Block(NamedTuple):
    """A task for one worker.

    Attributes
    ----------
    plan : Plan
    first : int
        Number of its first chain.
    state : State
    rng : numpy.random.Generator
    sink : Sink
    """

    plan: Plan
    first: int
    state: State
    rng: np.random.Generator
    sink: Sink


class Result(NamedTuple):
    """What became of a block: its draws, if any are held in memory, and how it failed."""

    first: int
    draws: list[Array]
    failure: DivergenceError | None


def blocks(
    plan: Plan, state: State, rng: np.random.Generator, sinks: Iterable[Sink]
) -> list[Block]:
    """Cut chains into blocks; ``sinks`` gives one for each."""
    chains = parts(state)[0].shape[0]
    firsts = range(0, chains, BLOCK)
    streams = rng.spawn(len(firsts))
    states = (rebuild(state, [x[i : i + BLOCK, ...] for x in parts(state)]) for i in firsts)
    zipped = zip(firsts, states, streams, sinks, strict=False)
    return [Block(plan, *values) for values in zipped]


def run(block: Block, report: Callable[[int], None] | None = None) -> Result:
    """Walk a block to its end; a divergence becomes part of the result."""
    plan, sink = block.plan, block.sink
    start = Snapshot(0, block.state, block.rng)
    with np.errstate(all="ignore"):
        try:
            now = sink.begin(start, lambda: record(plan, block.state))
            for now in _steps(plan, now, report):  # noqa: B020
                sink.save(now, record(plan, now.state) if now.step in plan.saved else [])
        except DivergenceError as failure:
            return Result(block.first, sink.draws(), failure)
        sink.end(now)
    return Result(block.first, sink.draws(), None)


def _steps(
    plan: Plan, snapshot: Snapshot, report: Callable[[int], None] | None
) -> Iterator[Snapshot]:
    done, state, rng = snapshot
    chains = parts(state)[0].shape[0]
    if report and done:
        report(done * chains)
    for step in range(done + 1, plan.n_steps + 1):
        state = advance(plan, state, rng, step)
        yield Snapshot(step, state, rng)
        if report:
            report(chains)


def record(plan: Plan, state: State) -> list[Array]:
    """Arrays ``(chain, ...)`` of the point and of what is observed there."""
    point = plan.walk.point(state)
    values = [*parts(point), *parts(observed(plan, point))]
    # Some states, like an SVD from LAPACK, are views that would keep larger arrays alive.
    return [namespace(x).asarray(x, copy=True) for x in values]


def observed(plan: Plan, point: Any) -> tuple[Any, ...]:
    """Values of all functions to observe, in their order."""
    return tuple(_tuples(function(point)) for function in plan.observe.values())


def _tuples(value: Any) -> Any:
    return tuple(_tuples(x) for x in value) if isinstance(value, (tuple, list)) else value
