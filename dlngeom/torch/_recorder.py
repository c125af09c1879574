"""A recorder for training loops, whose time is that of the gradient flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlngeom import network
from dlngeom._lib import checks
from dlngeom._lib.arrays import Array, to_numpy
from dlngeom._lib.trajectory import Observe, Trajectory, observe_along
from dlngeom._lib.vectors import parts, rebuild
from dlngeom.torch._layers import weights
from dlngeom.torch._models import Model, linear_layers, torch

__all__ = ["Recorder"]

_OBSERVED: dict[str, Callable[[Any], Any]] = {
    "end_to_end": network.end_to_end,
    "singular_values": network.singular_values,
    "effective_rank": network.effective_rank,
    "invariants": network.invariants,
}


class Recorder:
    r"""Record the layers of a model during training, against the time of the gradient flow.

    .. math:: t_k = \sum_{j=1}^k \eta_j

    Gradient descent with learning rates ``eta_j`` is Euler's method for the gradient flow of the
    layers, in steps of that size.  Call :meth:`step` once after each step of the optimizer.

    Parameters
    ----------
    model : nn.Sequential, nn.Linear or iterable of nn.Linear
        Layers without biases, in the order in which they are applied.  The start is recorded.
    every : int
        Number of steps from one saved draw to the next.
    energy : callable, optional
        ``E``.  It receives the dense end-to-end matrix ``(1, m, n)`` and returns one number, which
        is recorded as ``observed["energy"]``.
    observe : dict, optional
        Name to function of the layers ``(1, d_p, d_{p-1})``, which are arrays of numpy, with
        results ``(1, ...)``, as in :func:`dlngeom.flow.network_flow`.  By default the
        ``end_to_end`` matrix, its ``singular_values`` and ``effective_rank``, and the
        ``invariants``.

    Raises
    ------
    TypeError
        If the model is no sequence, a layer is not linear, or something else is no function.
    ValueError
        If a layer has a bias or does not own its weight, if ``every`` is no positive integer, or
        a function returns something of another shape.

    See Also
    --------
    dlngeom.flow.network_flow : The flow of the layers, balanced or not.
    dlngeom.flow.gradient_flow : The flow of balanced layers and of end-to-end matrices.

    Notes
    -----
    Theorem 1 of Menon, *The geometry of the deep linear network*: the flow keeps the invariants;
    descent changes them by the square of the learning rate in each step.  Momentum ``mu`` makes
    time run ``1/(1 - mu)`` times faster; adaptive optimizers follow another flow.

    Examples
    --------
    >>> import torch
    >>> import dlngeom
    >>> model = torch.nn.Sequential(*(torch.nn.Linear(2, 2, bias=False) for _ in range(2)))
    >>> _ = dlngeom.torch.balanced_init_(model, scale=0.5, rng=0)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    >>> recorder = dlngeom.torch.Recorder(model, every=5)
    >>> for _ in range(10):
    ...     optimizer.zero_grad()
    ...     torch.sum((model(torch.eye(2)) - torch.eye(2)) ** 2).backward()
    ...     optimizer.step()
    ...     recorder.step(optimizer)
    >>> run = recorder.trajectory()
    >>> run.times.round(12), run.observed["singular_values"].shape
    (array([0.  , 0.05, 0.1 ]), (1, 3, 2))
    """

    def __init__(
        self,
        model: Model,
        *,
        every: int = 1,
        energy: Callable[[Any], Array | float] | None = None,
        observe: Observe | None = None,
    ) -> None:
        self._layers = linear_layers(model)
        self._every = checks.integer("every", every, 1)
        if not isinstance(observe, (dict, type(None))):
            raise TypeError(f"observe={observe!r}: it must be a dict from names to functions")
        self._functions = dict(_OBSERVED if observe is None else observe)
        if energy is not None:
            self._functions["energy"] = _energy_of(energy)
        for name, function in self._functions.items():
            if not callable(function):
                raise TypeError(f"observe[{name!r}]={function!r}: it must be a function of layers")
        self._time, self._steps = 0.0, 0
        self._times: list[float] = []
        self._points: list[tuple[np.ndarray, ...]] = []
        self._observed: list[dict[str, Any]] = []
        self._save()

    def step(self, lr: float | torch.optim.Optimizer) -> None:
        """Count a step of the optimizer, and record the layers after every ``every`` steps.

        Parameters
        ----------
        lr : float or torch.optim.Optimizer
            Learning rate of the step; an optimizer is asked for its own, so call this before the
            scheduler changes it.

        Raises
        ------
        ValueError
            If the rate is not positive, if the layers have several, or an entry of a layer that
            is to be recorded is not finite.
        """
        rate = self._rate_of(lr) if isinstance(lr, torch.optim.Optimizer) else lr
        self._time += checks.nonnegative("lr", rate)
        self._steps += 1
        if self._steps % self._every == 0:
            self._save()

    def trajectory(self) -> Trajectory:
        """Return what has been recorded so far.

        Returns
        -------
        Trajectory
            One chain: ``times`` (draw,), ``points`` a tuple of layers ``(1, draw, d_p, d_{p-1})``,
            ``observed`` with arrays ``(1, draw, ...)``, all of numpy.
        """
        points = tuple(np.stack(layer)[None] for layer in zip(*self._points, strict=True))
        observed = {
            name: _joined([draw[name] for draw in self._observed]) for name in self._functions
        }
        return Trajectory(np.array(self._times), points, observed)

    def _save(self) -> None:
        layers = tuple(to_numpy(W) for W in weights(self._layers))
        point = tuple(W[None] for W in layers)
        # One that raises leaves the record as it was.
        observed = observe_along([point], self._functions, 1)
        self._times.append(self._time)
        self._points.append(layers)
        self._observed.append(observed)

    def _rate_of(self, optimizer: torch.optim.Optimizer) -> float:
        """Learning rate of the layers."""
        own = {id(layer.weight) for layer in self._layers}
        rates = {
            float(group["lr"])
            for group in optimizer.param_groups
            if any(id(parameter) in own for parameter in group["params"])
        }
        if not rates:
            raise ValueError("the optimizer moves none of the layers: pass the one that does")
        if len(rates) > 1:
            raise ValueError(
                f"the layers have learning rates {sorted(rates)}: the gradient flow has one time, "
                "give all layers the same"
            )
        return rates.pop()


def _energy_of(energy: Callable[[Any], Array | float]) -> Callable[[Any], np.ndarray]:
    """Energy of layers ``(1, ...)`` by one of the end-to-end matrix; it may be a plain number."""
    if not callable(energy):
        raise TypeError(f"energy={energy!r}: it must be a function of the end-to-end matrix")

    def value(layers: Any) -> np.ndarray:
        found: Any = energy(network.end_to_end(layers))
        number = to_numpy(found) if hasattr(found, "ndim") else np.asarray(found)
        if number.size != 1 or number.dtype.kind not in "fiu":
            raise ValueError(
                f"energy returned {type(found).__name__} of shape {number.shape}: it must be one "
                "real number"
            )
        return number.reshape(1)

    return value


def _joined(draws: list[Any]) -> Any:
    """Join nested tuples of arrays ``(1, 1, ...)`` along the axis of draws."""
    columns = zip(*(parts(draw) for draw in draws), strict=True)
    return rebuild(draws[0], [np.concatenate([to_numpy(x) for x in c], axis=1) for c in columns])
