"""Functions of callers as programs of jax, whose compiled forms are found again by what they do.

jax caches what it compiled by the identity of a function: each new lambda would be compiled anew,
and an object that changed would keep its old values.  Here a function is traced at each run, which
costs milliseconds; what it closes over becomes an argument, and equal programs are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Program", "traced"]


@dataclass(frozen=True)
class Program:
    """A function traced by jax, equal to others that compute the same from the same constants.

    Attributes
    ----------
    key : tuple
        What the function computes: operations, shapes, and the numbers that are no constants.
    jaxpr : jax.extend.core.Jaxpr
        It keeps alive what the key names by address.
    tree : PyTreeDef
        Structure of the result.
    """

    key: tuple[Any, ...]
    jaxpr: Any = field(compare=False, repr=False)
    tree: Any = field(compare=False, repr=False)

    def __call__(self, constants: tuple[Any, ...], *args: Any) -> Any:
        """Value of the function; ``constants`` are those that :func:`traced` returned."""
        import jax

        leaves = jax.tree_util.tree_leaves(args)
        found = jax.core.eval_jaxpr(self.jaxpr, constants, *leaves)
        return jax.tree_util.tree_unflatten(self.tree, found)


def traced(function: Callable[..., Any], *args: Any) -> tuple[Program, tuple[Any, ...]]:
    """Trace a function of arrays; return its program and the arrays that it closes over.

    Whatever the function raises where it cannot be traced is raised.
    """
    import jax

    closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
    tree = jax.tree_util.tree_structure(shape)
    constants = tuple(jax.numpy.asarray(x) for x in closed.consts)
    about = tuple((str(x.dtype), x.shape, x.weak_type) for x in constants)
    key = (str(closed.jaxpr), tree, about, *_numbers(closed.jaxpr))
    return Program(key, closed.jaxpr, tree), constants


def _numbers(jaxpr: Any) -> Iterator[Any]:
    """Values within a program, which its text may shorten or leave out."""
    for equation in jaxpr.eqns:
        for x in equation.invars:
            if hasattr(x, "val"):
                yield _value(x.val)
        for inner in _inner(tuple(equation.params.values())):
            yield from (_value(x) for x in getattr(inner, "consts", ()))
            yield from _numbers(getattr(inner, "jaxpr", inner))


def _inner(values: Any) -> Iterator[Any]:
    """Programs among the parameters of an operation."""
    for x in values:
        if isinstance(x, (tuple, list)):
            yield from _inner(x)
        elif hasattr(x, "eqns"):
            yield x


def _value(x: Any) -> Any:
    """Hashable value of a number or a known array; one that is not known is only itself."""
    import jax

    if isinstance(x, jax.core.Tracer):
        return _Only(x)
    value = np.asarray(x)
    return str(value.dtype), value.shape, value.tobytes()


@dataclass(frozen=True, eq=False)
class _Only:
    """Something equal to itself alone."""

    value: Any
