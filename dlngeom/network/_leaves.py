r"""Networks of given invariants, the leaves ``M_G`` of the space of all networks.

Normal vectors of a leaf are ``(S_p W_p - W_p S_{p-1})_p`` for symmetric matrices ``S_p`` with
``S_0 = S_N = 0``: half the gradients of ``tr(S_p G_p)``, summed.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from array_api_compat import device

from dlngeom._lib.arrays import Array, constant, eps, namespace
from dlngeom._lib.vectors import coordinates, from_coordinates
from dlngeom.points._tuples import Layers

__all__ = ["balance_normals", "gaps", "normal_frame", "normal_vector", "onto_leaf", "symmetric"]

# Steps of Newton's method, and roundings of the squared layers at which it has arrived.
_ITERATIONS, _ROUNDINGS = 25, 64


def balance_normals(layers: Layers) -> Layers:
    """Half the gradients of the invariants, ``(chain, constraints, d_p, d_{p-1})`` for a layer."""
    xp = namespace(*layers)
    blocks: list[list[Array]] = [[x[:, None, :, :][:, :0]] for x in layers]
    for p, (lower, upper) in enumerate(pairwise(layers)):
        basis = constant(_symmetric_basis(lower.shape[-2]), lower)
        for j, x in enumerate(layers):
            if j == p:
                blocks[j].append(basis @ lower[:, None, :, :])
            elif j == p + 1:
                blocks[j].append(-(upper[:, None, :, :] @ basis))
            else:
                shape = (x.shape[0], basis.shape[0], *x.shape[1:])
                blocks[j].append(xp.zeros(shape, dtype=x.dtype, device=device(x)))
    return tuple(xp.concat(column, axis=1) for column in blocks)


def symmetric(weights: Array, widths: tuple[int, ...]) -> tuple[Array, ...]:
    """Symmetric matrices of weights ``(constraints,)``, one for each width."""
    found, first = [], 0
    for width in widths:
        size = width * (width + 1) // 2
        found.append(np.tensordot(weights[first : first + size], _symmetric_basis(width), 1))
        first += size
    return tuple(found)


def normal_vector(layers: Layers, matrices: tuple[Array, ...]) -> Layers:
    """``S_p W_p - W_p S_{p-1}``, linear in the layers and in the matrices."""
    changes = [0 * W for W in layers]
    for p, S in enumerate(matrices):
        changes[p] = changes[p] + S @ layers[p]
        changes[p + 1] = changes[p + 1] - layers[p + 1] @ S
    return tuple(changes)


def gaps(layers: Layers, invariants: tuple[Array, ...]) -> Array:
    """Differences of the invariants from those wanted, paired with each symmetric matrix."""
    found = [np.zeros(0)]
    for (W, V), G in zip(pairwise(layers), invariants, strict=True):
        found.append(np.tensordot(_symmetric_basis(G.shape[0]), W @ W.T - V.T @ V - G, 2))
    return np.concatenate(found)


def normal_frame(layers: Layers) -> tuple[Array, Array, Array]:
    """Return the normals as rows ``(constraints, size)``, and ``q r`` of them as columns."""
    rows = coordinates(balance_normals(tuple(x[None] for x in layers)), 2)[0]
    q, r = np.linalg.qr(rows.T)
    return rows, q, r


def onto_leaf(layers: Layers, rows: Array, invariants: tuple[Array, ...]) -> tuple[Layers, bool]:
    """Move along normals, given as rows, until the invariants are those wanted."""
    limit = _ROUNDINGS * eps(layers[0]) * (1.0 + sum(float(np.sum(x**2)) for x in layers))
    limit += eps(layers[0]) * sum(float(np.linalg.norm(G)) for G in invariants)
    error, rest = np.inf, gaps(layers, invariants)
    for _ in range(_ITERATIONS):
        smaller = float(np.linalg.norm(rest))
        # Rounding ends the search, and so does a step from which Newton's method moves away.
        if smaller <= limit or not smaller < error:
            break
        error = smaller
        ahead = coordinates(balance_normals(tuple(x[None] for x in layers)), 2)[0]
        try:
            weights = np.linalg.solve(2 * ahead @ rows.T, -rest)
        except np.linalg.LinAlgError:
            break
        change = from_coordinates(weights @ rows, layers)
        layers = tuple(x + y for x, y in zip(layers, change, strict=True))
        rest = gaps(layers, invariants)
    return layers, bool(np.linalg.norm(rest) <= limit)


@cache
def _symmetric_basis(size: int) -> np.ndarray:
    """Basis ``(size (size + 1) / 2, size, size)`` of symmetric matrices."""
    rows, columns = np.triu_indices(size)
    basis = np.zeros((len(rows), size, size))
    index = np.arange(len(rows))
    basis[index, rows, columns] = basis[index, columns, rows] = 1
    return basis
