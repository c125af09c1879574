"""Orbits of orthogonal and unitary groups that act from the right, and great circles."""

from __future__ import annotations

from dlngeom._lib.arrays import Array, namespace

__all__ = ["adjoint", "great_circle", "log_pair_means", "solve_lyapunov"]


def adjoint(x: Array) -> Array:
    """Conjugate transpose."""
    xp = namespace(x)
    return xp.conj(x).mT if xp.isdtype(x.dtype, "complex floating") else x.mT


def solve_lyapunov(gram: Array, right: Array, sign: int) -> Array:
    r"""Solve ``M A + A M = B`` for a positive definite ``M`` and ``B^* = sign B``.

    .. math:: A_{ij} = B_{ij} / (\mu_i + \mu_j) \quad \text{in eigenvectors of } M

    The rotation ``X A`` nearest to a vector ``V`` at ``X`` has ``M = X^* X`` and
    ``B = X^* V - V^* X``.
    """
    values, q = namespace(gram).linalg.eigh(gram)
    inside = adjoint(q) @ right @ q
    inside = (inside + sign * adjoint(inside)) / 2
    sums = values[..., :, None] + values[..., None, :]
    # An antisymmetric B has no diagonal, so one eigenvalue may be zero.
    sums = namespace(gram).where(inside == 0, namespace(gram).ones_like(sums), sums)
    return q @ (inside / sums) @ adjoint(q)


def log_pair_means(values: Array) -> Array:
    r"""Volume of ``X O_k`` over that of ``O_k``, from the eigenvalues of ``X^T X``.

    .. math:: \tfrac12 \sum_{i<j} \log \frac{\mu_i + \mu_j}{2}
    """
    xp = namespace(values)
    means = (values[..., :, None] + values[..., None, :]) / 2
    pairs = xp.triu(xp.ones_like(means), k=1) > 0
    # Eigenvalues that are zero up to rounding have no logarithm, and need none.
    return xp.sum(xp.log(xp.where(pairs, means, xp.ones_like(means))), axis=(-2, -1)) / 2


def great_circle(point: Array, vector: Array, axes: tuple[int, ...]) -> Array:
    r"""End of a geodesic of the unit sphere over ``axes``, of length one up to rounding.

    .. math:: x \cos |v| + v\, \frac{\sin |v|}{|v|}
    """
    xp = namespace(point, vector)
    square = _square(vector, axes)
    moves = square > 0
    length = xp.sqrt(xp.where(moves, square, xp.ones_like(square)))
    along = xp.where(moves, xp.sin(length) / length, xp.ones_like(length))
    end = point * xp.where(moves, xp.cos(length), xp.ones_like(length)) + vector * along
    return end / xp.sqrt(_square(end, axes))


def _square(x: Array, axes: tuple[int, ...]) -> Array:
    xp = namespace(x)
    if xp.isdtype(x.dtype, "complex floating"):
        return xp.sum(xp.real(x) ** 2 + xp.imag(x) ** 2, axis=axes, keepdims=True)
    return xp.sum(x * x, axis=axes, keepdims=True)
