"""Networks of layers, balanced or not: products, lifted gradients, invariants, observables.

Begin with :func:`end_to_end`.
"""

from __future__ import annotations

from dlngeom.network._layers import differential, lifted_gradient
from dlngeom.network._observables import effective_rank, end_to_end, invariants, singular_values

__all__ = [
    "differential",
    "effective_rank",
    "end_to_end",
    "invariants",
    "lifted_gradient",
    "singular_values",
]
