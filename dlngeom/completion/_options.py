"""Checks of the numbers that the functions and the estimator of completion take."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from dlngeom._lib import checks
from dlngeom.completion._biases import KINDS

__all__ = [
    "bias_kinds",
    "depths",
    "flag",
    "memory_limit",
    "one_of",
    "random_seed",
    "rank_cap",
    "scales",
    "thread_count",
]

DEFAULT_RANK = 50

# The depth that is best most often comes first: others are given up once they fall behind.
AUTOMATIC_DEPTHS = (3, 2, 1)

LARGEST_THREAD_COUNT = 1024


def rank_cap(rank: Any, shape: tuple[int, ...]) -> int:
    """Check a cap of the rank, or choose the default."""
    return min(DEFAULT_RANK, *shape) if rank is None else checks.rank(rank, *shape)


def depths(value: Any) -> list[int]:
    """Return one or several depths as a list; "auto" stands for one to three."""
    if isinstance(value, str) and value == "auto":
        return list(AUTOMATIC_DEPTHS)
    is_text = isinstance(value, (str, bytes, bytearray))
    several = list(value) if isinstance(value, Sequence) and not is_text else [value]
    if not several:
        raise ValueError(f"depth={value!r}: give at least one")
    return [int(checks.depth(N, infinite=False)) for N in several]


def bias_kinds(value: Any) -> tuple[str, ...]:
    """Kinds of biases to choose from."""
    if isinstance(value, str):
        one_of("biases", value, ("auto", *KINDS))
        return KINDS if value == "auto" else (value,)
    try:
        return ("rows+columns",) if flag("biases", value) else ("none",)
    except ValueError:
        raise ValueError(
            f"biases={value!r}: it must be True, False or one of auto, {', '.join(KINDS)}"
        ) from None


def scales(value: Any) -> tuple[bool, ...]:
    """Whether columns are brought to their own scale, or both to choose from."""
    if isinstance(value, str) and value in ("auto", "columns"):
        return (False, True) if value == "auto" else (True,)
    if isinstance(value, (bool, np.bool_)) and not value:
        return (False,)
    raise ValueError(f"scale={value!r}: it must be 'auto', 'columns' or False")


def one_of(name: str, value: Any, known: Sequence[str]) -> str:
    """Return a name that is among the known ones."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}={value!r}: it must be one of {', '.join(known)}")
    return value


def flag(name: str, value: Any) -> bool:
    """Return the truth of a bool or an integer, of nothing else."""
    if not isinstance(value, (bool, np.bool_, numbers.Integral)):
        raise ValueError(f"{name}={value!r}: it must be True or False")
    return bool(value)


def memory_limit(value: Any) -> float:
    """Return a limit in GiB, which may be infinite."""
    if isinstance(value, numbers.Real) and value == math.inf:
        return math.inf
    return checks.nonnegative("memory_limit", value)


def thread_count(value: Any) -> int | None:
    """Return a number of threads as joblib counts them: negative ones from the processors."""
    if value is None:
        return None
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value == 0 or abs(value) > LARGEST_THREAD_COUNT:
        raise ValueError(
            f"n_jobs={value!r}: it must be None or an integer other than 0, from "
            f"-{LARGEST_THREAD_COUNT} to {LARGEST_THREAD_COUNT}; -1 takes all processors"
        )
    return int(value)


def random_seed(value: Any) -> int:
    """Draw a seed from what ``random_state`` may be."""
    if isinstance(value, np.random.Generator):
        return int(value.integers(2**31))
    try:
        if isinstance(value, bool):
            raise ValueError
        return int(check_random_state(value).randint(2**31))
    except (ValueError, TypeError, OverflowError):
        raise ValueError(
            f"random_state={value!r}: it must be None, an integer from 0 to 4294967295, a "
            "RandomState or a Generator"
        ) from None
