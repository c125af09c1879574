"""One step of many chains: shorter parts where a state asks for them, and a name for failures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from dlngeom._array import Array, constant, namespace, to_numpy
from dlngeom.ambient import parts, rebuild
from dlngeom.walks import State, Walk

__all__ = ["BLOCK", "DivergenceError", "Plan", "Streams", "advance"]

# Chains that share a random stream: results depend on this number, and on no other grouping.
BLOCK = 64

# Noise of one step out of a frame, as a share of the smallest singular value.
_SHARE = 0.25

# Smallest part of a step that a state near a singularity may ask for; shorter ones would cost
# more than they gain, since the correction of the retraction is damped.
_FINEST = 0.25

Observe = Mapping[str, Callable[[Any], Any]]


@dataclass(frozen=True)
class Plan:
    """What all blocks of a run have in common; picklable if its functions are.

    Attributes
    ----------
    walk : Walk
    duration : float
        Time of all steps together.
    n_steps, save_every : int
    vertical, horizontal : float
        Variance of the two kinds of noise per coordinate and time.
    energy_gradient : callable or None
    observe : dict
        Name to function of the batched point.
    """

    walk: Walk
    duration: float
    n_steps: int
    save_every: int
    vertical: float
    horizontal: float
    energy_gradient: Callable[[Any], Any] | None = None
    observe: Observe = field(default_factory=dict)

    @cached_property
    def saved(self) -> frozenset[int]:
        """Saved steps: every ``save_every``-th, and the last."""
        return frozenset({*range(0, self.n_steps, self.save_every), self.n_steps})

    @property
    def times(self) -> np.ndarray:
        """Saved times."""
        return self.duration * np.asarray(sorted(self.saved)) / self.n_steps


class Streams:
    """One random generator for each block of chains.

    Parameters
    ----------
    generators : list of numpy.random.Generator
    """

    def __init__(self, generators: list[np.random.Generator]) -> None:
        self.generators = generators

    def normal(self, shape: tuple[int, ...], chains: np.ndarray | None, dtype: Any) -> np.ndarray:
        """Gaussian numbers for some chains, or all, each from the stream of its block."""
        count = len(self.generators)
        if chains is None:
            sizes = np.full(count, BLOCK)
            sizes[-1] = shape[0] - BLOCK * (count - 1)
        else:
            sizes = np.bincount(chains // BLOCK, minlength=count)
        drawn = [
            generator.standard_normal((size, *shape[1:]), dtype=dtype)
            for generator, size in zip(self.generators, sizes, strict=True)
            if size
        ]
        return drawn[0] if len(drawn) == 1 else np.concatenate(drawn)


class DivergenceError(RuntimeError):
    """A chain that stopped being finite.

    Attributes
    ----------
    chain, step : int
        Chain within its block, and the step that failed.
    reason : str
    point : Point
        Last finite state of the chain.
    """

    def __init__(self, chain: int, step: int, reason: str, point: Any) -> None:
        super().__init__(chain, step, reason, point)
        self.chain, self.step, self.reason, self.point = chain, step, reason, point


def advance(plan: Plan, state: State, streams: Streams, step: int) -> State:
    """Take one step with all chains, in parts with those whose state asks for shorter ones."""
    whole = plan.duration / plan.n_steps
    limit = _limit(plan, state)
    if limit is None or float(limit.min()) >= whole:
        return _part(plan, state, streams, step, whole)
    remaining = np.full(len(limit), whole)
    while True:
        active = np.flatnonzero(remaining > 0)
        if len(active) == 0:
            return state
        chosen = _take(state, active)
        limit = _limit(plan, chosen)
        time = np.minimum(remaining[active], np.maximum(limit, _FINEST * whole))
        moved = _part(plan, chosen, streams, step, time, active)
        remaining[active] -= time
        state = _put(state, active, moved)


def _limit(plan: Plan, state: State) -> Any:
    """Longest time ``(chain,)`` over which the noise stays small for the state."""
    reach = plan.walk.reach(state)
    if reach is None:
        return None
    noise = max(plan.vertical, plan.horizontal)
    return (_SHARE * to_numpy(reach).astype(np.float64)) ** 2 / max(noise, 1e-300)


def _part(
    plan: Plan,
    state: State,
    streams: Streams,
    step: int,
    time: Any,
    chains: np.ndarray | None = None,
) -> State:
    """Move all chains of a state by a time, one for all or one each."""
    like = _real(state)
    covector = _slope(plan, state, step, chains)
    noise = plan.walk.noise(state, _drawer(streams, chains, like))
    vertical = _root(plan.vertical, time, like)
    same = plan.horizontal == plan.vertical
    horizontal = vertical if same else _root(plan.horizontal, time, like)
    when = time if isinstance(time, float) else constant(time, like)
    given = (state, noise, covector, when, vertical, horizontal)
    try:
        moved = plan.walk.step(*given)
        bad = _first_bad(moved)
    except np.linalg.LinAlgError:
        moved, bad = state, _culprit(plan, given)
    if bad is not None:
        reason = "the step is so long that the chain diverges"
        raise _diverged(plan, state, bad, step, chains, reason)
    return moved


def _culprit(plan: Plan, given: tuple[Any, ...]) -> int:
    """Find the chain that fails by itself, since LAPACK gives up on a whole batch."""
    count = parts(given[0])[0].shape[0]
    for i in range(count):
        alone = [_alone(value, i, count) for value in given]
        try:
            if _first_bad(plan.walk.step(*alone)) is not None:
                return i
        except np.linalg.LinAlgError:
            return i
    raise np.linalg.LinAlgError(f"a step of {count} chains failed, but none of them alone")


def _alone(value: Any, i: int, count: int) -> Any:
    """One chain of arrays; what has no chain axis stays."""

    def pick(x: Any) -> Any:
        batched = getattr(x, "ndim", 0) and x.shape[0] == count
        return x[i : i + 1, ...] if batched else x

    return rebuild(value, [pick(x) for x in parts(value)])


def _diverged(
    plan: Plan, state: State, bad: int, step: int, chains: np.ndarray | None, reason: str
) -> DivergenceError:
    chain = bad if chains is None else int(chains[bad])
    last = plan.walk.point(_take(state, np.asarray([bad])))
    return DivergenceError(chain, step, reason, rebuild(last, [x[0, ...] for x in parts(last)]))


def _first_bad(value: Any) -> int | None:
    """First chain with an entry that is not finite."""
    for x in parts(value):
        rows = np.isfinite(to_numpy(x))
        if not rows.all():
            return int(np.argmin(rows.reshape(len(rows), -1).all(axis=1)))
    return None


def _root(variance: float, time: Any, like: Array) -> Any:
    if isinstance(time, float):
        return math.sqrt(variance * time)
    return constant(np.sqrt(variance * time), like)


def _real(state: State) -> Array:
    """Return some real array of a state, for its library and precision."""
    x = parts(state)[0]
    xp = namespace(x)
    return xp.real(x) if xp.isdtype(x.dtype, "complex floating") else x


def _drawer(
    streams: Streams, chains: np.ndarray | None, like: Array
) -> Callable[[tuple[int, ...]], Array]:
    dtype = np.float32 if "float32" in str(like.dtype) else np.float64
    return lambda shape: constant(streams.normal(shape, chains, dtype), like)


def _slope(plan: Plan, state: State, step: int, chains: np.ndarray | None) -> Any:
    """Covector of the energy, finite for every chain."""
    if plan.energy_gradient is None:
        return None
    value = plan.walk.covector(state, plan.energy_gradient(plan.walk.below(state)))
    count = parts(state)[0].shape[0]
    dense = [x for x in parts(value) if getattr(x, "ndim", 0) and x.shape[0] == count]
    bad = _first_bad(tuple(dense))
    if bad is not None:
        raise _diverged(plan, state, bad, step, chains, "the energy gradient is not finite")
    return value


def _take(state: State, chains: np.ndarray) -> State:
    return rebuild(state, [x[_index(chains, x), ...] for x in parts(state)])


def _put(state: State, chains: np.ndarray, moved: State) -> State:
    """State in which some chains have moved."""
    count = len(parts(state)[0])
    if len(chains) == count:
        return moved
    order = np.arange(count)
    order[chains] = count + np.arange(len(chains))

    def join(x: Array, y: Array) -> Array:
        both = namespace(x, y).concat([x, y], axis=0)
        return both[_index(order, x), ...]

    pairs = zip(parts(state), parts(moved), strict=True)
    return rebuild(state, [join(x, y) for x, y in pairs])


def _index(values: np.ndarray, like: Array) -> Array:
    return values if isinstance(like, np.ndarray) else namespace(like).asarray(values)
