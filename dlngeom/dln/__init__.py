"""The deep linear network as a Riemannian submersion, and the spaces below it.

Begin with :class:`DeepLinearNetwork`.
"""

from __future__ import annotations

from dlngeom.dln._downstairs import EndToEndGeometry, InfinitelyDeepNetwork
from dlngeom.dln._network import DeepLinearNetwork

__all__ = ["DeepLinearNetwork", "EndToEndGeometry", "InfinitelyDeepNetwork"]
