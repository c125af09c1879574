"""Brownian motion and the Riemannian Langevin equation (RLE), on networks and any quotient.

Begin with :func:`riemannian_langevin`.
"""

from __future__ import annotations

from dlngeom._lib.trajectory import Trajectory
from dlngeom.langevin._engine._runs import LangevinError
from dlngeom.langevin._kinetic import kinetic_langevin
from dlngeom.langevin._layers import network_langevin
from dlngeom.langevin._processes import brownian_motion, riemannian_langevin
from dlngeom.langevin._step import step
from dlngeom.langevin._suggest import suggest_step

__all__ = [
    "LangevinError",
    "Trajectory",
    "brownian_motion",
    "kinetic_langevin",
    "network_langevin",
    "riemannian_langevin",
    "step",
    "suggest_step",
]
