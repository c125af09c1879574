"""Keywords of an integration: those of its method are passed on, any other is refused."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import scipy.integrate
from scipy.integrate import OdeSolver

__all__ = ["require_known", "solver_class"]

# Keywords of flows, which callers may misspell.
_OURS = (
    "energy", "upstairs", "observe", "rtol", "atol", "progress", "method", "events",
    "dense_output", "max_evaluations",
)  # fmt: skip
# Keywords that are set here, since callers do not see flat states.
_SET_HERE = {"self", "fun", "t0", "y0", "t_bound", "t_span", "t_eval", "args", "vectorized", "jac"}
_METHODS = ("DOP853", "RK45", "RK23", "Radau", "BDF", "LSODA")


def solver_class(method: Any) -> type[Any] | None:
    """Class of a method by its name, or the class itself; None if there is none."""
    found: Any = getattr(scipy.integrate, method, None) if isinstance(method, str) else method
    return found if isinstance(found, type) and issubclass(found, OdeSolver) else None


def require_known(options: Mapping[str, Any], method: Any) -> None:
    """Refuse keywords that neither a flow nor its method knows.

    Raises
    ------
    TypeError
        For the first of them; the message names the nearest option there is.
    """
    taken = sorted(_SET_HERE & options.keys())
    if taken:
        raise TypeError(f"{taken[0]} is no option here: states are tuples of arrays, saved at t")
    solver = solver_class("DOP853" if method is None else method)
    if solver is None:
        return  # SciPy's error lists the methods.
    own = _keywords(solver)
    for name, value in options.items():
        if own is not None and name not in own:
            raise TypeError(f"{name}={value!r}: {_advice(name, solver, own)}")


def _advice(name: str, solver: type[Any], own: set[str]) -> str:
    others = [x for x in _METHODS if name in (_keywords(getattr(scipy.integrate, x)) or ())]
    if others:
        return f"{solver.__name__} has no such option, {' and '.join(others)} have"
    known = sorted({*_OURS, *own})
    near = difflib.get_close_matches(name, known, 1, 0.5)
    if near:
        return f"there is no such option, did you mean {near[0]}?"
    return f"there is no such option, those of {solver.__name__} are {', '.join(known)}"


def _keywords(solver: type[Any]) -> set[str] | None:
    """Names of the options of a class of solvers, None where another author takes any."""
    names: set[str] = set()
    for base in solver.__mro__[:-1]:
        if "__init__" not in base.__dict__:
            continue
        parameters = inspect.signature(base.__dict__["__init__"]).parameters.values()
        foreign = not base.__module__.startswith("scipy.")
        if foreign and any(p.kind == p.VAR_KEYWORD for p in parameters):
            return None
        names |= {p.name for p in parameters if p.kind not in {p.VAR_KEYWORD, p.VAR_POSITIONAL}}
    return names - _SET_HERE - {"support_complex"}
