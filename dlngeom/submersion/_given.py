"""Checks of points and vectors that callers give for any submersion."""

from __future__ import annotations

import re
from typing import Any

from dlngeom._lib import checks
from dlngeom._lib.arrays import namespace
from dlngeom._lib.vectors import Point, Vector, parts
from dlngeom.submersion._offers import HasPointCheck

__all__ = ["check_like", "finite_result", "named", "point_upstairs"]

# What Python calls an object whose class says nothing better.
_ADDRESS = re.compile(r"<[\w.<>]*?(\w+) object at 0x[0-9a-f]+>")


def named(space: Any) -> str:
    """Name of a space in errors: its own, or that of its class instead of an address."""
    return _ADDRESS.sub(r"\1", repr(space))


def point_upstairs(space: Any, point: Point) -> Point:
    """Check a point upstairs, by the space's own check or by the shapes of a random point.

    Raises
    ------
    ValueError
        If it is not one of the space.
    """
    if isinstance(space, HasPointCheck):
        return space.check_point(point)
    check_like("point", point, space.random_point(0))
    return point


def check_like(
    name: str, value: Vector, like: Vector, batch: tuple[int, ...] | None = None
) -> None:
    """Require the arrays of ``value`` to be finite, of the kinds and trailing shapes of ``like``.

    A ``batch`` is that of the points, which all vectors share or lack.

    Raises
    ------
    ValueError
        If one of them is not.
    """
    given, wanted = parts(value), parts(like)
    if len(given) != len(wanted):
        raise ValueError(f"{name} has {len(given)} arrays: it must have {len(wanted)}")
    batches = [
        tuple(x.shape)[: x.ndim - y.ndim]
        for x, y in zip(given, wanted, strict=True)
        if hasattr(x, "ndim") and x.ndim >= y.ndim
    ]
    if batch is None and len(set(batches)) > 1:
        raise ValueError(f"{name} has arrays of batches {batches}: they must agree")
    for x, y in zip(given, wanted, strict=True):
        shape = tuple(y.shape)
        found = tuple(getattr(x, "shape", ()))
        if found[len(found) - len(shape) :] != shape or len(found) < len(shape):
            raise ValueError(f"{name} has shape {found}: it must end in {shape}")
        own = found[: len(found) - len(shape)]
        if batch is not None and own not in ((), batch):
            raise ValueError(f"{name} has batch {own} and the point {batch}: they must agree")
        if hasattr(x, "shape"):
            if not namespace(y).isdtype(y.dtype, "complex floating"):
                checks.floating(name, x)
            checks.finite(name, x)


def finite_result(value: Vector) -> Vector:
    """Return what is finite.

    Raises
    ------
    ValueError
        If an entry is not, as at a point where the rank falls or entries overflow.
    """
    for x in parts(value):
        if not bool(namespace(x).all(namespace(x).isfinite(x))):
            raise ValueError(
                "the result is not finite: the rank of the point falls here, or its entries are "
                "too large or too small for this precision"
            )
    return value
