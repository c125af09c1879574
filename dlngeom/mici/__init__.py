"""Balanced networks as constrained systems for the Hamiltonian samplers of mici.

Begin with :func:`system`; :func:`position` and :func:`layers` lead to mici's positions and back.
"""

from __future__ import annotations

from dlngeom.mici._positions import layers, position
from dlngeom.mici._systems import system

__all__ = ["layers", "position", "system"]
