"""Optional protocols of spaces and walks, which engines use where they are present.

They are listed, with their users, in the docstring of :mod:`dlngeom.submersion`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from dlngeom._lib.arrays import Array
from dlngeom._lib.vectors import Point, Vector
from dlngeom.submersion._equations import ClosedLog, Equation, Geodesic, Shooting

if TYPE_CHECKING:
    from dlngeom.submersion._spaces import RiemannianSubmersion

__all__ = [
    "Draw",
    "HasAcceptance",
    "HasAdjustedRank",
    "HasBasePoint",
    "HasBatchAxes",
    "HasClosedLog",
    "HasCompiledSteps",
    "HasEmbedding",
    "HasExtras",
    "HasFlow",
    "HasGeodesics",
    "HasInverseCometric",
    "HasMeanCurvature",
    "HasObservables",
    "HasPointCheck",
    "HasStartCheck",
    "HasSubmersion",
    "HasUncheckedMoves",
    "HasWalk",
    "Moves",
    "Walk",
    "WalkState",
]

WalkState: TypeAlias = Any
Draw: TypeAlias = Callable[[tuple[int, ...]], Array]


@runtime_checkable
class HasEmbedding(Protocol):
    """A submersion whose points represent ambient vectors in another form."""

    def embedding(self, point: Point) -> Vector:
        """Ambient position of a point."""


@runtime_checkable
class HasBasePoint(Protocol):
    """A submersion where ``project`` does not tell what lies above: points downstairs are pairs."""

    def base_point(self, point: Point) -> Any:
        """Point of the base under a point upstairs."""

    def above(self, point: Any) -> Point:
        """Point upstairs that a point of the base was made from."""


@runtime_checkable
class HasMeanCurvature(Protocol):
    """A submersion with a formula for the mean curvature of its fibres."""

    def mean_curvature(self, point: Point) -> Vector:
        """Mean curvature vector of the fibre in the space upstairs."""


@runtime_checkable
class HasInverseCometric(Protocol):
    """A base with a closed form of its inverse cometric."""

    def inverse_cometric(self, point: Point, vector: Vector) -> Vector:
        """Covector of a tangent vector."""


@runtime_checkable
class HasSubmersion(Protocol):
    """A base of a submersion, which it holds."""

    space: RiemannianSubmersion


@runtime_checkable
class HasPointCheck(Protocol):
    """A geometry that checks its points."""

    def check_point(self, point: Point) -> Point:
        """Return a point as the geometry wants it, or raise ValueError."""


@runtime_checkable
class HasStartCheck(Protocol):
    """A geometry with points that no random walk can start from."""

    def check_start(self, point: Point) -> Point:
        """Return a point that a walk can start from, or raise ValueError."""


@runtime_checkable
class HasBatchAxes(Protocol):
    """A geometry that counts the batch axes of its points."""

    def batch_axes(self, point: Point) -> int:
        """Count the batch axes of a point."""


@runtime_checkable
class HasFlow(Protocol):
    """A geometry that provides the equation of its gradient flows."""

    def gradient_flow(self, point: Point, energy_gradient: Callable[[Any], Any]) -> Equation:
        """Check a point and return the equation of the flow from it."""


@runtime_checkable
class HasGeodesics(Protocol):
    """A geometry that provides the equations of its geodesics."""

    def geodesic(self, point: Point, vector: Vector) -> Geodesic:
        """Check a point and a tangent vector and return the geodesic."""

    def shooting(self, point: Point, other: Point) -> Shooting:
        """Check points with one batch axis and return the problems between them."""

    def ambient(self, point: Point, vector: Vector) -> tuple[Array, ...]:
        """Check a tangent vector and return the arrays of its ambient form."""

    def tangent(self, point: Point, vector: tuple[Array, ...]) -> Vector:
        """Inverse of :meth:`ambient`, after projecting out a normal component due to rounding."""

    def norm(self, point: Point, vector: Vector) -> Array:
        """Length of a tangent vector."""

    def steps(self, curve: Point) -> Array:
        """Check points along a curve and return the lengths of the steps between them."""

    def batch_axes(self, point: Point) -> int:
        """Count the batch axes of a point."""


@runtime_checkable
class HasClosedLog(Protocol):
    """A geometry in which some logarithms have a closed form."""

    def closed_log(self, point: Point, other: Point) -> ClosedLog | None:
        """Check points with one batch axis and return what is known, None if nothing is."""


class Walk(Protocol):
    r"""Geodesic random walk, with vertical noise of size ``a`` and horizontal noise of size ``b``.

    .. math:: V = -\mathrm{grad}\,L\,\mathrm{d}t + (a\,P_v + b\,P_h)\,\xi, \qquad x' = R_2(V)
    """

    def start(self, point: Point) -> WalkState:
        """State of a point."""

    def point(self, state: WalkState) -> Point:
        """Point of a state."""

    def below(self, state: WalkState) -> Any:
        """Point downstairs, the argument of energies."""

    def covector(self, state: WalkState, value: Any) -> Any:
        """Check the shape of what an energy gradient returned."""

    def noise(self, state: WalkState, draw: Draw) -> Vector:
        """Draw a standard Gaussian vector, ambient or of coordinates of a tangent vector.

        ``draw`` returns an array of a given shape.
        """

    def step(
        self,
        state: WalkState,
        noise: Vector,
        covector: Any,
        time: Any,
        vertical: Any,
        horizontal: Any,
    ) -> WalkState:
        """Move by noise of sizes ``vertical``, ``horizontal`` and along a gradient for ``time``."""

    def reach(self, state: WalkState) -> Array | None:
        """Largest admissible size ``(chain,)`` of the noise of one step, None without a limit."""


class Moves(Protocol):
    """What a motion upstairs needs of a space; a space has it itself."""

    def tangent_projection(self, point: Point, vector: Vector) -> Vector:
        """Orthogonal projection of an ambient vector on the tangent space."""

    def retraction(self, point: Point, vector: Vector, *, order: int = 2) -> Point:
        """Retraction, of second order by default."""

    def codifferential(self, point: Point, covector: Any) -> Vector:
        """Gradient upstairs of a covector downstairs."""


@runtime_checkable
class HasUncheckedMoves(Protocol):
    """A submersion whose methods check their arguments, and that has them without checks too."""

    def unchecked(self) -> Moves:
        """Return the methods that a motion needs, with an ``embedding`` where the space has one."""


@runtime_checkable
class HasWalk(Protocol):
    """A geometry that provides a random walk in coordinates of its own."""

    def random_walk(self, point: Point) -> Walk:
        """Walk for points of the kind of ``point``."""


@runtime_checkable
class HasAdjustedRank(Protocol):
    """A space of balanced networks on which Metropolis steps may be possible."""

    def adjusted_rank(self) -> int:
        """Return the rank of the networks, or raise ValueError with the equation that fails."""


@runtime_checkable
class HasExtras(Protocol):
    """A walk that records quantities besides its point."""

    def extras(self, state: WalkState) -> dict[str, Array]:
        """Quantities ``(chain, ...)`` to observe."""


@runtime_checkable
class HasAcceptance(Protocol):
    """A walk that accepts or rejects its steps, and counts them."""

    def accepted(self, state: WalkState) -> Array:
        """Count ``(chain,)`` of the steps accepted so far."""

    def warmed(self, state: WalkState) -> WalkState:
        """State from which steps are counted anew, after the warm-up."""


@runtime_checkable
class HasObservables(Protocol):
    """A walk that says what to observe by default."""

    def observables(self) -> Mapping[str, Callable[[Point], Any]]:
        """Functions of points ``(chain, ...)`` to observe where the caller does not say."""


@runtime_checkable
class HasCompiledSteps(Protocol):
    """A walk whose step is made of array operations alone, if ``compiles`` is true."""

    compiles: bool
