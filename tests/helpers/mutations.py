"""Arguments that callers pass by mistake or by habit, made from good ones.

A mutation either means the same as the good argument (the result must not change) or nothing that
the function can use (it must say so), or it is a different argument that may be good or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

__all__ = ["OTHER", "REFUSED", "SAME", "Mutation", "mutations"]

SAME, REFUSED, OTHER = "same", "refused", "other"


class Mutation(NamedTuple):
    """What was done, what has to follow and the argument."""

    name: str
    kind: str
    value: Any


class _Plain(np.ndarray):
    """Subclass of arrays that means nothing more."""


def mutations(name: str, value: Any) -> Iterator[Mutation]:
    """All mutations of an argument."""
    if name in ("check_finite", "upstairs", "space"):
        return
    yield from _everywhere(name)
    if isinstance(value, np.ndarray):
        yield from _of_array(value)
    elif isinstance(value, tuple) and any(not isinstance(x, int) for x in value):
        yield from _of_tuple(value)
    elif isinstance(value, tuple):
        yield from _of_sizes(value)
    elif callable(value):
        yield from _of_function(value)
    elif isinstance(value, (int, float)):
        yield from _of_number(name, value)


def _everywhere(name: str) -> Iterator[Mutation]:
    nothing = OTHER if name in ("rank", "rng", "invariants", "n_chains", "rtol") else REFUSED
    yield Mutation("None", nothing, None)
    bad = [
        "text",
        b"bytes",
        {},
        {"a": 1},
        set(),
        object(),
        Ellipsis,
        slice(2),
        np.datetime64("now"),
    ]
    for value in bad:
        yield Mutation(type(value).__name__, REFUSED, value)


def _of_array(x: np.ndarray) -> Iterator[Mutation]:
    yield from _same_array(x)
    if x.dtype.kind == "f":
        for dtype in (np.float16, object, bool, "U8", "M8[s]", np.longdouble):
            if np.dtype(dtype) != x.dtype:
                yield Mutation(f"dtype {dtype}", REFUSED, np.ones(x.shape).astype(dtype))
        yield Mutation("complex", REFUSED, x.astype(complex))
    hidden = np.zeros(x.shape, bool)
    hidden.flat[0] = True
    yield Mutation("masked", REFUSED, np.ma.array(x, mask=hidden))
    for bad in (np.nan, np.inf, -np.inf):
        spoiled = x.copy()
        spoiled.flat[-1] = bad
        yield Mutation(f"holds {bad}", REFUSED, spoiled)
    yield Mutation(
        "frame", REFUSED, pd.DataFrame(np.atleast_2d(np.real(x).reshape(x.shape[-1], -1)))
    )
    yield from _other_array(x)


def _same_array(x: np.ndarray) -> Iterator[Mutation]:
    yield Mutation("list", SAME if x.ndim < 3 else REFUSED, x.tolist())
    yield Mutation("subclass", SAME, x.view(_Plain))
    yield Mutation("no mask", SAME, np.ma.array(x))
    yield Mutation("other byte order", SAME, x.astype(x.dtype.newbyteorder()))
    yield Mutation("columns first", SAME, np.asfortranarray(x))
    yield Mutation("every second", SAME, np.repeat(x, 2, axis=-1)[..., ::2])
    locked = x.copy()
    locked.flags.writeable = False
    yield Mutation("read-only", SAME, locked)
    if x.ndim == 2:
        yield Mutation("matrix", SAME, x.view(np.matrix))


def _other_array(x: np.ndarray) -> Iterator[Mutation]:
    yield Mutation("no batch", OTHER, x[None][:0])
    yield Mutation("no entries", OTHER, x[:0])
    yield Mutation("batch of one", OTHER, x[None])
    yield Mutation("batch of two", OTHER, np.stack([x, x]))
    yield Mutation("one axis less", OTHER, x[0])
    yield Mutation("more rows", OTHER, np.concatenate([x, x]))
    yield Mutation("integers", OTHER, np.ones(x.shape, int))
    yield Mutation("single", OTHER, x.astype(np.complex64 if x.dtype.kind == "c" else np.float32))
    yield Mutation("zero", OTHER, 0 * x)
    yield Mutation("a number", OTHER, 1.0)
    yield Mutation("an entry", OTHER, np.float64(1.0))
    for scale in (1e-300, 1e-150, 1e-8, 1e8, 1e150, 1e300, -1.0):
        yield Mutation(f"times {scale}", OTHER, x * scale)
    if x.ndim == 2 and x.dtype.kind == "f":
        yield Mutation("sparse", OTHER, sparse.csr_matrix(x))
        yield Mutation("turned", OTHER, x[::-1])


def _of_tuple(value: tuple[Any, ...]) -> Iterator[Mutation]:
    def remade(parts: Any) -> Any:
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)

    if not hasattr(value, "_fields"):
        yield Mutation("list of parts", SAME, list(value))
        yield Mutation("one by one", SAME, iter(value))
    yield Mutation("one part less", OTHER, value[:-1])
    yield Mutation("no parts", REFUSED, ())
    yield Mutation("parts in reverse", OTHER, remade(value[::-1]))
    for place, part in enumerate(value):
        inner = _of_array(part) if isinstance(part, np.ndarray) else _of_tuple(part)
        bad = [Mutation(str(x), REFUSED, x) for x in (None, 1.0, "text", object())]
        for name, kind, changed in (*inner, *bad):
            if name == "list" and len(value) == 1:
                continue  # A list of one list is a matrix or a matrix in a list.
            parts = [changed if i == place else x for i, x in enumerate(value)]
            yield Mutation(f"part {place}: {name}", kind, remade(parts))


def _of_sizes(value: tuple[int, ...]) -> Iterator[Mutation]:
    yield Mutation("list", SAME, list(value))
    yield Mutation("array", SAME, np.array(value))
    for bad in ((), [], 3, "33", (3,), (None, 3), (2.5, 3), ("3", "3"), (0, 3), (-1, 3), np.eye(2)):
        yield Mutation(repr(bad), REFUSED, bad)
    yield Mutation("one more", OTHER, (*value, 3))
    yield Mutation("floats", OTHER, tuple(float(x) for x in value))


def _of_function(function: Callable[..., Any]) -> Iterator[Mutation]:
    def giving(change: Callable[[Any], Any]) -> Callable[..., Any]:
        return lambda *arguments: change(function(*arguments))

    yield Mutation("result as matrix", SAME, giving(_like_matrix))
    yield Mutation("result as list", OTHER, giving(lambda x: np.asarray(x).tolist()))
    results = {
        "None": None,
        "text": "text",
        "object": object(),
        "complex": 1j,
        "function": _like_matrix,
    }
    for name, result in results.items():
        yield Mutation(f"returns {name}", REFUSED, lambda *_, result=result: result)
    yield Mutation("returns NaN", REFUSED, giving(lambda x: np.asarray(x) * np.nan))
    yield Mutation("returns masks", REFUSED, giving(_masked))
    yield Mutation("returns objects", REFUSED, giving(lambda x: np.asarray(x).astype(object)))
    yield Mutation("a number", REFUSED, 3.0)
    yield Mutation("an array", REFUSED, np.eye(2))


def _like_matrix(x: Any) -> Any:
    return np.asarray(x[0]).view(np.matrix) if np.ndim(x) == 3 and len(x) == 1 else x


def _masked(x: Any) -> Any:
    return np.ma.array(x, mask=np.ones(np.shape(x), bool))


def _of_number(name: str, value: float) -> Iterator[Mutation]:
    dtype = np.int64 if isinstance(value, int) else np.float64
    yield Mutation("numpy's", SAME, dtype(value))
    many = name in (
        "s0",
        "t",
        "energy",
        "r0_squared",
        "rng",
        "covector",
        "egrad",
        "time",
    )  # A vector has a meaning there.
    for bad in ("3", 1j, [], np.array([[3], [4]]), np.array("3"), np.nan):
        kind = OTHER if name == "rng" or (name == "energy" and bad is np.nan) else REFUSED
        yield Mutation(repr(bad), kind, bad)
    for odd in (np.array([3]), [3], np.array(3)):
        yield Mutation(repr(odd), OTHER if many else REFUSED, odd)
    for odd in (True, np.inf, -np.inf, -1, 0, 1e-300, 1e300, 10**400, value + 0.5, float(value)):
        yield Mutation(repr(odd)[:20], OTHER, odd)
    if name == "rng":
        yield Mutation("legacy generator", REFUSED, np.random.RandomState(0))
