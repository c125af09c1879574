"""Differential equations of jax arrays by diffrax: compiled, with steps of each chain, and smooth.

Derivatives of a solution are those of its steps, by reverse accumulation through checkpoints of
them (``diffrax.RecursiveCheckpointAdjoint``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import diffrax
import jax
import numpy as np
from jax import numpy as jnp

from dlngeom._lib.derivatives import is_traced
from dlngeom._lib.jax_functions import Program, traced
from dlngeom._lib.ode.integrate import LOOSE, Solution, SolverOptions, relative_tolerance
from dlngeom._lib.ode.system import SolverState

__all__ = ["solve"]

# Evaluations of the rates in a step of the solver of high order.
_STAGES = 12


def solve(
    start: SolverState,
    rates: Callable[[SolverState], SolverState],
    single: bool,
    times: np.ndarray,
    options: SolverOptions,
    refusal: str,
) -> Solution | None:
    """Solution at saved times; None where SciPy must find out what is wrong, or do it.

    That is where the rates cannot be traced, or a chain did not reach the end.

    Parameters
    ----------
    start : tuple of arrays
        State at the first time, with one leading axis of chains unless ``single``.
    rates : callable
        Rates of such states.
    single : bool
        Whether there is one chain.
    times, options
        As for :func:`dlngeom._lib.ode.integrate.integrate`.
    refusal : str
        Error where jax differentiates rates that cannot be traced.

    Returns
    -------
    Solution or None

    Raises
    ------
    TypeError
        With ``refusal``.
    """
    if len(times) == 1:
        return None
    start = tuple(x if not single else x[None, ...] for x in start)

    def alone(state: Any) -> Any:
        if single:
            return rates(state)
        return tuple(x[0] for x in rates(tuple(x[None, ...] for x in state)))

    try:
        program, constants = traced(alone, tuple(x[0] for x in start))
    except Exception as error:
        # Called with numbers, the function either works or raises the error that it deserves.
        if is_traced(*start):
            raise TypeError(refusal) from error
        return None
    rtol = relative_tolerance(start[0], options.rtol)
    run = _solver(program, rtol > LOOSE, options.max_evaluations // _STAGES + 1)
    atol = _atol(start, rtol, options.atol)
    states, done = run(constants, start, jnp.asarray(times), rtol, atol)
    if not is_traced(*states) and not bool(done):
        return None
    if single:
        states = tuple(x[0] for x in states)
    axis = 0 if single else 1
    saved: list[Any] = [tuple(jnp.take(x, i, axis=axis) for x in states) for i in range(len(times))]
    return Solution(times, saved, (float(times[-1]), saved[-1]), None, [], [], None)


def _atol(start: tuple[Any, ...], rtol: float, atol: float | None) -> Any:
    """Absolute tolerance of each chain, by default relative to its size."""
    if atol is not None:
        return jnp.full(start[0].shape[0], float(atol), start[0].dtype)
    squares = [jnp.mean(jnp.square(x), axis=tuple(range(1, x.ndim))) for x in start]
    size = jnp.sqrt(jax.lax.stop_gradient(sum(squares) / len(squares)))
    return 1e-3 * rtol * jnp.where(size == 0, 1.0, size)


@lru_cache(maxsize=32)
def _solver(program: Program, loose: bool, max_steps: int) -> Callable[..., Any]:
    """Compiled function from a start to states ``(chain, draw, ...)``, and whether all are good."""
    solver: Any = diffrax.Tsit5() if loose else diffrax.Dopri8()

    @jax.jit
    def run(constants: Any, start: Any, times: Any, rtol: Any, atol: Any) -> Any:
        term = diffrax.ODETerm(lambda t, state, _: program(constants, state))

        def one(state: Any, atol: Any) -> Any:
            found = diffrax.diffeqsolve(
                term,
                solver,
                times[0],
                times[-1],
                None,
                state,
                saveat=diffrax.SaveAt(ts=times),
                stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
                max_steps=max_steps,
                throw=False,
            )
            return found.ys, diffrax.is_successful(found.result)

        states, done = jax.vmap(one)(start, atol)
        finite = [jnp.all(jnp.isfinite(x)) for x in states]
        return states, jnp.all(done) & jnp.all(jnp.stack(finite))

    return run
