"""One step of many chains: substeps near a singularity, and errors that name the chain."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import array_api_compat
import numpy as np

from dlngeom._lib.arrays import Array, constant, namespace, to_numpy
from dlngeom._lib.trajectory import Observe
from dlngeom._lib.vectors import copied, parts, rebuild
from dlngeom.langevin._engine._streams import Streams
from dlngeom.submersion._offers import HasCompiledSteps, Walk, WalkState

__all__ = [
    "FINEST",
    "SHARE",
    "DivergenceError",
    "Plan",
    "StepError",
    "advance",
    "first_bad",
    "padded",
    "put",
    "take",
]

# Largest noise of one substep, as a fraction of what turns the frames by a small angle.
SHARE = 0.25

# Shortest substep near a singularity, as a fraction of a step; shorter ones would cost more than
# they gain, since the correction of the retraction is damped.
FINEST = 0.25


@dataclass(frozen=True)
class Plan:
    """What all groups of chains in a run share; picklable if its functions are.

    Attributes
    ----------
    walk : Walk
    duration : float
        Total time of all steps.
    n_steps, save_every : int
        Steps after the warm-up, and from one draw to the next.
    vertical, horizontal : float
        Variance of the noise along and across the fibres, per coordinate and unit of time.
    energy_gradient : callable or None
    observe : dict
        Name to function of the batched point.
    warmup : int
        Steps before the first draw; they count too where a step has a number.
    """

    walk: Walk
    duration: float
    n_steps: int
    save_every: int
    vertical: float
    horizontal: float
    energy_gradient: Callable[[Any], Any] | None = None
    observe: Observe = field(default_factory=dict)
    warmup: int = 0

    @property
    def time(self) -> float:
        """Time of one step."""
        return self.duration / self.n_steps

    @property
    def last(self) -> int:
        """Number of the last step."""
        return self.warmup + self.n_steps

    @cached_property
    def saved(self) -> SavedSteps:
        """Saved steps: every ``save_every``-th after the warm-up, and the last."""
        return SavedSteps(range(self.warmup, self.last, self.save_every), self.last)

    @property
    def times(self) -> np.ndarray:
        """Saved times."""
        steps = self.saved.regular
        every = np.arange(0, self.n_steps, steps.step)
        return self.duration * np.append(every, self.n_steps) / self.n_steps


@dataclass(frozen=True)
class SavedSteps:
    """Steps at regular intervals and the last one, which take no memory however many they are.

    Attributes
    ----------
    regular : range
    last : int
    """

    regular: range
    last: int

    def __contains__(self, step: int) -> bool:
        return step in self.regular or step == self.last

    def __len__(self) -> int:
        return len(self.regular) + 1


class DivergenceError(RuntimeError):
    """A chain that stopped being finite.

    Attributes
    ----------
    chain, step : int
        Chain within its group, and the step that failed.
    reason : str
    point : Point
        Last finite state of the chain.
    """

    def __init__(self, chain: int, step: int, reason: str, point: Any) -> None:
        super().__init__(chain, step, reason, point)
        self.chain, self.step, self.reason, self.point = chain, step, reason, point


class StepError(ArithmeticError):
    """A step that a walk cannot take, for a reason that it knows.

    Attributes
    ----------
    chain : int
        Chain among those that were to move.
    reason : str
    """

    def __init__(self, chain: int, reason: str) -> None:
        super().__init__(chain, reason)
        self.chain, self.reason = chain, reason


def advance(plan: Plan, state: WalkState, streams: Streams, step: int) -> WalkState:
    """Take one step with all chains; those near a singularity take it in substeps."""
    whole = plan.time
    reach = plan.walk.reach(state)
    # A single number leaves the device of the state, unless some chain needs substeps.
    if reach is None or _limit(plan, _smallest(reach)) >= whole:
        return _part(plan, state, streams, step, whole)
    remaining = np.full(reach.shape[0], whole)
    while True:
        active = np.flatnonzero(remaining > 0)
        if len(active) == 0:
            return state
        active = padded(active, parts(state)[0])
        chosen = take(state, active)
        near = plan.walk.reach(chosen)
        limit = math.inf if near is None else _limit(plan, to_numpy(near).astype(np.float64))
        time = np.minimum(remaining[active], np.maximum(limit, FINEST * whole))
        moved = _part(plan, chosen, streams, step, time, active)
        remaining[active] -= time
        state = put(state, active, moved)


def padded(chains: np.ndarray, like: Array) -> np.ndarray:
    """Pad a list of chains to one of few lengths for jax, which compiles each new shape."""
    if not array_api_compat.is_jax_array(like):
        return chains
    size = min(2 ** max(6, (len(chains) - 1).bit_length()), like.shape[0])
    return np.pad(chains, (0, size - len(chains)), mode="edge")


def _smallest(x: Array) -> float:
    return float(x.min() if type(x) is np.ndarray else namespace(x).min(x))


def _limit(plan: Plan, reach: Any) -> Any:
    """Longest time over which the noise stays small for a state."""
    small = SHARE * reach
    # A product, since the power of a large number raises where its square overflows.
    return small * small / max(plan.vertical, plan.horizontal, 1e-300)


def _part(
    plan: Plan,
    state: WalkState,
    streams: Streams,
    step: int,
    time: Any,
    chains: np.ndarray | None = None,
) -> WalkState:
    """Move all chains of a state by a time, the same for all or one for each."""
    like = _real(state)
    covector = _slope(plan, state, step, chains)
    noise = plan.walk.noise(state, _drawer(streams, chains, like))
    vertical = _root(plan.vertical, time, like)
    same = plan.horizontal == plan.vertical
    horizontal = vertical if same else _root(plan.horizontal, time, like)
    when = time if isinstance(time, float) else constant(time, like)
    given = (state, noise, covector, when, vertical, horizontal)
    try:
        moved = _stepper(plan.walk, like, same)(*given)
        bad = first_bad(moved)
    except np.linalg.LinAlgError:
        moved, bad = state, _culprit(plan, given)
    except StepError as error:
        raise _diverged(plan, state, error.chain, step, chains, error.reason) from None
    if bad is not None:
        reason = "the step is so long that the chain diverges"
        raise _diverged(plan, state, bad, step, chains, reason)
    return moved


def _stepper(walk: Walk, like: Array, same: bool) -> Callable[..., WalkState]:
    """Step of a walk, compiled for jax arrays if the walk says that it can be."""
    if not (
        array_api_compat.is_jax_array(like) and isinstance(walk, HasCompiledSteps) and walk.compiles
    ):
        return walk.step
    hashable: Any = walk
    return _compiled(hashable, same)


@lru_cache(maxsize=32)
def _compiled(walk: Any, same: bool) -> Callable[..., WalkState]:
    import jax

    def step(
        state: WalkState, noise: Any, covector: Any, time: Any, vertical: Any, horizontal: Any
    ) -> WalkState:
        # Walks take a short cut if both are the same object, which two tracers are not.
        return walk.step(state, noise, covector, time, vertical, vertical if same else horizontal)

    compiled: Callable[..., WalkState] = jax.jit(step)
    return compiled


def _culprit(plan: Plan, given: tuple[Any, ...]) -> int:
    """Find the chain that fails when stepped alone, since LAPACK gives up on a whole batch."""
    count = parts(given[0])[0].shape[0]
    for i in range(count):
        alone = [_alone(value, i, count) for value in given]
        try:
            if first_bad(plan.walk.step(*alone)) is not None:
                return i
        except np.linalg.LinAlgError:
            return i
    raise np.linalg.LinAlgError(f"a step of {count} chains failed, but none of them alone")


def _alone(value: Any, i: int, count: int) -> Any:
    """Select one chain of arrays; those without a chain axis stay."""

    def pick(x: Any) -> Any:
        batched = getattr(x, "ndim", 0) and x.shape[0] == count
        return x[i : i + 1, ...] if batched else x

    return rebuild(value, [pick(x) for x in parts(value)])


def _diverged(
    plan: Plan, state: WalkState, bad: int, step: int, chains: np.ndarray | None, reason: str
) -> DivergenceError:
    chain = bad if chains is None else int(chains[bad])
    last = plan.walk.point(take(state, np.asarray([bad])))
    return DivergenceError(chain, step, reason, rebuild(last, [x[0, ...] for x in parts(last)]))


def first_bad(value: Any) -> int | None:
    """First chain with an entry that is not finite."""
    arrays = parts(value)
    if _finite_sums(arrays) or _finite_on_its_device(arrays):
        return None
    for x in parts(value):
        rows = np.isfinite(to_numpy(x))
        if not rows.all():
            return int(np.argmin(rows.reshape(len(rows), -1).all(axis=1)))
    return None


def _finite_sums(arrays: tuple[Array, ...]) -> bool:
    """Whether sums prove that all entries of numpy arrays are finite, a test that seldom fails."""
    if not arrays or type(arrays[0]) is not np.ndarray:
        return False
    return all(math.isfinite(np.add.reduce(x, axis=None).real) for x in arrays)


def _finite_on_its_device(arrays: tuple[Array, ...]) -> bool:
    """Whether one number from their device says that all entries are finite; False for numpy."""
    if not arrays or type(arrays[0]) is np.ndarray:
        return False
    xp = namespace(*arrays)
    flags = [xp.all(xp.isfinite(x)) for x in arrays]
    return bool(xp.all(xp.stack(flags)))


def _root(variance: float, time: Any, like: Array) -> Any:
    if isinstance(time, float):
        return math.sqrt(variance * time)
    return constant(np.sqrt(variance * time), like)


def _real(state: WalkState) -> Array:
    """Return some real array of a state, for its library and precision."""
    x = parts(state)[0]
    if type(x) is np.ndarray:
        return x.real
    xp = namespace(x)
    return xp.real(x) if xp.isdtype(x.dtype, "complex floating") else x


def _drawer(
    streams: Streams, chains: np.ndarray | None, like: Array
) -> Callable[[tuple[int, ...]], Array]:
    return lambda shape: streams.normal(shape, chains, like)


def _slope(plan: Plan, state: WalkState, step: int, chains: np.ndarray | None) -> Any:
    """Covector of the energy, finite for every chain."""
    if plan.energy_gradient is None:
        return None
    value = plan.walk.covector(state, plan.energy_gradient(copied(plan.walk.below(state))))
    count = parts(state)[0].shape[0]
    dense = [x for x in parts(value) if getattr(x, "ndim", 0) and x.shape[0] == count]
    bad = first_bad(tuple(dense))
    if bad is not None:
        raise _diverged(plan, state, bad, step, chains, "the energy gradient is not finite")
    return value


def take(state: WalkState, chains: np.ndarray) -> WalkState:
    return rebuild(state, [x[_index(chains, x), ...] for x in parts(state)])


def put(state: WalkState, chains: np.ndarray, moved: WalkState) -> WalkState:
    """State in which some chains have moved."""
    count = parts(state)[0].shape[0]
    if array_api_compat.is_jax_array(parts(state)[0]):
        # Padding repeats one chain, and so its result.
        arrays: tuple[Any, ...] = parts(state)
        pairs = zip(arrays, parts(moved), strict=True)
        return rebuild(state, [x.at[chains].set(y) for x, y in pairs])
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
    if isinstance(like, np.ndarray):
        return values
    return namespace(like).asarray(values, device=array_api_compat.device(like))
