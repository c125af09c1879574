"""Brownian motion and the Riemannian Langevin equation (RLE), on networks and any quotient.

Begin with :func:`riemannian_langevin`.
"""

from __future__ import annotations

from dlngeom._lib.trajectory import Trajectory
from dlngeom.langevin._engine._runs import LangevinError
from dlngeom.langevin._kinetic import kinetic_langevin
from dlngeom.langevin._processes import brownian_motion, network_langevin, riemannian_langevin, step

__all__ = [
    "LangevinError",
    "Trajectory",
    "brownian_motion",
    "kinetic_langevin",
    "network_langevin",
    "riemannian_langevin",
    "step",
]
