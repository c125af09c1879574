"""Memory that a result needs against the memory there is, before any of it is used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlngeom._lib.vectors import Vector, parts

__all__ = ["GIB", "bytes_of", "present", "require"]

GIB = 2**30

# Where Linux says what a container may use.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def present() -> float:
    """Bytes of memory of this machine or container, in use or not; infinite if unknown."""
    try:
        found = float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return float("inf")
    for path in _LIMITS:
        try:
            found = min(found, float(Path(path).read_text()))
        except (OSError, ValueError):
            continue  # Another system, or no limit.
    return found


def require(need: float, what: str, cure: Callable[[float], str]) -> None:
    """Require that there is as much memory as needed.

    ``cure`` maps the share of the need that would fit to what the caller can do.

    Raises
    ------
    ValueError
        If there is not, with the size and the cure.
    """
    limit = present()
    if need > limit:
        raise ValueError(
            f"{what} needs {need / GIB:.3g} GiB of memory: there are {limit / GIB:.3g}, "
            f"{cure(limit / need)}"
        )


def bytes_of(value: Vector) -> int:
    """Bytes of all arrays of a nested tuple that lie in the memory of the machine."""
    return sum(_bytes(x) for x in parts(value))


def _bytes(x: Any) -> int:
    device = str(getattr(x, "device", "cpu")).lower()
    return int(x.nbytes) if "cpu" in device else 0
