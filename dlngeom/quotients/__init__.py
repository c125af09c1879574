"""Quotient manifolds other than the deep linear network: worked examples for your own.

Begin with :class:`Sphere`.
"""

from __future__ import annotations

from dlngeom.quotients._bures_wasserstein import BuresWasserstein
from dlngeom.quotients._grassmann import Grassmann
from dlngeom.quotients._hermitian_spectrum import HermitianSpectrum
from dlngeom.quotients._sphere import Sphere

__all__ = ["BuresWasserstein", "Grassmann", "HermitianSpectrum", "Sphere"]
