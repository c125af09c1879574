"""The library itself, or what to install, and what both manifolds share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dlngeom._lib import checks

try:
    import torch
    from geoopt import ManifoldTensor
    from geoopt.manifolds import Manifold
    from geoopt.utils import size2shape
except ImportError as error:
    raise ImportError("dlngeom.geoopt needs geoopt: pip install 'dlngeom[geoopt]'") from error

__all__ = ["ManifoldTensor", "OptimizedManifold", "along", "size2shape", "torch"]


class OptimizedManifold(Manifold):  # type: ignore[misc]
    """Manifold whose points are checked where they become parameters, not in each step."""

    # The samplers of geoopt would send white noise through egrad2rgrad, which is no root of the
    # cometric.
    reversible = False

    def assert_check_point(self, x: torch.Tensor) -> None:
        """Require a point of the manifold; geoopt asks when a parameter is made.

        Raises
        ------
        ValueError
            If it is none.
        """
        super().assert_check_point(x)
        checks.floating("x", x)
        ok, reason = self._check_point_on_manifold(x)
        if not ok:
            raise ValueError(reason)

    def component_inner(self, x: Any, u: Any, v: Any = None) -> torch.Tensor:
        """Inner product with axes of length one, by which adaptive optimizers scale a point."""
        return self.inner(x, u, v, keepdim=True)


@contextmanager
def along(u: torch.Tensor) -> Iterator[None]:
    """Say what is wrong with a tangent vector where moving along it fails.

    Raises
    ------
    ValueError
        If a decomposition fails.
    """
    try:
        yield
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        if bool(torch.all(torch.isfinite(u))):
            reason = f"entries up to {float(torch.max(torch.abs(u))):.2g}: too long, shorten it"
        else:
            reason = "entries that are not finite: so has a derivative of the cost, or the cost"
        raise ValueError(f"the tangent vector has {reason}") from error
