"""Quotient manifolds other than the deep linear network: worked examples for your own."""

from __future__ import annotations

from dlngeom.quotients.bures_wasserstein import BuresWasserstein
from dlngeom.quotients.grassmann import Grassmann
from dlngeom.quotients.hermitian_spectrum import HermitianSpectrum
from dlngeom.quotients.sphere import Sphere

__all__ = ["BuresWasserstein", "Grassmann", "HermitianSpectrum", "Sphere"]
