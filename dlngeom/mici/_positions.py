"""From networks to positions of mici, which are one vector, and back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dlngeom._lib.arrays import Array, NumpyArray
from dlngeom._lib.door import real_numbers
from dlngeom.dln import DeepLinearNetwork
from dlngeom.points import Frames, factors
from dlngeom.points._tuples import Layers

__all__ = ["layers", "position", "shapes", "split"]


def position(space: DeepLinearNetwork, point: Frames | Sequence[Array]) -> NumpyArray:
    r"""Position of mici for a balanced network: the entries of all layers in one vector.

    .. math:: q = (\mathrm{vec}\,W_1, \dots, \mathrm{vec}\,W_N)

    Parameters
    ----------
    space : DeepLinearNetwork
        Space of the network.
    point : Frames or balanced layers
        Network, a batch of them with leading axes.

    Returns
    -------
    array (..., size)
        Rows of the first layer first, in double precision.

    Raises
    ------
    ValueError
        If the point is not one of the space.

    See Also
    --------
    dlngeom.mici.layers : The inverse.

    Examples
    --------
    >>> from dlngeom import DeepLinearNetwork, mici
    >>> space = DeepLinearNetwork((2, 2, 2))
    >>> mici.position(space, space.random_point(0)).shape
    (8,)
    """
    found = [real_numbers("the point", x) for x in factors(space.check_point(point))]
    batch = found[0].shape[:-2]
    return np.concatenate([x.reshape(*batch, -1) for x in found], axis=-1)


def layers(space: DeepLinearNetwork, position: Any) -> Layers:
    """Layers of a network from a position of mici, or from the positions of whole chains.

    Parameters
    ----------
    space : DeepLinearNetwork
        Space of the network.
    position : array (..., size)
        For instance ``np.stack(traces["pos"])``, which is ``(chain, draw, size)``.

    Returns
    -------
    tuple of N arrays (..., d_p, d_{p-1})
        Views; :func:`dlngeom.network.end_to_end` multiplies them and :func:`dlngeom.frames` makes
        them a point of the space.

    Raises
    ------
    ValueError
        If the number of entries is another.

    See Also
    --------
    dlngeom.mici.position : The inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom import DeepLinearNetwork, mici
    >>> [W.shape for W in mici.layers(DeepLinearNetwork((2, 1, 3)), np.ones((4, 5)))]
    [(4, 1, 2), (4, 3, 1)]
    """
    flat = real_numbers("position", position)
    size = sum(m * n for m, n in shapes(space))
    if flat.ndim == 0 or flat.shape[-1] != size:
        raise ValueError(
            f"position has shape {flat.shape}: it must be (..., {size}), one entry for each of the "
            f"layers of widths {space.widths}"
        )
    return split(flat, shapes(space))


def shapes(space: DeepLinearNetwork) -> list[tuple[int, int]]:
    """Shapes of the layers."""
    return [(above, below) for below, above in pairwise(space.widths)]


def split(flat: NumpyArray, sizes: Sequence[tuple[int, int]]) -> Layers:
    """Return views of the layers in vectors; nothing is checked."""
    parts, start = [], 0
    for m, n in sizes:
        parts.append(flat[..., start : start + m * n].reshape(*flat.shape[:-1], m, n))
        start += m * n
    return tuple(parts)
