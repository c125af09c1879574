"""End-to-end matrices with the depth-N metric as a manifold for geoopt."""

from __future__ import annotations

import math
from typing import Any

from dlngeom import endtoend, geodesics
from dlngeom._lib import checks
from dlngeom._lib.arrays import Seed, as_generator
from dlngeom._lib.stiefel import random_frame, random_spectrum
from dlngeom.dln import EndToEndGeometry, InfinitelyDeepNetwork
from dlngeom.geoopt._library import ManifoldTensor, OptimizedManifold, along, size2shape, torch

__all__ = ["EndToEnd"]

Tensor = torch.Tensor


class EndToEnd(OptimizedManifold):
    r"""End-to-end matrices of full rank with the metric ``g^N``.

    .. math:: g^N(W)(Z, Z) = \mathrm{tr}(Z^T \mathcal{A}_{N,W}^{-1} Z)

    A point is a dense tensor ``(..., m, n)`` of rank ``min(m, n)``; every matrix is a tangent
    vector.  Leading axes are a batch of independent points.

    Parameters
    ----------
    depth : int or inf
        Number of layers; infinite depth needs square matrices.

    Raises
    ------
    ValueError
        If ``depth`` is out of range.

    See Also
    --------
    dlngeom.geoopt.Balanced : The balanced networks above.
    dlngeom.pymanopt.EndToEnd : The same manifold for pymanopt, at every rank.
    dlngeom.endtoend : The functions that it calls.

    Notes
    -----
    Equations (4.14) and (4.17) of Menon, *The geometry of the deep linear network*.  The samplers
    of geoopt refuse this manifold: they would send white noise through :meth:`egrad2rgrad`, which
    gives it the covariance ``A^2`` where Brownian motion has ``A``.

    Examples
    --------
    >>> import torch
    >>> import dlngeom
    >>> dlngeom.geoopt.EndToEnd(depth=2).egrad2rgrad(torch.eye(2), torch.eye(2))
    tensor([[2., 0.],
            [0., 2.]])
    """

    name = "EndToEnd"
    ndim = 2

    def __init__(self, depth: float) -> None:
        super().__init__()
        self.depth = checks.depth(depth)

    def extra_repr(self) -> str:
        """Depth, for the printed name."""
        return f"depth={self.depth}"

    def inner(
        self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False
    ) -> Tensor:
        """Inner product of tangent vectors in ``g^N``, ``(...)`` or ``(..., 1, 1)``."""
        x, u, v = torch.broadcast_tensors(x, u, u if v is None else v)
        value: Any = endtoend.inner(x, u, v, self.depth, check_finite=False)
        return value[..., None, None] if keepdim else value

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Gradient in ``g^N`` of a cost with Euclidean gradient ``u``: the cometric ``A(u)``."""
        gradient: Any = endtoend.gradient(x, u, self.depth, check_finite=False)
        return gradient

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``u``: every matrix is tangent."""
        return u.expand(torch.broadcast_shapes(x.shape, u.shape))

    def projx(self, x: Tensor) -> Tensor:
        """Return ``x``, with singular values that rounding has made zero raised above it."""
        u, s, vt = torch.linalg.svd(x, full_matrices=False)
        least = 2 * _rounding(x) * s[..., :1]
        raised = (u * torch.maximum(s, least)[..., None, :]) @ vt
        return torch.where((s[..., -1:] < least)[..., None], raised, x)

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Retraction of second order, :func:`dlngeom.endtoend.retraction`."""
        with along(u):
            moved: Any = endtoend.retraction(x, u, self.depth, check_finite=False)
        return moved

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Transport that does not lengthen vectors, :func:`dlngeom.endtoend.transport`."""
        moved: Any = endtoend.transport(x, y, v, self.depth, check_finite=False)
        return moved

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Exponential map, by integration and without derivatives of torch."""
        end: Any = geodesics.exp(self._space(x), x.detach(), u.detach())
        return end

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Logarithm, by shooting and without derivatives of torch."""
        velocity: Any = geodesics.log(self._space(x), x.detach(), y.detach())
        return velocity

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Riemannian distance: the length of :meth:`logmap`."""
        return self.norm(x, self.logmap(x, y), keepdim=keepdim)

    def random(
        self, *size: Any, dtype: Any = None, device: Any = None, rng: Seed = None, **kwargs: Any
    ) -> Tensor:
        """Uniform singular vectors, singular values uniform in (0, 1), of shape ``size``.

        Parameters
        ----------
        *size : int
            Shape ``(..., m, n)``.
        dtype, device
            Those of torch; its defaults unless given.
        rng : numpy.random.Generator or seed, optional
            Source of the numbers.
        """
        if kwargs:
            raise TypeError(f"random has no option {next(iter(kwargs))!r}: give dtype, device, rng")
        shape, generator = size2shape(*size), as_generator(rng)
        self._assert_check_shape(shape, "x")
        *batch, m, n = shape
        r = min(m, n)
        u, v = (random_frame(generator, width, r, tuple(batch)) for width in (m, n))
        W = (u * random_spectrum(generator, r, tuple(batch))[..., None, :]) @ v.mT
        made = torch.tensor(W, dtype=dtype or torch.get_default_dtype(), device=device)
        return ManifoldTensor(made, manifold=self)

    def _space(self, x: Tensor) -> EndToEndGeometry | InfinitelyDeepNetwork:
        m, n = x.shape[-2:]
        if math.isinf(self.depth):
            return InfinitelyDeepNetwork(n)
        return EndToEndGeometry(m, n, min(m, n), int(self.depth))

    def _check_shape(self, shape: Any, name: str) -> tuple[bool, str | None]:
        if len(shape) < 2 or 0 in shape[-2:]:
            return False, f"{name} has shape {tuple(shape)}: a point of {self} is (..., m, n)"
        if math.isinf(self.depth) and shape[-1] != shape[-2]:
            return False, f"{name} has shape {tuple(shape)}: infinite depth needs square matrices"
        return True, None

    def _check_point_on_manifold(
        self, x: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5
    ) -> tuple[bool, str | None]:
        if not bool(torch.all(torch.isfinite(x))):
            return False, "x has entries that are not finite"
        s = torch.linalg.svdvals(x.detach())
        if bool(torch.all(s[..., -1] > _rounding(x) * s[..., 0])):
            return True, None
        return False, (
            f"x has a smallest singular value {float(torch.min(s)):.3g}: points have full rank, "
            "take projx of it, or pymanopt's EndToEnd for matrices of lower rank"
        )

    def _check_vector_on_tangent(
        self, x: Tensor, u: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5
    ) -> tuple[bool, str | None]:
        return _finite(u)


def _finite(u: Tensor) -> tuple[bool, str | None]:
    finite = bool(torch.all(torch.isfinite(u)))
    return finite, None if finite else "u has entries that are not finite"


def _rounding(x: Tensor) -> float:
    """Relative size below which a singular value is one of rounding."""
    return max(x.shape[-2:]) * torch.finfo(x.dtype).eps
