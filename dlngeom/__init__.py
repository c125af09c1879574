"""Riemannian geometry of the deep linear network.

``W = W_N ... W_1`` has a geometry upstairs (the balanced networks with the Frobenius
metric), one downstairs (the end-to-end matrices with the metric ``g^N``), and a
Riemannian submersion between them.  Submodules load when they are first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_SUBMODULES = (
    "balanced",
    "completion",
    "endtoend",
    "equilibrium",
    "flow",
    "geodesics",
    "geomstats",
    "landscape",
    "langevin",
    "laws",
    "network",
    "observables",
    "plotting",
    "points",
    "pymanopt",
    "quotients",
    "spectral",
    "submersion",
    "thermodynamics",
)
_POINTS = (
    "SVD",
    "Frames",
    "LowRank",
    "Tangent",
    "dense",
    "factors",
    "frames",
    "nearest_balanced",
    "svd",
)

_SPACES = ("DeepLinearNetwork", "EndToEndGeometry", "InfinitelyDeepNetwork")

_SUBMERSIONS = {
    "Base": "submersion",
    "RiemannianSubmersion": "submersion",
    "check_submersion": "submersion_checks",
}

__all__ = sorted((*_SUBMODULES, *_POINTS, *_SPACES, *_SUBMERSIONS))


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _POINTS:
        return getattr(importlib.import_module(f"{__name__}.points"), name)
    if name in _SPACES:
        return getattr(importlib.import_module(f"{__name__}.dln"), name)
    if name in _SUBMERSIONS:
        return getattr(importlib.import_module(f"{__name__}.{_SUBMERSIONS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
