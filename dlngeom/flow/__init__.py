"""Gradient flows of any space, and of the layers of any network.

Begin with :func:`gradient_flow`.
"""

from __future__ import annotations

from dlngeom._lib.trajectory import Trajectory
from dlngeom.flow._gradient_flow import gradient_flow, network_flow
from dlngeom.flow._runs import FlowError

__all__ = ["FlowError", "Trajectory", "gradient_flow", "network_flow"]
