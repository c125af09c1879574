"""Layers of a model as a point of the geometry, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from dlngeom import points
from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, Seed, as_generator
from dlngeom._lib.door import takes_arrays
from dlngeom._lib.stiefel import random_frame
from dlngeom.points import Frames, nearest_balanced
from dlngeom.points._checks import check_factors
from dlngeom.torch._models import Model, linear_layers, nn, reusable, torch

__all__ = ["balance_", "balanced_init_", "factors", "load_", "weights"]

_Model = TypeVar("_Model", bound=Model)


def factors(model: Model) -> tuple[torch.Tensor, ...]:
    r"""Layers of a model, that of the input first.

    .. math:: (W_1, \dots, W_N), \qquad f(x) = W_N \cdots W_1 x

    Parameters
    ----------
    model : nn.Sequential, nn.Linear or iterable of nn.Linear
        Layers without biases, in the order in which they are applied.

    Returns
    -------
    tuple of N tensors (d_p, d_{p-1})
        Copies without a graph, which training does not change.

    Raises
    ------
    TypeError
        If the model is no sequence, or a layer is not linear.
    ValueError
        If a layer has a bias or does not own its weight, if the product of the layers is not
        defined, or an entry is not finite.

    See Also
    --------
    dlngeom.torch.load_ : The inverse.
    dlngeom.points.frames : The point that balanced layers are.
    dlngeom.network.end_to_end : Product of the layers.

    Notes
    -----
    The order of (3.3) of Menon, *The geometry of the deep linear network*, read from the right.

    Examples
    --------
    >>> from torch import nn
    >>> import dlngeom
    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 4, bias=False))
    >>> [tuple(W.shape) for W in dlngeom.torch.factors(model)]
    [(3, 2), (4, 3)]
    """
    return weights(linear_layers(model))


def weights(layers: Sequence[nn.Linear], *, check_finite: bool = True) -> tuple[torch.Tensor, ...]:
    """Copy the weights of linear layers, whose product is checked to be defined."""
    copies = tuple(layer.weight.detach().clone() for layer in layers)
    check_factors(copies, check_finite=check_finite)
    return copies


@takes_arrays("layers")
def load_(model: _Model, layers: Sequence[Array] | Frames) -> _Model:
    r"""Set the weights of a model to given layers.

    .. math:: W_p \leftarrow W'_p, \qquad p = 1, \dots, N

    Parameters
    ----------
    model : nn.Sequential, nn.Linear or iterable of nn.Linear
        Layers without biases, in the order in which they are applied.
    layers : sequence of N arrays (d_p, d_{p-1}), or Frames
        New layers of any array library, input layer first; rounded to the dtype of the model.

    Returns
    -------
    The model itself.  If this raises, it is unchanged.

    Raises
    ------
    TypeError
        If the model is no sequence, or a layer of it is not linear.
    ValueError
        If a layer of the model has a bias or does not own its weight, if shapes differ, or an
        entry is not finite.

    See Also
    --------
    dlngeom.torch.factors : The inverse.
    dlngeom.torch.balance_ : Loads the nearest balanced layers.

    Notes
    -----
    Frames are loaded as the layers (5.16), (5.20) of Menon, *The geometry of the deep linear
    network*.
    """
    model = reusable(model)
    owners = linear_layers(model)
    layers = check_factors(points.factors(layers) if isinstance(layers, Frames) else layers)
    given = [tuple(x.shape) for x in layers]
    wanted = [tuple(owner.weight.shape) for owner in owners]
    if given != wanted:
        raise ValueError(
            f"layers have shapes {given}, those of the model {wanted}: the layer of the input "
            "comes first"
        )
    # All are copied before any is written, since they may be views of the model itself.
    values = [_tensor(x).to(owner.weight) for x, owner in zip(layers, owners, strict=True)]
    with torch.no_grad():
        for owner, value in zip(owners, values, strict=True):
            owner.weight.copy_(value)
    return model


def _tensor(x: Any) -> torch.Tensor:
    """Copy of an array of any library as a tensor without a graph."""
    return x.detach().clone() if isinstance(x, torch.Tensor) else torch.from_numpy(np.array(x))


def balanced_init_(model: _Model, *, scale: float, rank: int | None = None, rng: Seed) -> _Model:
    r"""Draw balanced layers, all of whose singular values are equal.

    .. math:: W_p = c\, Q_p Q_{p-1}^T, \qquad Q_p \in St(r, d_p)

    The frames are independent and uniform, so the end-to-end matrix is ``scale^N`` times a uniform
    partial isometry.  At full rank and equal widths this is the orthogonal initialisation.

    Parameters
    ----------
    model : nn.Sequential, nn.Linear or iterable of nn.Linear
        Layers without biases, in the order in which they are applied.
    scale : float
        The singular value ``c > 0`` of every layer.
    rank : int, optional
        Number of singular values that are not zero; the smallest width by default.
    rng : numpy.random.Generator or seed
        Source of the frames.

    Returns
    -------
    The model itself.

    Raises
    ------
    TypeError
        If the model is no sequence, or a layer is not linear.
    ValueError
        If a layer has a bias or does not own its weight, or a parameter is out of range.

    See Also
    --------
    dlngeom.torch.balance_ : Balances layers that were drawn otherwise.
    dlngeom.points.frames : Frames of the layers.

    Notes
    -----
    The chart (5.16), (5.20) of Menon, *The geometry of the deep linear network*, at
    ``Lambda = c I``.  A. Saxe, J. McClelland and S. Ganguli, *Exact solutions to the nonlinear
    dynamics of learning in deep linear neural networks* (ICLR 2014).
    """
    model = reusable(model)
    # What the memory of an empty layer held may be anything.
    now = weights(linear_layers(model), check_finite=False)
    widths = (now[0].shape[-1], *(W.shape[-2] for W in now))
    size, kept = checks.positive("scale", scale), checks.rank(rank, *widths)
    generator = as_generator(rng)
    q = tuple(random_frame(generator, width, kept) for width in widths)
    return load_(model, Frames(np.full(kept, size), q))


def balance_(model: _Model, rank: int | None = None) -> _Model:
    r"""Replace layers by the nearest balanced ones with the same end-to-end matrix.

    .. math:: W_p W_p^T = W_{p+1}^T W_{p+1}, \qquad W_N \cdots W_1 \ \text{unchanged}

    Parameters
    ----------
    model : nn.Sequential, nn.Linear or iterable of nn.Linear
        Layers without biases, in the order in which they are applied.
    rank : int, optional
        Rank of the end-to-end matrix; the smallest width by default.

    Returns
    -------
    The model itself, which maps every input where it did, up to rounding.

    Raises
    ------
    TypeError
        If the model is no sequence, or a layer is not linear.
    ValueError
        If a layer has a bias or does not own its weight, or the product is not of rank ``rank``.

    See Also
    --------
    dlngeom.points.nearest_balanced : The balanced network that is loaded.
    dlngeom.torch.balanced_init_ : Balanced layers to start from.

    Notes
    -----
    Equation (4.4) of Menon, *The geometry of the deep linear network*.
    """
    model = reusable(model)
    return load_(model, nearest_balanced(factors(model), rank))
