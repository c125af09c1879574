"""One step of the walks as a pure function, for those who write a sampler of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.derivatives import detached
from dlngeom._lib.door import takes_arrays
from dlngeom._lib.vectors import Point, Vector, parts
from dlngeom.points import SVD, Frames
from dlngeom.points._covectors import Covector
from dlngeom.submersion import Base, RiemannianSubmersion
from dlngeom.submersion._walks import walk_of

__all__ = ["step"]


@takes_arrays("point", "noise", "covector")
def step(
    space: Base | RiemannianSubmersion,
    point: Point,
    noise: Vector,
    *,
    duration: float,
    beta: float,
    kappa: float = 1.0,
    covector: Covector | None = None,
) -> Point:
    r"""Take one step of the walk: a pure function of its arguments, which it does not check.

    .. math:: x' = R_2\big(-\mathrm{d}\phi^*(E')\,\mathrm{d}t
              + \sqrt{2\,\mathrm{d}t/\beta}\,(P_v + \sqrt\kappa\,P_h)\,\xi\big)

    Parameters
    ----------
    space : Base or RiemannianSubmersion
        Upstairs for a submersion, downstairs for its ``base``.
    point : Point
        With any leading axes; Frames, not layers, for a network.
    noise : Vector
        Standard Gaussian ambient vector: layers upstairs, a matrix downstairs.
    duration : float
        Time of the step.
    beta, kappa : float
        As for :func:`riemannian_langevin`.
    covector : array, optional
        ``E'`` at the end-to-end matrix, or at the point of the base.

    Returns
    -------
    Point
        Of the kind of ``point``.

    See Also
    --------
    dlngeom.langevin.riemannian_langevin : Many steps of many chains.
    dlngeom.balanced.retraction : The retraction ``R_2`` upstairs.
    dlngeom.endtoend.retraction : The retraction ``R_2`` downstairs.

    Notes
    -----
    Results carry no derivatives of torch.

    Array operations only, without branches on values: with Frames, or an SVD at finite depth, it
    can be compiled.  Unlike the drivers it does not subdivide steps near a singularity.  The
    equation is (12.3) of Menon, *The geometry of the deep linear network*.
    """
    point, noise, covector = (detached(x) for x in (point, noise, covector))
    _check_numbers(duration=duration, beta=beta, kappa=kappa)
    _check_real(point, noise, covector)
    walk = walk_of(space, point)
    vertical = (2 * duration / beta) ** 0.5
    horizontal = vertical if kappa == 1 else vertical * kappa**0.5
    try:
        moved = walk.step(walk.start(point), noise, covector, duration, vertical, horizontal)
        return walk.point(moved)
    except (ValueError, IndexError, AttributeError) as error:
        found = [tuple(x.shape) for x in parts((point, noise))]
        raise ValueError(
            f"point and noise have shapes {found}, which do not fit: {error}"
        ) from error


def _check_numbers(*, duration: Any, beta: Any, kappa: Any) -> None:
    """Check plain numbers; arrays may be those of a compiler, which have no values yet."""
    for name, value in {"duration": duration, "kappa": kappa}.items():
        if not _is_traced(value):
            checks.nonnegative(name, value)
    if not _is_traced(beta):
        checks.inverse_temperature(beta)


def _check_real(point: Point, noise: Vector, covector: Covector | None) -> None:
    """Refuse complex numbers where the point is real, and points of ours that are not."""
    given = {"point": point, "noise": noise, "covector": covector}
    bad = {
        name: str(x.dtype)
        for name, value in given.items()
        if value is not None
        for x in parts(value)
        if _is_complex(x)
    }
    if bad and ("point" not in bad or isinstance(point, (Frames, SVD))):
        raise ValueError(f"{bad}: this space is real, pass the real part")


def _is_complex(x: Any) -> bool:
    """Whether a dtype of numpy, jax or torch is complex."""
    dtype = getattr(x, "dtype", None)
    return getattr(dtype, "kind", None) == "c" or bool(getattr(dtype, "is_complex", False))


def _is_traced(value: Any) -> bool:
    """Whether a number may be one that a compiler does not know yet."""
    return getattr(value, "shape", None) == () and not isinstance(value, (np.ndarray, np.generic))
