"""Memory of this machine, and refusals of what it cannot hold."""

from __future__ import annotations

import math
import os

__all__ = ["available", "require"]

_GIB = 2.0**30


def available() -> float:
    """Bytes of physical memory, infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return math.inf


def require(what: str, need: float, cure: str) -> None:
    """Refuse what needs more bytes than there are.

    Raises
    ------
    ValueError
        If it does; the message has the GiB that it needs and the cure.
    """
    there = available()
    if need > there:
        sizes = f"{need / _GIB:.3g} GiB, and there are {there / _GIB:.3g}"
        raise ValueError(f"{what} need {sizes}: {cure}")
