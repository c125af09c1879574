"""Balanced networks of equal widths as a manifold for geoopt."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlngeom import balanced, geodesics, points
from dlngeom._lib.arrays import Array, Seed, as_generator
from dlngeom._lib.derivatives import require_separate
from dlngeom._lib.stiefel import random_frame, random_spectrum
from dlngeom.dln import DeepLinearNetwork
from dlngeom.geoopt._library import ManifoldTensor, OptimizedManifold, along, size2shape, torch
from dlngeom.points import Frames, frames, nearest_balanced
from dlngeom.points._frames import frames_above

__all__ = ["Balanced"]

Tensor = torch.Tensor


class Balanced(OptimizedManifold):
    r"""Balanced networks of ``N`` square layers of full rank with the Frobenius metric.

    .. math:: W_p W_p^T = W_{p+1}^T W_{p+1}, \qquad \iota(V, V) = \sum_p \mathrm{tr}(V_p^T V_p)

    A point is a tensor ``(..., N, d, d)`` of stacked layers, that of the input first, and so is a
    tangent vector.  Leading axes are a batch of independent networks.

    See Also
    --------
    dlngeom.geoopt.EndToEnd : The end-to-end matrices below.
    dlngeom.pymanopt.Balanced : The same manifold for pymanopt, with layers of any widths.
    dlngeom.balanced : The functions that it calls.

    Notes
    -----
    Equation (4.4) and Theorem 14 of Menon, *The geometry of the deep linear network*.  White noise
    through :meth:`egrad2rgrad` is right here, where that is a projection, but the samplers of
    geoopt know no noise along the fibres alone: see :mod:`dlngeom.langevin`.

    Examples
    --------
    >>> import dlngeom
    >>> manifold = dlngeom.geoopt.Balanced()
    >>> layers = manifold.random(3, 2, 2, rng=0)
    >>> manifold.check_point_on_manifold(layers)
    True
    """

    name = "Balanced"
    ndim = 3

    def inner(
        self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False
    ) -> Tensor:
        """Frobenius inner product, ``(...)`` or ``(..., 1, 1, 1)``."""
        product = torch.sum(u * (u if v is None else v), dim=(-3, -2, -1), keepdim=keepdim)
        batch = torch.broadcast_shapes(x.shape[:-3], product.shape[: u.ndim - 3])
        return product.expand((*batch, *(1, 1, 1)) if keepdim else batch)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Orthogonal projection on the tangent space."""
        x, u = torch.broadcast_tensors(x, u)
        vector = balanced.tangent_projection(_frames(x), u.unbind(-3), check_finite=False)
        return _stacked(vector)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Tangent part of the Euclidean gradient ``u``."""
        return self.proju(x, u)

    def projx(self, x: Tensor) -> Tensor:
        """Nearest balanced network with the same end-to-end matrix."""
        return _stacked(points.factors(nearest_balanced(x.detach().unbind(-3))))

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Retraction of second order, :func:`dlngeom.balanced.retraction`."""
        x, u = torch.broadcast_tensors(x, u)
        with along(u):
            moved = balanced.retraction(_frames(x), u.unbind(-3), check_finite=False)
        return _stacked(points.factors(moved))

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Orthogonal projection on the tangent space at ``y``."""
        return self.proju(y, v)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Exponential map, by integration and without derivatives of torch."""
        depth, d = x.shape[-3:-1]
        space = DeepLinearNetwork((d,) * (depth + 1))
        start, velocity = x.detach(), u.detach().unbind(-3)
        end = geodesics.exp(space, _frames(start), velocity, upstairs=True)
        return _stacked(points.factors(end))

    def random(
        self, *size: Any, dtype: Any = None, device: Any = None, rng: Seed = None, **kwargs: Any
    ) -> Tensor:
        """Uniform frames, singular values of the layers uniform in (0, 1), of shape ``size``.

        Parameters
        ----------
        *size : int
            Shape ``(..., N, d, d)``.
        dtype, device
            Those of torch; its defaults unless given.
        rng : numpy.random.Generator or seed, optional
            Source of the numbers.
        """
        if kwargs:
            raise TypeError(f"random has no option {next(iter(kwargs))!r}: give dtype, device, rng")
        shape, generator = size2shape(*size), as_generator(rng)
        self._assert_check_shape(shape, "x")
        *batch, depth, d, _ = shape
        q = tuple(random_frame(generator, d, d, tuple(batch)) for _ in range(depth + 1))
        layers = points.factors(Frames(random_spectrum(generator, d, tuple(batch)), q))
        dtype = dtype or torch.get_default_dtype()
        made = torch.tensor(np.stack(layers, axis=-3), dtype=dtype, device=device)
        return ManifoldTensor(made, manifold=self)

    def _check_shape(self, shape: Any, name: str) -> tuple[bool, str | None]:
        if len(shape) >= 3 and shape[-1] == shape[-2] and 0 not in shape[-3:]:
            return True, None
        return False, (
            f"{name} has shape {tuple(shape)}: a point of {self} is (..., N, d, d), N square "
            "layers; pymanopt's Balanced takes layers of any widths"
        )

    def _check_point_on_manifold(
        self, x: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5
    ) -> tuple[bool, str | None]:
        try:
            frames(x.detach().unbind(-3))
        except ValueError as error:
            return False, f"{error}; here projx does"
        return True, None

    def _check_vector_on_tangent(
        self, x: Tensor, u: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5
    ) -> tuple[bool, str | None]:
        tangent = self.proju(x, u)
        if torch.allclose(tangent, u, atol=atol, rtol=rtol):
            return True, None
        away = float(torch.max(torch.abs(u - tangent)))
        return False, f"u is {away:.2g} away from the tangent space: take proju of it"


def _frames(x: Tensor) -> Frames:
    """Frames of a point, without checks."""
    layers = x.unbind(-3)
    u, s, vt = torch.linalg.svd(layers[0], full_matrices=False)
    if u.requires_grad:
        # Asked in the backward pass: the line search of geoopt records graphs that nobody uses.
        _refuse_ties(layers[0], u, s, vt)
    else:
        require_separate(layers[0], u, s, vt)
    return frames_above(layers, u, vt)


def _refuse_ties(W: Tensor, u: Tensor, s: Tensor, vt: Tensor) -> None:
    """Let the derivative of singular vectors raise where singular values are equal."""
    # Copies without a graph, since a hook that holds its own tensor is never freed.
    alone = (W.detach().requires_grad_(), u.detach(), s.detach(), vt.detach())

    def require_derivative(_: Tensor) -> None:
        with torch.enable_grad():
            require_separate(*alone)

    for vectors in (u, vt):
        vectors.register_hook(require_derivative)


def _stacked(layers: tuple[Array, ...]) -> Tensor:
    stacked: Any = torch.stack(list(layers), dim=-3)  # type: ignore[arg-type]
    return stacked
