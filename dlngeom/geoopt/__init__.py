"""Manifolds for the optimizers of geoopt.

Begin with :class:`EndToEnd`.  Points are tensors of torch, batched over leading axes: dense
end-to-end matrices downstairs, stacked layers upstairs.  The samplers of geoopt refuse both, since
their noise has the wrong law downstairs; :mod:`dlngeom.langevin` has samplers.
"""

from __future__ import annotations

from dlngeom.geoopt._balanced import Balanced
from dlngeom.geoopt._end_to_end import EndToEnd

__all__ = ["Balanced", "EndToEnd"]
