"""Quotient manifolds other than the deep linear network: worked examples for your own.

Begin with :class:`Sphere`.
"""

from __future__ import annotations

from dlngeom.quotients._bures_wasserstein import BuresWasserstein
from dlngeom.quotients._complex_projective import ComplexProjective
from dlngeom.quotients._fixed_rank import FixedRank
from dlngeom.quotients._flags import Flags
from dlngeom.quotients._grassmann import Grassmann
from dlngeom.quotients._hermitian_spectrum import HermitianSpectrum
from dlngeom.quotients._kendall import KendallShapes
from dlngeom.quotients._sphere import Sphere

__all__ = [
    "BuresWasserstein",
    "ComplexProjective",
    "FixedRank",
    "Flags",
    "Grassmann",
    "HermitianSpectrum",
    "KendallShapes",
    "Sphere",
]
