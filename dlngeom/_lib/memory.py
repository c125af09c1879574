"""Memory of this machine, and refusals of what it cannot hold, before any of it is used."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlngeom._lib.vectors import Vector, parts

__all__ = ["available", "bytes_of", "require"]

_GIB = 2.0**30

# Where Linux says what a container may use.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available() -> float:
    """Bytes of physical memory of the machine or container, infinite where it does not tell."""
    try:
        found = float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return math.inf
    for path in _LIMITS:
        try:
            found = min(found, float(Path(path).read_text()))
        except (OSError, ValueError):
            continue  # Another system, or no limit.
    return found


def require(what: str, need: float, cure: str | Callable[[float], str]) -> None:
    """Refuse what needs more bytes than there are.

    ``cure`` may be a function of the share of the need that there is.

    Raises
    ------
    ValueError
        If it does; the message has the GiB that it needs and the cure.
    """
    there = available()
    if need > there:
        sizes = f"{need / _GIB:.3g} GiB, and there are {there / _GIB:.3g}"
        said = cure if isinstance(cure, str) else cure(there / need)
        raise ValueError(f"{what} need {sizes}: {said}")


def bytes_of(value: Vector) -> int:
    """Bytes of all arrays of a nested tuple that lie in the memory of the machine."""
    return sum(_bytes(x) for x in parts(value))


def _bytes(x: Any) -> int:
    device = str(getattr(x, "device", "cpu")).lower()
    return int(x.nbytes) if "cpu" in device else 0
