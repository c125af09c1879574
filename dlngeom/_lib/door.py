"""Conversion of what looks like an array into plain arrays, at the door of public functions.

Inside, ``x * y`` must be a product of entries and every entry a number.  What means something else
(``numpy.matrix``, masked arrays, other byte orders, lists, integers) is converted here, once, where
its meaning is clear, and refused with the cure where it is not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import array_api_compat
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from dlngeom._lib.arrays import to_numpy
from dlngeom._lib.derivatives import is_traced

__all__ = ["plain", "real_numbers", "takes_arrays"]

_DOUBLE = np.dtype(np.float64)
_NUMBERS = (int, float, np.number)
_Function = TypeVar("_Function", bound=Callable[..., Any])


def takes_arrays(*names: str) -> Callable[[_Function], _Function]:
    """Decorate a public function: the named arguments reach it as plain arrays.

    Values that jax records cannot be looked at: without a word from the caller ``check_finite``, if
    the function has it, is then False.

    Parameters
    ----------
    *names : str
        Parameters that are arrays, points or vectors.  One whose default is None may be None.
    """

    def decorate(function: _Function) -> _Function:
        places = _places(function, names)
        looks = "check_finite" in (function.__kwdefaults__ or {})

        @functools.wraps(function)
        def entered(*args: Any, **kwargs: Any) -> Any:
            given, foreign = len(args), False
            for place, name, optional in places:
                if place < given:
                    value = args[place]
                    if type(value) is np.ndarray and value.dtype is _DOUBLE:
                        continue  # The usual argument, let in at the cost of two comparisons.
                    if _holds_doubles(value):
                        continue
                    foreign = True
                    if not (optional and value is None):
                        args = (*args[:place], plain(name, value), *args[place + 1 :])
                elif name in kwargs and not (optional and kwargs[name] is None):
                    kwargs[name], foreign = plain(name, kwargs[name]), True
            if foreign and looks and "check_finite" not in kwargs:
                kwargs["check_finite"] = not is_traced(*_arrays(args), *_arrays(kwargs.values()))
            try:
                return function(*args, **kwargs)
            except np.linalg.LinAlgError as error:
                raise ValueError(_overflow(function.__name__, error)) from error

        return entered  # type: ignore[return-value]

    return decorate


def _holds_doubles(value: Any) -> bool:
    """Whether a value is a named tuple of plain arrays of doubles, such as an SVD."""
    named = isinstance(value, tuple) and hasattr(value, "_fields")
    return named and all(type(x) is np.ndarray and x.dtype is _DOUBLE for x in value)


def _arrays(values: Iterable[Any]) -> list[Any]:
    """Arrays among some arguments, and in tuples of them."""
    found: list[Any] = []
    for value in values:
        found += value if isinstance(value, tuple) else [value]
    return found


def _overflow(name: str, error: Exception) -> str:
    return (
        f"{name}: {error}. Some entries are too large or too small for a decomposition in this "
        "precision, rescale them"
    )


def _places(function: Any, names: tuple[str, ...]) -> list[tuple[int, str, bool]]:
    """Position and name of each parameter, and whether its default is None."""
    code = function.__code__
    defaults = function.__defaults__ or ()
    order = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    last = order[code.co_argcount - len(defaults) : code.co_argcount]
    given = dict(zip(last, defaults, strict=True)) | (function.__kwdefaults__ or {})
    return [(order.index(x), x, x in given and given[x] is None) for x in names]


def plain(name: str, value: Any) -> Any:
    """Return arrays, numbers and tuples of arrays as plain arrays.

    Parameters
    ----------
    name : str
        What errors call the value.
    value : array, sparse matrix, LinearOperator, number, sequence or tuple of such
        Arrays of numpy become native ``float32``, ``float64`` or complex ones without a subclass;
        lists of numbers become ``float64``, lists of matrices a tuple.

    Returns
    -------
    of the same structure

    Raises
    ------
    TypeError
        If the value is nothing of this kind.
    ValueError
        If an entry is masked, rows have different lengths, or the dtype is not one of numbers in
        single or double precision.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain_numpy(name, value)
    if isinstance(value, tuple):
        return _plain_tuple(name, value)
    if isinstance(value, (list, range)):
        return _plain_list(name, value)
    if isinstance(value, Iterator):
        return _plain_list(name, list(value))
    if isinstance(value, _NUMBERS) and not isinstance(value, bool):
        return _plain_number(name, value)
    if sparse.issparse(value) or isinstance(value, LinearOperator):
        return value
    if array_api_compat.is_array_api_obj(value):
        if array_api_compat.is_torch_array(value) and str(value.layout) != "torch.strided":
            raise TypeError(
                f"{name} is a sparse tensor of torch: it must be dense, pass x.to_dense()"
            )
        return value
    raise TypeError(_refusal(name, value))


def real_numbers(name: str, value: Any) -> np.ndarray:
    """Return a real number or an array of such as an array of doubles of numpy.

    Raises
    ------
    TypeError, ValueError
        If it is nothing of this kind.
    """
    x = plain(name, value)
    if isinstance(x, tuple) and not x:
        return np.empty(0)
    if isinstance(x, tuple) or sparse.issparse(x) or isinstance(x, LinearOperator):
        raise TypeError(_refusal(name, value))
    x = to_numpy(x)
    if x.dtype.kind not in "fiu":
        raise ValueError(f"{name} has dtype {x.dtype}: it must be real")
    return x.astype(np.float64, copy=False)


def _plain_number(name: str, value: Any) -> Any:
    try:
        float(value)
    except OverflowError:
        raise ValueError(f"{name}: an integer is too large for a float") from None
    return value


def _plain_numpy(name: str, value: Any) -> Any:
    dtype = value.dtype
    if type(value) is np.ndarray and dtype.char in "fdFD" and dtype.isnative:
        return value
    if isinstance(value, np.ma.MaskedArray):
        value = _unmasked(name, value)
    if dtype.char in "fdFD":
        kind = dtype.newbyteorder("=")
    elif dtype.kind in "iu":
        kind = _DOUBLE
    else:
        raise ValueError(
            f"{name} has dtype {dtype}: it must be float32 or float64, pass np.asarray(x, float)"
        )
    if isinstance(value, np.generic):
        return value if dtype.kind != "O" else np.asarray(value)[()]
    return np.asarray(value).astype(kind, copy=False)


def _unmasked(name: str, value: Any) -> np.ndarray:
    hidden = int(np.count_nonzero(value.mask))
    if hidden:
        raise ValueError(
            f"{name} has {hidden} masked entries: the geometry needs all of them, fill them or "
            "complete the matrix with dlngeom.completion"
        )
    return np.asarray(value.data)


def _plain_tuple(name: str, value: tuple[Any, ...]) -> Any:
    fields = getattr(value, "_fields", None)
    if fields is None:
        members = _holds_vectors(value) or _holds_both(value)
        return (_plain_members if members else _plain_list)(name, value)
    if _holds_doubles(value):
        return value
    parts = [_part(f"{name}.{field}", x) for field, x in zip(fields, value, strict=True)]
    if all(new is old for new, old in zip(parts, value, strict=True)):
        return value
    return type(value)(*parts)


def _plain_list(name: str, value: Any) -> Any:
    """Array of numbers, or tuple of the matrices that a sequence holds."""
    if len(value) == 0 or any(_holds_matrices(x) for x in value):
        return _plain_members(name, value)
    if _levels(value) > 2:
        raise ValueError(
            f"{name} is a list of lists of lists: pass np.asarray(x, float) for a batch of "
            "matrices, a list of arrays for layers"
        )
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(_ragged(name, value)) from None
    if array.dtype.kind in "OUSb":
        raise ValueError(_ragged(name, value))
    return _plain_numpy(name, array)


def _plain_members(name: str, value: Any) -> tuple[Any, ...]:
    """Tuple of the arrays that a sequence holds, the same one where nothing is converted."""
    parts = [_part(f"{name}[{i}]", x) for i, x in enumerate(value)]
    if isinstance(value, tuple) and all(new is old for new, old in zip(parts, value, strict=True)):
        return value
    return tuple(parts)


def _holds_matrices(value: Any) -> bool:
    """Whether a member of a sequence is a matrix or a tuple of arrays, no row and no number."""
    if isinstance(value, (list, tuple)):
        return hasattr(value, "_fields") or any(getattr(x, "ndim", 0) > 1 for x in value)
    return not isinstance(value, (np.generic, complex, *_NUMBERS)) and getattr(value, "ndim", 2) > 1


def _holds_both(value: tuple[Any, ...]) -> bool:
    """Whether a matrix in lists stands beside an array: neither is a row of the other."""
    arrays = any(getattr(x, "ndim", 0) > 0 for x in value)
    return arrays and any(isinstance(x, list) and _levels(x) > 1 for x in value)


def _holds_vectors(value: tuple[Any, ...]) -> bool:
    """Whether all members are arrays with axes: a tuple of arrays, where a list would be rows."""
    return len(value) > 0 and all(
        not isinstance(x, (list, tuple)) and getattr(x, "ndim", 0) > 0 for x in value
    )


def _levels(value: Any) -> int:
    """Depth to which sequences of sequences go."""
    nested = isinstance(value, (list, tuple, np.ndarray)) and len(value) > 0
    return 1 + _levels(value[0]) if nested else 0


def _part(name: str, value: Any) -> Any:
    """Member of a tuple, which must be an array or hold arrays."""
    if isinstance(value, (np.generic, *_NUMBERS)):
        raise TypeError(_refusal(name, value))
    if sparse.issparse(value) or isinstance(value, LinearOperator):
        raise TypeError(f"{name} is a {type(value).__name__}: it must be dense, pass x.toarray()")
    return plain(name, value)


def _refusal(name: str, value: Any) -> str:
    rule = "it must be an array of float32 or float64"
    if value is None or isinstance(value, (bool, complex, *_NUMBERS)):
        return f"{name}={value!r}: {rule}"
    kind = type(value)
    hopeless = callable(value) or isinstance(value, (str, bytes, dict, set))
    cure = "" if hopeless else ", pass np.asarray(x, float)"
    return f"{name} is a {kind.__module__}.{kind.__qualname__}: {rule}{cure}"


def _ragged(name: str, value: Any) -> str:
    short = repr(value)
    short = short if len(short) < 60 else f"{short[:57]}..."
    return f"{name}={short}: it must hold numbers, in rows of equal length"
