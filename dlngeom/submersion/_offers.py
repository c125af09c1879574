"""What a space may offer to engines beyond what every space must have.

Engines never test for a class of spaces; they ask whether a space, or a walk on it, has the
methods of one of these protocols, and do without where it has not.

=========================  =======================  ============================================
protocol                   asked for by             what an engine does without it
=========================  =======================  ============================================
:class:`HasEmbedding`      submersion               takes points for ambient vectors
:class:`HasInverseCometric`  submersion             inverts the matrix of the cometric
:class:`HasSubmersion`     langevin                 refuses a base that has no walk
:class:`HasPointCheck`     langevin                 compares with a random point
:class:`HasStartCheck`     langevin                 the same as for any point
:class:`HasBatchAxes`      langevin                 compares with a random point
:class:`HasFlow`           flow                     integrates in the ambient space
:class:`HasGeodesics`      geodesics                refuses
:class:`HasWalk`           langevin                 walks in the ambient space
:class:`HasAdjustedRank`   langevin, ``adjust``     refuses
:class:`HasExtras`         langevin, of a walk      observes what it is told to
:class:`HasObservables`    langevin, of a walk      observes what it is told to
:class:`HasCompiledSteps`  langevin, of a walk      never compiles its steps
=========================  =======================  ============================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from dlngeom._lib.arrays import Array
from dlngeom._lib.vectors import Point, Vector
from dlngeom.submersion._equations import Equation, Geodesic, Shooting

if TYPE_CHECKING:
    from dlngeom.submersion._spaces import RiemannianSubmersion

__all__ = [
    "Draw",
    "HasAdjustedRank",
    "HasBatchAxes",
    "HasCompiledSteps",
    "HasEmbedding",
    "HasExtras",
    "HasFlow",
    "HasGeodesics",
    "HasInverseCometric",
    "HasObservables",
    "HasPointCheck",
    "HasStartCheck",
    "HasSubmersion",
    "HasWalk",
    "Walk",
    "WalkState",
]

WalkState: TypeAlias = Any
Draw: TypeAlias = Callable[[tuple[int, ...]], Array]


@runtime_checkable
class HasEmbedding(Protocol):
    """A submersion whose points are not the ambient vectors that they stand for."""

    def embedding(self, point: Point) -> Vector:
        """Ambient position of a point."""


@runtime_checkable
class HasInverseCometric(Protocol):
    """A base that knows the inverse of its cometric."""

    def inverse_cometric(self, point: Point, vector: Vector) -> Vector:
        """Covector of a tangent vector."""


@runtime_checkable
class HasSubmersion(Protocol):
    """A base that knows the submersion over it."""

    space: RiemannianSubmersion


@runtime_checkable
class HasPointCheck(Protocol):
    """A geometry that knows its points from others."""

    def check_point(self, point: Point) -> Point:
        """Return a point as the geometry wants it, or raise ValueError."""


@runtime_checkable
class HasStartCheck(Protocol):
    """A geometry some of whose points no random walk can start from."""

    def check_start(self, point: Point) -> Point:
        """Return a point that a walk can start from, or raise ValueError."""


@runtime_checkable
class HasBatchAxes(Protocol):
    """A geometry that tells the batch axes of its points."""

    def batch_axes(self, point: Point) -> int:
        """Count the batch axes of a point."""


@runtime_checkable
class HasFlow(Protocol):
    """A geometry that knows good coordinates for its gradient flows."""

    def gradient_flow(self, point: Point, energy_gradient: Callable[[Any], Any]) -> Equation:
        """Check a point and return the equation of the flow from it."""


@runtime_checkable
class HasGeodesics(Protocol):
    """A geometry that knows its geodesics."""

    def geodesic(self, point: Point, vector: Vector) -> Geodesic:
        """Check a point and a tangent vector and return the geodesic."""

    def shooting(self, point: Point, other: Point) -> Shooting:
        """Check batches of points, with one axis, and return the problems between them."""

    def ambient(self, point: Point, vector: Vector) -> tuple[Array, ...]:
        """Check a tangent vector and return the arrays of its ambient form."""

    def tangent(self, point: Point, vector: tuple[Array, ...]) -> Vector:
        """Inverse of :meth:`ambient` up to rounding, which leaves a component off the space."""

    def norm(self, point: Point, vector: Vector) -> Array:
        """Length of a tangent vector."""

    def steps(self, curve: Point) -> Array:
        """Check points along a curve and return the lengths of the steps between them."""

    def batch_axes(self, point: Point) -> int:
        """Count the batch axes of a point."""


class Walk(Protocol):
    r"""A geodesic random walk, with noise of two sizes.

    .. math:: V = -\mathrm{grad}\,L\,\mathrm{d}t + (a\,P_v + b\,P_h)\,\xi, \qquad x' = R_2(V)
    """

    def start(self, point: Point) -> WalkState:
        """State of a point."""

    def point(self, state: WalkState) -> Point:
        """Point of a state."""

    def below(self, state: WalkState) -> Any:
        """Return what an energy sees of a state."""

    def covector(self, state: WalkState, value: Any) -> Any:
        """Check the shape of what an energy gradient returned."""

    def noise(self, state: WalkState, draw: Draw) -> Vector:
        """Draw a standard Gaussian ambient vector, by a function from shapes to arrays."""

    def step(
        self,
        state: WalkState,
        noise: Vector,
        covector: Any,
        time: Any,
        vertical: Any,
        horizontal: Any,
    ) -> WalkState:
        """Move by noise of standard deviation ``a``, ``b``, and along a gradient for a time."""

    def reach(self, state: WalkState) -> Array | None:
        """Largest standard deviation ``(chain,)`` of the noise of one step, if there is a limit."""


@runtime_checkable
class HasWalk(Protocol):
    """A geometry that knows good coordinates for its random walks."""

    def random_walk(self, point: Point) -> Walk:
        """Walk for points of the kind of ``point``."""


@runtime_checkable
class HasAdjustedRank(Protocol):
    """Balanced networks that regular equations may define, as Metropolis steps need."""

    def adjusted_rank(self) -> int:
        """Return the rank of the networks, or raise ValueError with the equation that fails."""


@runtime_checkable
class HasExtras(Protocol):
    """A walk that keeps account of more than its point."""

    def extras(self, state: WalkState) -> dict[str, Array]:
        """Quantities ``(chain, ...)`` to observe."""


@runtime_checkable
class HasObservables(Protocol):
    """A walk that says what is worth watching."""

    def observables(self) -> Mapping[str, Callable[[Point], Any]]:
        """Functions of points ``(chain, ...)`` to observe where the caller does not say."""


@runtime_checkable
class HasCompiledSteps(Protocol):
    """A walk whose step is made of array operations alone, if ``compiles`` is true."""

    compiles: bool
