"""A submersion from a differentiable map alone, by automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np

from dlngeom._lib.arrays import to_numpy
from dlngeom._lib.door import takes_arrays
from dlngeom._lib.vectors import Point, parts, rebuild
from dlngeom.submersion._from_map_space import MapSubmersion
from dlngeom.submersion._given import check_like
from dlngeom.submersion._spaces import RiemannianSubmersion

__all__ = ["from_map"]


@takes_arrays("point")
def from_map(
    phi: Callable[[Any], Any],
    point: Point,
    *,
    constraint: Callable[[Any], Any] | None = None,
) -> RiemannianSubmersion:
    r"""Make a submersion from a differentiable map alone.

    .. math:: K = J J^T, \quad J = \mathrm{d}\phi\, P, \qquad
              P_h = J^T K^+ J, \qquad \text{lift}(z) = J^T K^+ z

    The space upstairs is all of ``R^M``, or the zero set of a constraint, with the Frobenius
    metric; the cometric downstairs is ``K``.

    Parameters
    ----------
    phi : callable
        Function, written with jax, of one point without batch axes: an array or a tuple of
        arrays, real or complex.  It returns an array or a tuple of arrays, and its derivative
        on tangent vectors has constant rank, which may be less than the number of entries.
    point : array or tuple of arrays
        An example upstairs, which fixes the shapes and the rank.
    constraint : callable, optional
        Function of one point, written with jax, that vanishes upstairs.  Its equations are
        independent: of a symmetric matrix it returns the upper triangle.

    Returns
    -------
    RiemannianSubmersion
        Points are numpy or jax arrays with any batch axes; numpy's are computed in double
        precision whatever the settings of jax are.  A point of the base is the pair
        ``space.base_point(x)`` of ``phi(x)`` and ``x``, since a value alone has no lift;
        energies see the value.  ``retraction`` returns NaN where the step is too long.

    Raises
    ------
    ValueError
        If the example does not satisfy the constraint, equations depend on each other, or a
        function cannot be differentiated, is not smooth or has another rank at random points;
        later, at points where the rank is another one.
    TypeError
        If an argument is of the wrong type.
    ImportError
        If jax is missing.

    See Also
    --------
    dlngeom.submersion.entropy_gradient : Drift downstairs of the noise along the fibres.
    dlngeom.check_submersion : Numerical check; ``orbits=True`` tells whether there is an entropy.
    dlngeom.pymanopt.from_manifold : Manifolds of pymanopt as submersions.

    Notes
    -----
    Where the fibres are not orbits of isometries, ``K`` and the mean curvature of the fibre
    depend on the point upstairs.  Then there is no entropy downstairs, and ``phi`` of the noise
    is no process of its own.  For the outputs of a network on ``k`` inputs ``K`` is the neural
    tangent kernel.  No ``M x M`` matrix is formed.

    Section 12.1 of Menon, *The geometry of the deep linear network*.

    Examples
    --------
    The complex projective line: the Hopf map of the sphere in ``R^4`` to that in ``R^3``.

    >>> import jax.numpy as jnp
    >>> from dlngeom import from_map
    >>> def hopf(x):
    ...     a, b = x[0] + 1j * x[1], x[2] + 1j * x[3]
    ...     z = 2 * a * b.conj()
    ...     return jnp.stack([z.real, z.imag, abs(a) ** 2 - abs(b) ** 2])
    >>> space = from_map(hopf, [0.6, 0.0, 0.0, 0.8], constraint=lambda x: x @ x - 1)
    >>> space.dim, space.dim_base, space.dim_orbit
    (3, 2, 1)
    """
    for name, function in (("phi", phi), ("constraint", constraint)):
        if not callable(function) and not (name == "constraint" and function is None):
            raise TypeError(f"{name}={function!r}: it must be a function of one point")
    return MapSubmersion(phi, _example(point), constraint)


def _example(point: Point) -> Point:
    """Copy of a point as numpy arrays in single or double precision."""
    for x in parts(point):
        if isinstance(x, np.ndarray) or array_api_compat.is_jax_array(x):
            continue
        kind = f"{type(x).__module__}.{type(x).__qualname__}"
        raise TypeError(f"point has a part of type {kind}: it must be an array of numpy or jax")
    example = rebuild(point, [np.array(to_numpy(x)) for x in parts(point)])
    if isinstance(point, tuple) and any(x.ndim == 0 for x in parts(example)):
        raise ValueError("point has a number among its arrays: it must have an axis, as x[None]")
    if sum(np.size(x) for x in parts(example)) == 0:
        raise ValueError("point has no entries: it must have some")
    check_like("point", example, example)
    return example
