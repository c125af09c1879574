"""Landscape of the free energy: its critical points and local minima, by search from many starts.

Begin with :func:`local_minima`.
"""

from __future__ import annotations

from dlngeom.thermodynamics.landscape._search import Landscape, critical_points, local_minima

__all__ = ["Landscape", "critical_points", "local_minima"]
