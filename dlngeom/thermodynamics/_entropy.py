r"""Entropy of the gauge orbits of a deep linear network.

References are to Menon, *The geometry of the deep linear network*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, namespace
from dlngeom._lib.derivatives import held, may_be_differentiated
from dlngeom._lib.door import takes_arrays
from dlngeom._lib.stiefel import log_stiefel_volume
from dlngeom.endtoend._kernels import pair
from dlngeom.points import SVD
from dlngeom.points._checks import require_positive
from dlngeom.thermodynamics._layers import LayerWidths, layer_widths, point_of
from dlngeom.thermodynamics._pair_entropy import pair_entropy

__all__ = ["entropy", "entropy_of_singular_values", "symmetric_entropy"]


@takes_arrays("W")
def entropy(
    W: Array | SVD,
    widths: Sequence[int],
    *,
    depth: float | None = None,
    check_finite: bool = True,
) -> Array:
    r"""Boltzmann entropy of an end-to-end matrix: log volume of the networks that lie over it.

    .. math:: S(W) = \log \mathrm{vol}\, \phi^{-1}(W)

    Parameters
    ----------
    W : array (..., m, n) or SVD
        Point; a dense one has rank ``min(m, n)``.
    widths : sequence of N+1 int
        ``(d_0, ..., d_N)``.
    depth : inf, optional
        For ``inf``, ``widths`` are those of the two ends, ``(d, d)``, and the entropy is the
        limit up to a constant.
    check_finite : bool
        Whether to check the values of the input.

    Returns
    -------
    array (...)
        Volumes are those of orbits of balanced networks in the Frobenius metric.

    Raises
    ------
    ValueError
        If ``W`` has a singular value of zero, or shapes, rank or depth do not fit.

    See Also
    --------
    dlngeom.thermodynamics.entropy_of_singular_values : The same from singular values, in full.
    dlngeom.thermodynamics.entropy_gradient : The gradient downstairs.
    dlngeom.DeepLinearNetwork : The submersion whose orbits have this volume.

    Notes
    -----
    Equation (6.2), at every rank and for all widths; smooth at repeated singular values.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import thermodynamics
    >>> float(thermodynamics.entropy(np.diag([2.0, 2.0]), (2, 2, 2)).round(6))
    3.570745
    """
    layers = layer_widths(widths, depth)
    s = point_of(held(W), layers, check_finite).s
    if not isinstance(W, SVD) and may_be_differentiated(W):
        # Singular values have derivatives at ties too, by themselves.
        s = namespace(W).linalg.svd(W, full_matrices=False)[1]
    elif isinstance(W, SVD):
        s = W.s
    return symmetric_entropy(s, layers)


@takes_arrays("s")
def entropy_of_singular_values(
    s: Array,
    widths: Sequence[int],
    rank: int | None = None,
    *,
    depth: float | None = None,
    check_finite: bool = True,
) -> Array:
    r"""Boltzmann entropy of end-to-end matrices with given singular values.

    .. math:: S = \tfrac12 \sum_{k<l} \log
              \frac{\sigma_k^2 - \sigma_l^2}{\lambda_k^2 - \lambda_l^2}
              + \sum_{p=1}^{N-1} \Big[ (d_p - r) \sum_k \log \lambda_k
              + \log \mathrm{vol}\, St(r, d_p) \Big]

    Parameters
    ----------
    s : array (..., r)
        Singular values of ``W``, > 0 and descending.
    widths : sequence of N+1 int
        ``(d_0, ..., d_N)``.
    rank : int, optional
        ``r``; equal to the length of ``s``, its default.
    depth, check_finite
        As for :func:`entropy`.

    Returns
    -------
    array (...)

    Raises
    ------
    ValueError
        If ``s`` is not positive and descending, or shapes, rank or depth do not fit.

    See Also
    --------
    dlngeom.thermodynamics.entropy : The same from a matrix.
    dlngeom.submersion.mean_curvature : Minus the gradient upstairs.

    Notes
    -----
    Theorem 10, at every rank and for all widths; smooth at repeated singular values.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import thermodynamics
    >>> s = np.array([2.0, 2.0])
    >>> float(thermodynamics.entropy_of_singular_values(s, (2, 2, 2)).round(6))
    3.570745
    """
    layers = layer_widths(widths, depth)
    checks.floating("s", s)
    if s.ndim == 0:
        raise ValueError("s has shape (): it must be (..., r)")
    checks.shape("s", s, (layers.rank(rank if rank is not None else s.shape[-1]),))
    if check_finite:
        checks.finite("s", s)
        checks.descending("s", s)
        require_positive("s", s)
    return symmetric_entropy(s, layers)


def symmetric_entropy(s: Array, layers: LayerWidths) -> Array:
    """Entropy from singular values in any order; nothing is checked."""
    xp, r = namespace(s), s.shape[-1]
    total = xp.sum(xp.triu(_of_pairs(s, layers.depth), k=1), axis=(-2, -1))
    # The directions beyond the rank add powers of the singular values of the layers.
    single = layers.free(r) / layers.depth
    # Deep networks have few widths, each of them many times.
    widths = Counter(layers.inner)
    constant_part = sum(count * log_stiefel_volume(r, d) for d, count in widths.items())
    return total + single * xp.sum(xp.log(s), axis=-1) + constant_part


def _of_pairs(s: Array, depth: float) -> Array:
    """Entropies of all pairs, ``log(w_N(sigma_k, sigma_l)) / 2``."""
    xp = namespace(s)
    if depth == 2:
        return xp.log(s[..., :, None] + s[..., None, :]) / 2
    row, column = pair(xp.log(s))
    # The larger of two values stands before what depends on their ratio, and nothing cancels.
    return (1 - 1 / depth) * xp.maximum(row, column) + pair_entropy(row - column, depth) / 2
