"""Right-hand side, events and progress of an integration, as functions of a flat state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from tqdm.auto import tqdm

from dlngeom._lib.arrays import Array, constant, namespace, to_numpy
from dlngeom._lib.vectors import read_only

__all__ = ["Event", "HaltError", "Monitor", "SolverState", "System"]

SolverState: TypeAlias = tuple[Array, ...]

# Rates beyond this overflow in the error estimates of solvers.
_FASTEST = 1e100


class HaltError(Exception):
    """Raised by an event that says why the integration cannot go on."""


class States:
    """States with the shapes and the library of the first one, from flat vectors of doubles."""

    def __init__(self, start: SolverState) -> None:
        self._like = start
        ends = np.cumsum([math.prod(x.shape) for x in start]).tolist()
        spans = [slice(lo, hi) for lo, hi in zip([0, *ends[:-1]], ends, strict=True)]
        self._places = [(span, tuple(x.shape)) for span, x in zip(spans, start, strict=True)]
        # Arrays of numpy need no search for their library at every evaluation.
        same = all(type(x) is np.ndarray and x.dtype == start[0].dtype for x in start)
        self._dtype: Any = start[0].dtype if same else None

    def state(self, y: np.ndarray) -> SolverState:
        """State of a flat vector."""
        if self._dtype is not None:
            y = y if y.dtype == self._dtype else y.astype(self._dtype)
            return tuple([y[span].reshape(shape) for span, shape in self._places])
        return tuple(
            constant(y[span].reshape(shape), like)
            for like, (span, shape) in zip(self._like, self._places, strict=True)
        )


class Interpolant(States):
    """Function from times to states; it pickles, and holds no function of the caller."""

    def __init__(self, start: SolverState, dense: Callable[[float], np.ndarray]) -> None:
        super().__init__(start)
        self._dense = dense

    def __call__(self, time: float) -> SolverState:
        """State at a time."""
        return self.state(self._dense(time))


class System(States):
    """Right-hand side as a function of a flat state, with a record of what went wrong."""

    def __init__(
        self,
        start: SolverState,
        rates: Callable[[SolverState], SolverState],
        chains: int,
        budget: int,
    ) -> None:
        super().__init__(start)
        self._rates = rates
        self._budget = budget
        self.chains = chains
        # A product of four such numbers does not overflow.
        self._largest = float(namespace(start[0]).finfo(start[0].dtype).max) ** 0.25
        self.evaluations = 0
        self.trouble: str | None = None
        self.raised = False

    def forget_trouble(self) -> str | None:
        """Return what went wrong so far, and forget it."""
        trouble, self.trouble = self.trouble, None
        return trouble

    def flat(self, state: SolverState) -> np.ndarray:
        """One vector of doubles from a tuple of arrays."""
        arrays: Any = state if self._dtype is not None else self.parts(state)
        flat: np.ndarray = np.concatenate(arrays, axis=None)
        return flat if flat.dtype == np.float64 else flat.astype(np.float64)

    @staticmethod
    def parts(state: SolverState) -> list[np.ndarray]:
        """Flat numpy arrays, one for each array of a state."""
        return [to_numpy(x).ravel() for x in state]

    def repeated(self, values: np.ndarray) -> np.ndarray:
        """Flat vector that has a value ``(chain,)`` at all entries of each chain."""
        counts = [math.prod(shape) // self.chains for _, shape in self._places]
        return np.concatenate([np.repeat(values, count) for count in counts])

    def coupling(self) -> sparse.csr_array:
        """Pattern of the entries of a flat vector that belong to one chain."""
        chain = self.repeated(np.arange(self.chains))
        ones = np.ones(len(chain), dtype=bool)
        member = sparse.csr_array((ones, (np.arange(len(chain)), chain)))
        return member @ member.T

    def sizes(self, y: np.ndarray) -> np.ndarray:
        """Root mean square of each chain ``(chain,)`` in a flat vector."""
        rows = [y[span].reshape(self.chains, -1) for span, _ in self._places]
        squares = [np.vecdot(x, x) for x in rows]
        norms: np.ndarray = np.sqrt(sum(squares[1:], squares[0]) * (self.chains / y.size))
        return norms

    def largest(self, y: np.ndarray) -> float:
        """Largest of the sizes of the chains."""
        return float(np.max(self.sizes(y)))

    def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
        """Rates at a flat state, NaN where they cannot be computed."""
        if self.evaluations >= self._budget:
            self.trouble = (
                f"used up max_evaluations={self._budget} of the energy gradient: "
                "the problem is very long, or stiff; raise it, or where the point is small try an "
                'implicit method="BDF"'
            )
            return np.full_like(y, np.nan)
        # Squares that add up to a number are cheaper than a look at every entry.
        if not (y.dot(y) < self._largest**2 or np.max(np.abs(y)) < self._largest):
            self.trouble = self.trouble or "it overflows"
            return np.full_like(y, np.nan)
        self.evaluations += 1
        try:
            rates = self.flat(self._rates(self.state(y)))
        except Exception:
            self.raised = True
            raise
        if rates.dot(rates) < _FASTEST:
            return rates
        slow = np.abs(rates) < _FASTEST
        if np.all(slow):
            return rates
        rows = [slow[span].reshape(self.chains, -1) for span, _ in self._places]
        chain = int(np.argmin(np.all(np.concatenate(rows, axis=1), axis=1)))
        self.trouble = f"the energy gradient, or the flow, is not finite in chain {chain}"
        # Solvers warn of infinite rates, but not of NaN.
        return np.full_like(y, np.nan)


class Event:
    """Event that is evaluated at a function of the state."""

    def __init__(self, event: Callable[..., float], of: Callable[[Any], Any]) -> None:
        self._event, self._of = event, of
        self.terminal = getattr(event, "terminal", False)
        self.direction = getattr(event, "direction", 0.0)

    def __call__(self, t: float, y: Any) -> float:
        """Value of the event at a state."""
        value: Any = self._event(t, read_only(self._of(y)))
        if math.prod(getattr(value, "shape", ())) != 1:
            raise ValueError(f"an event returned shape {tuple(value.shape)}: it must be one number")
        return float(to_numpy(value).reshape(()) if hasattr(value, "shape") else value)


class Monitor:
    """Record of the last accepted step, which also moves the progress bar."""

    def __init__(self, y: np.ndarray, first: float, last: float, progress: bool) -> None:
        self.time, self.y = first, y
        form = "{l_bar}{bar}| t={n:.4g}/{total:.4g} [{elapsed}<{remaining}]"
        self._bar = tqdm(total=last - first, disable=not progress, bar_format=form)

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def record(self, t: float, y: np.ndarray) -> None:
        """Record an accepted step."""
        self._bar.update(t - self.time)
        self.time, self.y = t, y.copy()
