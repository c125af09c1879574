"""Checks of shapes, dtypes and values at public entry points, with one clear error each."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlngeom._lib.arrays import Array, NumpyArray, identity, namespace, to_numpy
from dlngeom._lib.door import plain

__all__ = [
    "batches_agree",
    "broadcastable",
    "chain_axis",
    "depth",
    "descending",
    "finite",
    "floating",
    "fraction",
    "integer",
    "inverse_temperature",
    "matrix",
    "noise_ratio",
    "nonnegative",
    "orthonormal",
    "positive",
    "rank",
    "real_array",
    "real_number",
    "relative_tolerance",
    "same_dtype",
    "shape",
    "widths",
]


# What fits into an index of an array.
_LARGEST = 2**63 - 1
# Sums over layers run over arrays of this length.
_DEEPEST = 10_000_000


def integer(name: str, value: Any, least: int, greatest: int | None = None) -> int:
    """Return an integer of at least ``least`` and at most ``greatest``, no bool and no array."""
    number = _index(value)
    limit = _LARGEST if greatest is None else greatest
    if number is None or not least <= number <= limit:
        span = f"of at least {least}" if greatest is None else f"from {least} to {greatest}"
        span += " and below 2^63" if number is not None and number > _LARGEST else ""
        raise ValueError(f"{name}={value!r}: it must be an integer {span}")
    return number


def _index(value: Any) -> int | None:
    """Value of what is an integer by its type, None for anything else."""
    # Arrays of one entry have an index too, and numpy's numbers have a shape.
    array = hasattr(value, "shape") and not isinstance(value, numbers.Integral)
    if isinstance(value, bool) or array:
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def depth(value: Any, *, infinite: bool = True) -> float:
    """Return a valid depth: an integer >= 1, or ``inf`` where allowed."""
    if isinstance(value, numbers.Real) and value == math.inf:
        if infinite:
            return math.inf
        raise ValueError("depth=inf: this needs a finite depth, inf exists downstairs only")
    number = _index(value)
    if number is None or not 1 <= number <= _DEEPEST:
        most = "" if number is None or number < 1 else f" and at most {_DEEPEST:,}"
        rule = f"an integer of at least 1{most}" + ", or inf" * infinite
        raise ValueError(f"depth={value!r}: it must be {rule}")
    return number


def rank(value: int | None, *sizes: int) -> int:
    """Return a valid rank, at most the smallest of ``sizes``, which is the default."""
    largest = min(sizes)
    return largest if value is None else integer("rank", value, 1, largest)


def widths(values: Sequence[int]) -> tuple[int, ...]:
    """Return the layer widths ``(d_0, ..., d_N)`` as integers >= 1."""
    try:
        found = [] if isinstance(values, (bytes, dict)) else [_index(value) for value in values]
    except TypeError:
        found = []
    if len(found) < 2 or any(d is None or not 1 <= d <= _LARGEST for d in found):
        raise ValueError(f"widths={values!r}: they must be two or more integers of at least 1")
    return tuple(d for d in found if d is not None)


def positive(name: str, value: Any) -> float:
    """Return a real number that is positive and finite."""
    number = real_number(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name}={value!r}: it must be positive and finite")
    return number


def nonnegative(name: str, value: Any) -> float:
    """Return a real number that is finite and not negative."""
    number = real_number(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name}={value!r}: it must be >= 0 and finite")
    return number


def fraction(name: str, value: Any) -> float:
    """Return a real number between 0 and 1, neither of them."""
    number = real_number(value)
    if not 0 < number < 1:
        raise ValueError(f"{name}={value!r}: it must lie between 0 and 1")
    return number


def inverse_temperature(value: Any, *, infinite: bool = True) -> float:
    """Return a valid ``beta``: positive, and finite where a density is asked for.

    At ``beta = inf`` there is neither noise nor entropy: the free energy is the energy, and a
    diffusion follows its drift.  Its law has no density.
    """
    number = real_number(value)
    if not number > 0 or (number == math.inf and not infinite):
        rule = "positive, or inf for no noise" if infinite else "positive and finite"
        raise ValueError(f"beta={value!r}: it must be {rule}")
    return number


def noise_ratio(value: Any, *, zero: bool = False) -> float:
    """Return a valid ``kappa``: noise of the observable over that of the gauge."""
    return nonnegative("kappa", value) if zero else positive("kappa", value)


def real_number(value: Any) -> float:
    """Value of a real number, NaN for anything else, bools and arrays included."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def relative_tolerance(x: Array) -> float:
    """Largest relative distance of a point from its manifold: 1e-8, or 1e-3 in float32."""
    return 1e-8 if namespace(x).finfo(x.dtype).eps < 1e-10 else 1e-3


def floating(name: str, x: Array) -> None:
    """Require an array of single or double precision, real."""
    kind = type(x)
    if hasattr(x, "toarray"):
        raise TypeError(f"{name} is a sparse {kind.__name__}: it must be dense, pass x.toarray()")
    if not hasattr(x, "dtype"):
        shown = f"={x!r}" if isinstance(x, numbers.Number) else f" is a {kind.__name__}"
        raise TypeError(f"{name}{shown}: it must be an array of float32 or float64")
    xp = namespace(x)
    if x.dtype not in (xp.float64, xp.float32):
        raise ValueError(f"{name} has dtype {x.dtype}: it must be float32 or float64")


def matrix(name: str, x: Array) -> None:
    """Require a batch of real floating matrices."""
    floating(name, x)
    if x.ndim < 2:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: it must be (..., m, n)")
    if 0 in x.shape[-2:]:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: no side may be empty")


def shape(name: str, x: Array, expected: tuple[int, ...]) -> None:
    """Require the trailing axes of ``x`` to be ``expected``."""
    if tuple(x.shape[-len(expected) :]) != expected:
        wanted = ", ".join(str(size) for size in expected)
        raise ValueError(f"{name} has shape {tuple(x.shape)}: it must be (..., {wanted})")


def batches_agree(name: str, *arrays: tuple[Array, int]) -> None:
    """Require equal leading axes of ``(array, number of trailing axes)`` pairs."""
    batches = [tuple(x.shape[: x.ndim - trailing]) for x, trailing in arrays]
    if len(set(batches)) > 1:
        raise ValueError(f"{name} has batch shapes {batches}: they must agree")


def broadcastable(name: str, *arrays: Array) -> None:
    """Require shapes that numpy would broadcast against each other."""
    shapes = [tuple(x.shape) for x in arrays]
    if all(shape in (shapes[0], ()) for shape in shapes):
        return
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"{name} have shapes {shapes}: they must broadcast") from None


def same_dtype(name: str, *arrays: Array) -> None:
    """Require all arrays to have the same dtype."""
    first = arrays[0].dtype
    if all(x.dtype is first or x.dtype == first for x in arrays[1:]):
        return
    dtypes = {str(x.dtype) for x in arrays}
    if len(dtypes) > 1:
        raise ValueError(f"{name}: dtypes {sorted(dtypes)} must agree")


def finite(name: str, x: Array) -> None:
    """Require finite entries; the error names the first one that is not finite."""
    if type(x) is np.ndarray and x.dtype.kind == "f" and _finite_sum(x):
        return
    xp = namespace(x)
    bad = ~xp.isfinite(x)
    if bool(xp.any(bad)):
        raise ValueError(f"{name}{_first(bad, x)}: all entries must be finite")


def _finite_sum(x: np.ndarray) -> bool:
    """Whether a sum settles that all entries are finite, which is faster; it may also overflow."""
    if x.flags.forc:
        flat = x.ravel(order="K")
        return math.isfinite(np.vdot(flat, flat))
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(np.add.reduce(x, axis=None))


def descending(name: str, s: Array) -> None:
    """Require entries >= 0 that do not grow along the last axis; the error names the first."""
    xp = namespace(s)
    bad = s < xp.concat([s[..., 1:], xp.zeros_like(s[..., :1])], axis=-1)
    if bool(xp.any(bad)):
        raise ValueError(
            f"{name}{_first(bad, s)}: singular values must be non-negative and descending, sort "
            "them; a matrix goes to the function of W"
        )


def _first(bad: Array, x: Array) -> str:
    """Index and value of the first entry that is bad."""
    xp = namespace(x)
    flat = int(xp.argmax(xp.astype(xp.reshape(bad, (-1,)), xp.int32)))
    value = float(xp.reshape(x, (-1,))[flat])
    index = []
    for size in reversed(x.shape):
        flat, position = divmod(flat, size)
        index.append(position)
    return f"{list(reversed(index))} is {value}"


def orthonormal(name: str, q: Array) -> None:
    """Require finite orthonormal columns, to the tolerance of :func:`relative_tolerance`."""
    xp = namespace(q)
    if 0 in q.shape:
        return
    limit = relative_tolerance(q)
    with np.errstate(over="ignore", invalid="ignore"):
        rest = q.mT @ q - identity(q.shape[-1], q)
        if type(rest) is np.ndarray and rest.ravel().dot(rest.ravel()) <= limit**2:
            return  # One pass, and as a rule enough.
        gap = float(xp.max(xp.abs(rest)))
    if not gap <= limit:
        finite(name, q)
        raise ValueError(f"{name} is not orthonormal: off by {gap:.2g}, allowed {limit:g}")


def chain_axis(batch: tuple[int, ...]) -> None:
    """Require the batch shape of one point, or of one axis of chains.

    Raises
    ------
    ValueError
        If there are more axes, or no chains.
    """
    if len(batch) > 1 or batch == (0,):
        raise ValueError(f"the point has batch shape {batch}: it must be () or (chain,)")


def real_array(name: str, value: Any) -> NumpyArray:
    """Return real numbers in an array, a list or alone as ``float64`` of numpy.

    Raises
    ------
    TypeError
        If the value is nothing of this kind.
    ValueError
        If it holds bools, complex numbers or strings, or an entry is masked.
    """
    found = plain(name, value)
    if isinstance(found, (int, float)):
        return np.asarray(found, dtype=np.float64)
    if not hasattr(found, "dtype") or hasattr(found, "toarray"):
        kind = type(value).__name__
        raise TypeError(f"{name} is a {kind}: it must be an array of real numbers")
    array = to_numpy(found)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} has dtype {array.dtype}: it must hold real numbers")
    return np.asarray(array, dtype=np.float64)
