"""Time of one step, for those who choose it themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlngeom._lib import checks
from dlngeom._lib.arrays import to_numpy
from dlngeom._lib.derivatives import detached
from dlngeom._lib.door import takes_arrays
from dlngeom._lib.vectors import Point, parts, rebuild
from dlngeom.langevin._engine._runs import batched_start, require_functions
from dlngeom.langevin._step_size import Scene, suggested_step
from dlngeom.points._covectors import Covector
from dlngeom.submersion import Base, RiemannianSubmersion
from dlngeom.submersion._spaces import geometry_on
from dlngeom.submersion._walks import walk_of

__all__ = ["suggest_step"]


@takes_arrays("point")
def suggest_step(
    space: RiemannianSubmersion | Base,
    point: Point,
    energy_gradient: Callable[[Any], Covector] | None = None,
    *,
    beta: float,
    kappa: float = 1.0,
) -> float:
    r"""Suggest the time of one step of :func:`riemannian_langevin` at some points.

    .. math:: \mathrm{d}t = \min\left( \frac{0.6}{h},\;
              \max\Big( \frac{0.04\,|W|^2}{D}, \frac{0.02}{h} \Big),\;
              \frac{\beta\, \rho^2}{8 \max(1, \kappa)} \right)

    Parameters
    ----------
    space : DeepLinearNetwork or any Riemannian submersion, or a base
    point : Point
        One point or many; the answer for many is the shortest step.
    energy_gradient : callable, optional
        ``E'`` downstairs, as for :func:`riemannian_langevin`.
    beta, kappa : float
        As for :func:`riemannian_langevin`.

    Returns
    -------
    float
        Time of a step; ``inf`` if nothing limits it.

    Raises
    ------
    ValueError, TypeError
        If the point is not one of the space, or an argument is out of range.

    See Also
    --------
    dlngeom.langevin.riemannian_langevin : With ``n_steps="auto"`` it asks along a pilot run.
    dlngeom.langevin.step : The step itself.

    Notes
    -----
    *Stability.*  ``h`` is the largest eigenvalue of the Hessian of the lifted energy ``L`` on the
    manifold upstairs, by power iteration on differences of lifted gradients along the retraction.
    A step of length ``t`` multiplies an error in that direction by ``1 - t h``, so that steps are
    unstable beyond ``2 / h`` and the direction gets the variance ``1 / (1 - t h / 2)`` times too
    large; from ``1 / h`` on, runs warn.

    *Bias.*  ``D`` is the mean square by which the noise moves the end-to-end matrix ``W`` in a unit
    of time.  In the stationary law the energy takes back what the noise adds, up to a quarter of
    the noise of one step: ``t D / 4`` is the bias of the mean of ``|W|^2`` to first order, by
    ``E|W - t G + noise|^2 = E|W|^2``.  The rule holds it to 1 percent.  Near ``W = 0`` the size of
    ``W`` is what the energy confines it to, ``D / (2 h)``.

    *Curvature of the manifold.*  Frames turn by the noise of a step over the smallest ``lam``:
    ``rho`` is ``(lam_{r-1} + lam_r) / sqrt(r)``, and for frames that are not square at most
    ``lam_r`` over the root of how many columns they lack.  Walks divide a step into at most four
    parts where its noise is above ``rho / 4``; the rule keeps it within ``rho / 2``.

    Where the walk does not know ``rho``, as on other submersions, the noise of a step upstairs is
    at most a fifth of the point, as the sphere through it bends; so is that of ``W`` where there is
    no energy.

    A point says nothing of where the chain will go: with ``lam`` small at the start and large
    later, ``h`` grows by the power ``2 N - 2`` of the ratio.

    Equations (12.3) and (3.6) of Menon, *The geometry of the deep linear network*.

    Examples
    --------
    >>> from dlngeom import DeepLinearNetwork
    >>> from dlngeom.langevin import suggest_step
    >>> space = DeepLinearNetwork((2, 2))
    >>> point = space.random_point(0)
    >>> round(suggest_step(space, point, lambda W: 5 * W, beta=100.0), 6)
    0.12
    """
    point = detached(point)
    require_functions(energy_gradient=energy_gradient)
    beta = checks.inverse_temperature(beta)
    kappa = checks.noise_ratio(kappa, zero=True)
    place = geometry_on(space, isinstance(space, RiemannianSubmersion))
    start = batched_start(place, point, None)
    scene = Scene.of(
        place, walk_of(place, start), start, 2 / beta, kappa * 2 / beta, energy_gradient
    )
    walk = walk_of(place, start)
    found = walk.point(walk.start(start))
    return suggested_step(scene, rebuild(found, [to_numpy(x) for x in parts(found)]))
