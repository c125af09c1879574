"""Compiled runs of chains of jax arrays: all steps between two saved states in one call.

The step is that of :mod:`dlngeom.langevin._engine._steps`, with a mask where that has branches.
Each chain has a key of its own, made from the random stream of its block; its noise depends on
the key, the step and the part of the step, and on nothing else.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import array_api_compat
import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from dlngeom._lib.jax_functions import Program, traced
from dlngeom._lib.vectors import parts as array_parts
from dlngeom._lib.vectors import rebuild
from dlngeom.langevin._engine._steps import FINEST, SHARE, DivergenceError, Plan
from dlngeom.langevin._engine._streams import BLOCK, Streams
from dlngeom.submersion._offers import HasCompiledSteps, HasObservables, Walk, WalkState

__all__ = ["chain_keys", "compiled_record", "compiled_run", "legs", "normals"]

# Most steps in one call, so that an interruption and a progress bar need not wait for all.
_STEPS = 1000

# Chains in shorter steps that move together: all of few chains, a share of many.
_FEW = 64
_SHARE_OF_MANY = 16

# Arrays of noise that one part of a step may ask for.
_DRAWS = 2**16


def parts(value: Any) -> tuple[Any, ...]:
    """All arrays of a nested tuple; they are those of jax, which has types of its own."""
    return array_parts(value)


class Sizes(NamedTuple):
    """Numbers of a run that compiled code receives.

    Attributes
    ----------
    time : float
        Of one step.
    vertical, horizontal : float
        Standard deviation of the noise of one step.
    needed : float
        Reach of a chain that need not divide its step.
    """

    time: Any
    vertical: Any
    horizontal: Any
    needed: Any


class Chains(NamedTuple):
    """All chains within a step.

    Attributes
    ----------
    state : WalkState
    left : array (chain,)
        Share of the step that is still to be taken.
    part : array (chain,)
        Count of the parts taken.
    fault, culprit : array ()
        Place in ``_REASONS`` of what failed, 0 if nothing, and the chain.
    """

    state: WalkState
    left: Any
    part: Any
    fault: Any
    culprit: Any


_REASONS = (
    "",
    "the energy gradient is not finite",
    "the step is so long that the chain diverges",
)


def compiled_run(
    plan: Plan, state: WalkState, streams: Streams, first: int
) -> Callable[[int, WalkState, int], WalkState] | None:
    """Return a function that takes steps after the ``first`` ones, None if it cannot be compiled.

    It takes the number of the steps done, the state after them, and the number to be done.
    """
    hashable: Any = plan.walk
    if not (isinstance(plan.walk, HasCompiledSteps) and plan.walk.compiles):
        return None
    energies = _energies(plan, state)
    if energies is None:
        return None
    programs, constants = energies
    leg = _leg(hashable, plan.horizontal == plan.vertical, programs)
    like = parts(state)[0]
    device, dtype = array_api_compat.device(like), np.finfo(like.dtype).dtype
    sizes = Sizes(*(np.asarray(x, dtype) for x in _sizes(plan)))
    # What is bound to a device and what is not would be compiled apart.
    given = jax.device_put((streams.words(), constants, sizes), device)

    def run(done: int, state: WalkState, last: int) -> WalkState:
        if done == first:
            state = jax.device_put(state, device)
        state, step, fault, culprit = leg(state, np.uint32(done), np.uint32(last), *given)
        if int(fault):
            raise _diverged(plan, state, int(step), int(fault), int(culprit))
        return state

    return run


def compiled_record(
    plan: Plan, state: WalkState, record: Callable[[WalkState], list[Any]]
) -> Callable[[WalkState], list[Any]]:
    """Return a function that records a draw, compiled if only the walk's own quantities are."""
    own = plan.walk.observables() if isinstance(plan.walk, HasObservables) else {}
    # A function of the caller may do more than to compute, and is called at each draw.
    if plan.observe and dict(plan.observe) != dict(own):
        return record
    try:
        program, constants = traced(record, state)
    except Exception:
        return record
    run = _call(program)
    return lambda state: run(constants, state)


@lru_cache(maxsize=32)
def _call(program: Program) -> Callable[..., Any]:
    return jax.jit(program)


def legs(plan: Plan, done: int) -> Iterator[int]:
    """Last steps of the calls that a run makes, among them all that are saved."""
    while done < plan.last:
        saved = plan.warmup
        if done >= saved:
            saved += ((done - saved) // plan.save_every + 1) * plan.save_every
        done = min(saved, plan.last, done + _STEPS)
        yield done


def _sizes(plan: Plan) -> tuple[float, float, float, float]:
    whole = plan.time
    vertical, horizontal = (math.sqrt(x * whole) for x in (plan.vertical, plan.horizontal))
    return whole, vertical, horizontal, max(vertical, horizontal) / SHARE


def _diverged(plan: Plan, state: WalkState, step: int, fault: int, culprit: int) -> DivergenceError:
    one = rebuild(state, [x[culprit : culprit + 1] for x in parts(state)])
    last = plan.walk.point(one)
    point = rebuild(last, [x[0] for x in parts(last)])
    return DivergenceError(culprit, step, _REASONS[fault], point)


def _energies(
    plan: Plan, state: WalkState
) -> tuple[tuple[Program | None, ...], tuple[Any, ...]] | None:
    """Programs of the covector of all chains and of few, and what they close over.

    None if the energy gradient is no function that jax can trace.
    """
    if plan.energy_gradient is None:
        return (None, None), ((), ())
    gradient, walk = plan.energy_gradient, plan.walk

    def covector(state: WalkState) -> Any:
        return walk.covector(state, gradient(walk.below(state)))

    few = rebuild(state, [x[: _together(x.shape[0])] for x in parts(state)])
    try:
        found = [traced(covector, x) for x in (state, few)]
    except Exception:
        # Stepping from Python either serves this function, or raises the error that it deserves.
        return None
    programs, constants = zip(*found, strict=True)
    return programs, constants


def _together(chains: int) -> int:
    return min(chains, max(_FEW, chains // _SHARE_OF_MANY))


@lru_cache(maxsize=32)
def _leg(walk: Any, same: bool, energies: tuple[Program | None, ...]) -> Callable[..., Any]:
    """Compiled function that takes many steps, and stops before one that fails."""

    @jax.jit
    def leg(
        state: WalkState, done: Any, last: Any, words: Any, constants: Any, sizes: Sizes
    ) -> tuple[WalkState, Any, Any, Any]:
        state = rebuild(state, [lax.convert_element_type(x, x.dtype) for x in parts(state)])
        count = parts(state)[0].shape[0]
        keys = chain_keys(words, count)
        everyone = _Mover(walk, same, energies[0], constants[0], sizes)
        few = _Mover(walk, same, energies[1], constants[1], sizes)

        def advance(carry: Any) -> Any:
            state, step, _, _ = carry
            step = step + 1
            chains = _begun(state, sizes.time.dtype)
            stepped = jax.vmap(jax.random.fold_in, (0, None))(keys, step)
            if _together(count) < count:
                chains = everyone.whole(chains, stepped)
                move = few.some
            else:
                move = everyone.whole
            chains = lax.while_loop(_unfinished, lambda x: move(x, stepped), chains)
            return chains.state, step, chains.fault, chains.culprit

        def going(carry: Any) -> Any:
            return (carry[1] < last) & (carry[2] == 0)

        none = jnp.zeros((), jnp.int32)
        return lax.while_loop(going, advance, (state, jnp.asarray(done, jnp.uint32), none, none))

    return leg


def _begun(state: WalkState, dtype: Any) -> Chains:
    count = parts(state)[0].shape[0]
    none = jnp.zeros((), jnp.int32)
    return Chains(state, jnp.ones(count, dtype), jnp.zeros(count, jnp.uint32), none, none)


def _unfinished(chains: Chains) -> Any:
    return jnp.any(chains.left > 0) & (chains.fault == 0)


def chain_keys(words: Any, count: int) -> Any:
    """Key of each chain, from the words of its block and its place there."""
    blocks = jax.random.wrap_key_data(words, impl="threefry2x32")
    places = jnp.arange(BLOCK, dtype=jnp.uint32)
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
    return fold(blocks, places).reshape(-1)[:count]


def normals(keys: Any, part: Any, draw: int, shape: tuple[int, ...], dtype: Any) -> Any:
    """Gaussian numbers ``(chain, ...)`` of chains whose keys know the step."""

    def one(key: Any, part: Any) -> Any:
        own = jax.random.fold_in(key, part * _DRAWS + np.uint32(draw))
        return jax.random.normal(own, shape, dtype)

    return jax.vmap(one)(keys, part)


@dataclass(frozen=True)
class _Mover:
    """Takes one part of a step with all chains, or with some that still have to move."""

    walk: Walk
    same: bool
    energy: Program | None
    constants: Any
    sizes: Sizes

    def whole(self, chains: Chains, keys: Any) -> Chains:
        """Move all chains."""
        moved, share, faults = self._part(chains.state, keys, chains.part, chains.left)
        worst, culprit = jnp.max(faults), jnp.argmax(faults).astype(jnp.int32)
        free = (chains.left > 0) & (worst == 0)
        pairs = zip(parts(chains.state), parts(moved), strict=True)
        state = [jnp.where(free[(..., *(None,) * (x.ndim - 1))], y, x) for x, y in pairs]
        return Chains(
            rebuild(chains.state, state), chains.left - share, chains.part + 1, worst, culprit
        )

    def some(self, chains: Chains, keys: Any) -> Chains:
        """Move the first chains that are not at the end of their step."""
        count = chains.left.shape[0]
        (chosen,) = jnp.nonzero(chains.left > 0, size=_together(count), fill_value=count)
        inside = jnp.minimum(chosen, count - 1)
        left = jnp.where(chosen < count, chains.left[inside], 0)
        state = rebuild(chains.state, [x[inside] for x in parts(chains.state)])
        moved, share, faults = self._part(state, keys[inside], chains.part[inside], left)
        worst, culprit = jnp.max(faults), chosen[jnp.argmax(faults)].astype(jnp.int32)
        # Places beyond the last chain are dropped: all of them, if one chain failed.
        to = jnp.where(worst == 0, chosen, count)
        pairs = zip(parts(chains.state), parts(moved), strict=True)
        return Chains(
            rebuild(chains.state, [x.at[to].set(y, mode="drop") for x, y in pairs]),
            chains.left.at[to].add(-share, mode="drop"),
            chains.part.at[to].add(1, mode="drop"),
            worst,
            culprit,
        )

    def _part(self, state: WalkState, keys: Any, part: Any, left: Any) -> tuple[Any, Any, Any]:
        """States after a part of the step, its share, and what failed, for each chain."""
        walk, sizes, count = self.walk, self.sizes, itertools.count()
        dtype = sizes.time.dtype
        covector = None if self.energy is None else self.energy(self.constants, state)
        noise = walk.noise(state, lambda shape: normals(keys, part, next(count), shape[1:], dtype))
        share, root = self._share(state, left)
        vertical = sizes.vertical * root
        # Walks take a short cut if both are the same object.
        horizontal = vertical if self.same else sizes.horizontal * root
        time = sizes.time if share is None else sizes.time * share
        moved = walk.step(state, noise, covector, time, vertical, horizontal)
        pairs = zip(parts(state), parts(moved), strict=True)
        moved = rebuild(state, [lax.convert_element_type(y, x.dtype) for x, y in pairs])
        faults = jnp.where(_finite(moved, left), 0, 2)
        if covector is not None:
            faults = jnp.where(_finite(covector, left), faults, 1)
        faults = jnp.where(left > 0, faults, 0).astype(jnp.int32)
        return moved, left if share is None else share, faults

    def _share(self, state: WalkState, left: Any) -> tuple[Any, Any]:
        """Share of the step to take now, None for all of it, and the root of the share."""
        reach = self.walk.reach(state)
        if reach is None:
            return None, 1
        needed = self.sizes.needed
        limit = jnp.where(reach >= needed, 1, jnp.maximum((reach / needed) ** 2, FINEST))
        share = jnp.minimum(left, limit)
        return share, jnp.sqrt(share)


def _finite(value: Any, chains: Any) -> Any:
    """Whether all entries of a chain are finite; arrays without a chain axis do not count."""
    good = jnp.ones(chains.shape, bool)
    for x in parts(value):
        if x.ndim and x.shape[0] == chains.shape[0]:
            good &= jnp.all(jnp.isfinite(x), axis=tuple(range(1, x.ndim)))
    return good
