"""Equilibrium of a deep linear network in a potential of its singular values.

The Riemannian Langevin equation at inverse temperature ``beta`` has the invariant density
``exp(-(beta / kappa)(E - S / beta))`` against the volume of ``g^N``.  For ``E = sum_k V(sigma_k)``,
such as ``1/2 tr W^T W``, the singular values are a gas of particles with two repulsions, of
``lam^2`` and of ``sigma^2``.  At infinite depth the rescaled metric changes times by a factor, and
no temperature; there the density has no finite integral: the smallest singular value runs to zero,
and the others have the law to which those of finite networks converge.
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
