"""Equilibrium of a deep linear network in a potential of its singular values.

The Riemannian Langevin equation at inverse temperature ``beta`` has the invariant density
``exp(-(beta / kappa)(E - S / beta))`` against the volume of ``g^N``.  For ``E = sum_k V(sigma_k)``,
such as ``1/2 tr W^T W``, the singular values are a gas of particles with two logarithmic
repulsions, between the ``lam^2`` and between the ``sigma^2``.  At infinite depth the metric is
rescaled, which changes the unit of time but not the temperature.  There the density has an infinite
integral: the smallest singular value tends to zero, and the others have the law that is the limit
of finite depths.  Begin with :func:`sample` and :func:`limit_law`.
"""

from __future__ import annotations

from dlngeom.thermodynamics.equilibrium._density import (
    Sample,
    log_density,
    log_density_gradient,
    mean_virial,
    sample,
)
from dlngeom.thermodynamics.equilibrium._gas import Potential, quadratic
from dlngeom.thermodynamics.equilibrium._limit_laws import (
    ClosedLaw,
    MinimiserLaw,
    hard_edge_exponent,
    limit_law,
)

__all__ = [
    "ClosedLaw",
    "MinimiserLaw",
    "Potential",
    "Sample",
    "hard_edge_exponent",
    "limit_law",
    "log_density",
    "log_density_gradient",
    "mean_virial",
    "quadratic",
    "sample",
]
