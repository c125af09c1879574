"""The Gibbs law of balanced networks as a Hamiltonian system of mici."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, NumpyArray
from dlngeom._lib.door import real_numbers
from dlngeom.dln import DeepLinearNetwork
from dlngeom.mici._balance import BalanceEquations, balance_equations
from dlngeom.mici._library import (
    ChainState,
    DenseConstrainedEuclideanMetricSystem,
    EuclideanMetricSystem,
    IdentityMatrix,
    System,
)
from dlngeom.mici._positions import shapes, split
from dlngeom.network import _layers
from dlngeom.points import _covectors
from dlngeom.points._covectors import Covector, checked_covector
from dlngeom.points._tuples import Layers
from dlngeom.thermodynamics._layers import layer_widths
from dlngeom.thermodynamics._root_functions import entropy_gradient_of_root, entropy_of_root

__all__ = ["system"]


def system(
    space: DeepLinearNetwork,
    energy: Callable[[Array], Any],
    energy_gradient: Callable[[Array], Covector],
    beta: float,
    kappa: float = 1.0,
) -> System:
    r"""Hamiltonian system of mici for the Gibbs law of the Riemannian Langevin equation.

    .. math:: h(q, p) = \frac{\beta}{\kappa} E(W) + \Big(1 - \frac{1}{\kappa}\Big) S(W)
              + \tfrac12 |p|^2, \qquad W_p W_p^T = W_{p+1}^T W_{p+1}

    on networks upstairs, with the balance equations as constraint.  Its law downstairs has the
    density ``exp(-(beta / kappa) E + S / kappa)`` for the volume of ``g^N``.

    Parameters
    ----------
    space : DeepLinearNetwork
        Networks whose inner widths are all equal to their rank.
    energy : callable
        ``E``, of the same argument as in :func:`dlngeom.langevin.riemannian_langevin`: end-to-end
        matrices ``(1, m, n)``, with an axis for the chain.  It returns one number.
    energy_gradient : callable
        ``E'``, of the same argument; it returns a covector for it.
    beta : float
        Inverse temperature, > 0.
    kappa : float
        Noise of the observable over that of the gauge, > 0.

    Returns
    -------
    mici.systems.DenseConstrainedEuclideanMetricSystem
        For a ``ConstrainedLeapfrogIntegrator``, with all derivatives in closed form.  One layer has
        no equations: there it is a ``EuclideanMetricSystem``, for a ``LeapfrogIntegrator``.

    Raises
    ------
    ValueError
        If an inner width is not the rank, one layer has not full rank, or ``beta`` or ``kappa`` is
        out of range.

    See Also
    --------
    dlngeom.mici.position : Position to start a chain from.
    dlngeom.mici.layers : Networks of the positions that a chain returns.
    dlngeom.langevin.riemannian_langevin : The same law by a diffusion, for many chains at once.
    dlngeom.thermodynamics.log_gibbs_density : The same law for samplers of flat space.

    Notes
    -----
    Volumes are those of Theorems 10 and 14 of Menon, *The geometry of the deep linear network*;
    the entropy in the potential corrects the one that the fibres contribute.  Where a singular
    value of square matrices is zero the balance equations are not regular.  Chains jump across:
    the sign of ``det W`` is kept at even depth and changes at odd depth, as for the Langevin
    equation.

    Examples
    --------
    >>> import numpy as np
    >>> import mici
    >>> import dlngeom
    >>> space = dlngeom.DeepLinearNetwork((2, 2, 2))
    >>> system = dlngeom.mici.system(space, lambda W: np.sum(W**2) / 2, lambda W: W, beta=4.0)
    >>> integrator = mici.integrators.ConstrainedLeapfrogIntegrator(system)
    >>> sampler = mici.samplers.DynamicMultinomialHMC(system, integrator, np.random.default_rng(0))
    >>> start = dlngeom.mici.position(space, space.random_point(0))
    >>> run = sampler.sample_chains(20, 10, [start], display_progress=False)
    >>> layers = dlngeom.mici.layers(space, np.stack(run.traces["pos"]))
    >>> dlngeom.network.end_to_end(layers).shape
    (1, 10, 2, 2)
    """
    if not isinstance(space, DeepLinearNetwork):
        raise ValueError(f"space is a {type(space).__name__}: it must be a DeepLinearNetwork")
    space.adjusted_rank()
    for name, given in (("energy", energy), ("energy_gradient", energy_gradient)):
        if not callable(given):
            raise TypeError(f"{name}={given!r}: it must be a function of an end-to-end matrix")
    beta = checks.inverse_temperature(beta, infinite=False)
    potential = _Potential(space, energy, energy_gradient, beta, checks.noise_ratio(kappa))
    if space.depth == 1:
        return EuclideanMetricSystem(potential.value, grad_neg_log_dens=potential.gradient)
    return _BalancedSystem(potential, balance_equations(space.widths, space.rank))


class _BalancedSystem(DenseConstrainedEuclideanMetricSystem):  # type: ignore[misc]
    """System on the zeros of the balance equations, with the volume of the zeros.

    With the identity as metric, the few small products of a step are taken by plain arrays: mici's
    matrices would cost several times the arithmetic.  Any other metric is left to mici.
    """

    def __init__(self, potential: _Potential, equations: BalanceEquations) -> None:
        super().__init__(
            potential.value,
            equations.value,
            grad_neg_log_dens=potential.gradient,
            jacob_constr=equations.jacobian,
        )
        # mici takes it only for densities of another kind, but its method serves everybody.
        self._mhp_constr = equations.hessian_product

    def dh2_flow_dmom(self, state: ChainState, dt: float) -> tuple[Any, Any]:
        """Return what a step of length ``dt`` does to a change of the momentum."""
        if type(self.metric) is not IdentityMatrix:
            return super().dh2_flow_dmom(state, dt)  # type: ignore[no-any-return]
        return _Multiple(dt), self.metric

    def jacob_constr_inner_product(
        self, jacob_constr_1: NumpyArray, inner_product_matrix: Any, jacob_constr_2: Any = None
    ) -> Any:
        """Products of the rows of two Jacobians."""
        if type(inner_product_matrix) is not _Multiple:
            return super().jacob_constr_inner_product(
                jacob_constr_1, inner_product_matrix, jacob_constr_2
            )
        other = jacob_constr_1 if jacob_constr_2 is None else jacob_constr_2
        return _Equations(inner_product_matrix.factor * (jacob_constr_1 @ other.T))

    def project_onto_cotangent_space(self, mom: NumpyArray, state: ChainState) -> NumpyArray:
        """Project a momentum, in place."""
        if type(self.metric) is not IdentityMatrix:
            return super().project_onto_cotangent_space(mom, state)  # type: ignore[no-any-return]
        rows = self.jacob_constr(state)
        mom -= np.linalg.solve(rows @ rows.T, rows @ mom) @ rows
        return mom


class _Multiple(NamedTuple):
    """Multiple of the identity, for mici's solver."""

    factor: float

    def __matmul__(self, vector: NumpyArray) -> NumpyArray:
        return self.factor * vector


class _Equations(NamedTuple):
    """Square matrix that is used once, and its inverse, for mici's solver."""

    matrix: NumpyArray

    @property
    def inv(self) -> _Equations:
        return self

    def __matmul__(self, vector: NumpyArray) -> NumpyArray:
        return np.linalg.solve(self.matrix, vector)


@dataclass(frozen=True)
class _Potential:
    """Minus the logarithm of the density upstairs, of a position."""

    space: DeepLinearNetwork
    energy: Callable[[Array], Any]
    energy_gradient: Callable[[Array], Covector]
    beta: float
    kappa: float

    def value(self, position: NumpyArray) -> float:
        """Value of the potential."""
        layers = self._layers(position)
        value = _number(self.energy(_end_to_end(layers))) * (self.beta / self.kappa)
        if self._is_native:
            return value
        volume = entropy_of_root(layers[0], layer_widths(self.space.widths))
        return value + (1 - 1 / self.kappa) * float(volume)

    def gradient(self, position: NumpyArray) -> NumpyArray:
        """Gradient, up to a part that is normal to the balanced networks."""
        layers = self._layers(position)
        W = _end_to_end(layers)
        value = checked_covector(self.energy_gradient(W), W.shape[1], W.shape[2], W)
        scale = self.beta / self.kappa
        slope = [scale * x for x in _layers.lift(layers, _covectors.to_dense(value)[0])]
        if not self._is_native:
            # The first layer alone fixes the entropy, which is smooth in it.
            pull = entropy_gradient_of_root(layers[0], layer_widths(self.space.widths))
            slope[0] = slope[0] + (1 - 1 / self.kappa) * pull
        return np.concatenate([np.ravel(x) for x in slope])

    @property
    def _is_native(self) -> bool:
        """Whether the volume upstairs has the entropy that is wanted."""
        return self.kappa == 1 or self.space.depth == 1

    def _layers(self, position: NumpyArray) -> Layers:
        return split(position, shapes(self.space))


def _end_to_end(layers: Layers) -> Array:
    """End-to-end matrix of the one chain, which the caller may change."""
    return np.array(_layers.product(layers))[None]


def _number(value: Any) -> float:
    """Check the energy of one matrix."""
    found = real_numbers("energy", value)
    if found.size != 1:
        raise ValueError(f"energy returned shape {found.shape}: it must be one number")
    number = float(found.ravel()[0])
    if number != number:
        raise ValueError("energy returned nan: it must be a number, or inf where W may not be")
    return number
