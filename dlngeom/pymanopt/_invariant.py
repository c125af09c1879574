"""Networks of given invariants as a Riemannian submanifold for pymanopt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dlngeom import network
from dlngeom._lib.arrays import Array, Seed, as_separate_generator, eps
from dlngeom._lib.vectors import coordinates, from_coordinates
from dlngeom.network import _leaves
from dlngeom.points._checks import check_factors
from dlngeom.pymanopt._end_to_end import unusable
from dlngeom.pymanopt._layers_manifold import LayersManifold

__all__ = ["Invariant"]

# Normals this much shorter than the longest, once made orthogonal, mean a point where leaves meet.
_DEPENDENT = 1e-9
# How often a step from which no way leads back to the leaf is halved.
_HALVINGS = 40
# How far from the leaf a point of the caller's may be, in roots of the machine precision.
_NEARBY = 1.0


class _OnLeaf(tuple[Array, ...]):
    """Layers that carry their normals."""

    _frame: tuple[Array, Array, Array]
    _made: tuple[Array, ...]
    _leaf: Any

    def frame(self, leaf: Invariant) -> tuple[Array, Array, Array] | None:
        """Return the normals; None on another leaf or where the layers have changed since."""
        same = self._leaf is leaf and all(
            np.array_equal(x, y) for x, y in zip(self, self._made, strict=True)
        )
        return self._frame if same else None


class Invariant(LayersManifold):
    r"""Networks that share the invariants of given layers, with the Frobenius metric.

    .. math:: M_G = \{W_p W_p^T - W_{p+1}^T W_{p+1} = G_p,\ p = 1, \dots, N-1\}

    The gradient flow of any cost of the product stays on such a leaf.  A point is a tuple of ``N``
    arrays ``(d_p, d_{p-1})``, input layer first, and so is a tangent vector; both are bare arrays
    when ``N = 1``, where the leaf is the space of all matrices.

    Parameters
    ----------
    layers : sequence of N arrays (d_p, d_{p-1})
        Layers whose invariants the leaf has; :attr:`start` returns them as a point.
    rng : numpy.random.Generator or seed, optional
        Source of :meth:`random_point` and :meth:`random_tangent_vector`;
        a seed gives other numbers than ``numpy.random.default_rng`` makes of it.

    Raises
    ------
    ValueError
        If the layers do not form a network, or lie where the leaf is no manifold: the gradients of
        the invariants depend on one another there, as on balanced networks of lower rank than
        an inner width.

    See Also
    --------
    dlngeom.pymanopt.Balanced : The leaf of balanced networks, at every rank.
    dlngeom.network.invariants : The invariants.
    dlngeom.langevin.network_langevin : Noise on the leaves.
    dlngeom.flow.network_flow : The gradient flow of layers.

    Notes
    -----
    Theorem 1 of Menon, *The geometry of the deep linear network*.  The retraction goes back to the
    leaf along the normal space of the start, which makes it one of second order; a step from which
    no such way is found is halved until there is one.  The normals are factorised once a point, in
    ``O(k^2 M)`` for ``k`` invariants and ``M`` weights: meant for some thousands of weights.

    Examples
    --------
    A lambda-balanced network, whose large ``lambda`` makes training lazy:

    >>> import autograd.numpy as anp
    >>> import numpy as np
    >>> import pymanopt
    >>> from dlngeom.pymanopt import Invariant
    >>> lam, eye = 4.0, np.eye(2)
    >>> manifold = Invariant([eye, np.sqrt(1 + lam) * eye])
    >>> @pymanopt.function.autograd(manifold)
    ... def cost(A, B):
    ...     return anp.sum((B @ A - np.diag([3.0, 1.0])) ** 2)
    >>> optimizer = pymanopt.optimizers.TrustRegions(verbosity=0)
    >>> A, B = optimizer.run(pymanopt.Problem(manifold, cost), initial_point=manifold.start).point
    >>> np.round(B @ A, 6) + 0.0, np.round(B.T @ B - A @ A.T, 6) + 0.0
    (array([[3., 0.],
           [0., 1.]]), array([[4., 0.],
           [0., 4.]]))
    """

    def __init__(self, layers: Sequence[Array], *, rng: Seed = None) -> None:
        checked = tuple(np.asarray(x) for x in check_factors(layers))
        if any(x.ndim != 2 for x in checked):
            raise ValueError(
                f"layers have {checked[0].ndim - 2} batch axes: a leaf has one network"
            )
        self._rng = as_separate_generator(rng)
        self._widths = (checked[0].shape[1], *(x.shape[0] for x in checked))
        self._size = math.sqrt(sum(float(np.sum(x**2)) for x in checked))
        self._wanted = tuple(np.asarray(G) for G in network.invariants(checked))
        constraints = sum(d * (d + 1) // 2 for d in self._widths[1:-1])
        dimension = sum(x.size for x in checked) - constraints
        name = f"Networks of widths {self._widths} with given invariants"
        super().__init__(name, dimension, point_layout=len(checked))
        self._require_spanned()
        self._start = self._point(checked)

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self._widths) - 1

    @property
    def widths(self) -> tuple[int, ...]:
        """Layer widths ``(d_0, ..., d_N)``."""
        return self._widths

    @property
    def invariants(self) -> tuple[Array, ...]:
        """Matrices ``(G_1, ..., G_{N-1})``."""
        return tuple(G.copy() for G in self._wanted)

    @property
    def start(self) -> Any:
        """The layers that the leaf was made from."""
        return self._start

    @property
    def typical_dist(self) -> float:
        """Frobenius norm of the layers that the leaf was made from."""
        return self._size or 1.0

    def projection(self, point: Any, vector: Any) -> Any:
        """Orthogonal projection of layers on the tangent space."""
        _, q, _ = self._frame(point)
        flat: Any = coordinates(self._layers(vector))
        return self._vector(from_coordinates(flat - q @ (q.T @ flat), self._layers(vector)))

    to_tangent_space = projection
    euclidean_to_riemannian_gradient = projection

    def euclidean_to_riemannian_hessian(
        self, point: Any, euclidean_gradient: Any, euclidean_hessian: Any, tangent_vector: Any
    ) -> Any:
        r"""Riemannian Hessian: the multipliers of the gradient bend the leaf.

        .. math:: \mathrm{Hess}[V] = P\,(H[V] - \nu_V(S)), \qquad \nu_W(S) = (1 - P)\,G
        """
        _, q, r = self._frame(point)
        flat: Any = coordinates(self._layers(euclidean_gradient))
        weights = np.linalg.solve(r, q.T @ flat)
        matrices = _leaves.symmetric(weights, self._widths[1:-1])
        bend = _leaves.normal_vector(self._layers(tangent_vector), matrices)
        change = zip(self._layers(euclidean_hessian), bend, strict=True)
        return self.projection(point, self._vector(x - y for x, y in change))

    def retraction(self, point: Any, tangent_vector: Any) -> Any:
        """Move along a vector, and back to the leaf along the normal space of the start.

        Raises
        ------
        ValueError
            If the vector is not finite.
        """
        rows, _, _ = self._frame(point)
        layers, V = self._layers(point), self._layers(tangent_vector)
        if not all(np.isfinite(x).all() for x in V):
            raise ValueError(unusable(V))
        for halving in range(_HALVINGS):
            moved = tuple(x + 0.5**halving * y for x, y in zip(layers, V, strict=True))
            moved, arrived = _leaves.onto_leaf(moved, rows, self._wanted)
            if arrived:
                return self._point(moved)
        raise ValueError("no step along the vector comes back to the leaf")

    def random_point(self) -> Any:
        """Walk from :attr:`start`, about as far as its layers are long."""
        point, steps = self._start, 10
        for _ in range(steps):
            length = self.typical_dist / math.sqrt(steps)
            point = self.retraction(point, length * self.random_tangent_vector(point))
        return point

    def _require_spanned(self) -> None:
        """Require hidden widths at which there are points where the leaf is a manifold."""
        for p, (below, width, above) in enumerate(
            zip(self._widths, self._widths[1:], self._widths[2:], strict=False), start=1
        ):
            if width > below + above:
                raise ValueError(
                    f"hidden width {width} > {below} + {above}: columns of W_{p} and rows of "
                    f"W_{p + 1} must span it for the leaf to be a manifold; take a narrower one, "
                    "or dlngeom.flow.network_flow, which flows layers of any width"
                )

    def _require(self, point: Any) -> None:
        self._frame(point)

    def _frame(self, point: Any) -> tuple[Array, Array, Array]:
        """Find the normals of a point; one that this leaf did not make itself is checked."""
        kept = point.frame(self) if isinstance(point, _OnLeaf) else None
        if kept is not None:
            return kept
        layers = self._layers(point)
        shapes = [np.shape(x) for x in layers]
        wanted = [(high, low) for low, high in pairwise(self._widths)]
        if shapes != wanted:
            raise ValueError(f"the point has layers of shapes {shapes}: on this leaf {wanted}")
        layers = tuple(np.asarray(x) for x in layers)
        gap = float(np.linalg.norm(_leaves.gaps(layers, self._wanted)))
        size = self._size**2 + sum(float(np.sum(x**2)) for x in layers)
        if not gap <= _NEARBY * math.sqrt(eps(layers[0])) * size:
            raise ValueError(
                f"the invariants of the point differ by {gap:.3g} from those of the leaf: start "
                "from manifold.start, or make the leaf of these layers, Invariant(layers)"
            )
        return self._regular(layers)

    def _regular(self, layers: tuple[Array, ...]) -> tuple[Array, Array, Array]:
        """Find the normals of layers, which must be independent."""
        rows, q, r = _leaves.normal_frame(layers)
        diagonal = np.abs(np.diagonal(r))
        if diagonal.size and diagonal.min() <= _DEPENDENT * diagonal.max():
            raise ValueError(
                "the gradients of the invariants depend on one another, and the leaf is no "
                "manifold there: balanced networks of lower rank are one, "
                "dlngeom.pymanopt.Balanced"
            )
        return rows, q, r

    def _point(self, layers: tuple[Array, ...]) -> Any:
        if self.depth == 1:
            return layers[0]
        point = _OnLeaf(layers)
        point._frame, point._leaf = self._regular(layers), self
        point._made = tuple(np.array(x) for x in layers)
        return point
