"""A recorder for training loops, whose time is that of the gradient flow."""

from __future__ import annotations

import warnings
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

    .. math:: t_k = \sum_{j=1}^k \eta_j \, \frac{1 - \tau}{1 - \mu}

    Gradient descent with learning rates ``eta_j`` is Euler's method for the gradient flow of the
    layers, in steps of that size.  Momentum ``mu`` and dampening ``tau`` of ``torch.optim.SGD``
    make time run faster by the factor, and leave a lag.  Call :meth:`step` once after each step of
    the optimizer.

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
    descent changes them by the square of the learning rate in each step.  Momentum starts at
    rest, so layers follow the flow late; the lag is of first order in the learning rate, for a
    constant gradient ``eta mu / (1 - mu)^2``.  Optimizers of any other class, such as Adam, follow
    another flow: a warning says once that their times are plain sums of learning rates.

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
        self._time, self._steps, self._warned = 0.0, 0, False
        self._times: list[float] = []
        self._points: list[tuple[np.ndarray, ...]] = []
        self._observed: list[dict[str, Any]] = []
        self._save()

    def step(self, lr: float | torch.optim.Optimizer) -> None:
        """Count a step of the optimizer, and record the layers after every ``every`` steps.

        Parameters
        ----------
        lr : float or torch.optim.Optimizer
            Time of the step; an optimizer is asked for its learning rate and its momentum, so
            call this before the scheduler changes them.

        Warns
        -----
        UserWarning
            Once, if the optimizer is no ``torch.optim.SGD``.

        Raises
        ------
        ValueError
            If the rate is negative, if the layers have several, if momentum is not below 1, or an
            entry of a layer that is to be recorded is not finite.
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
        """Time of a step of the layers."""
        own = {id(layer.weight) for layer in self._layers}
        groups = [
            group
            for group in optimizer.param_groups
            if any(id(parameter) in own for parameter in group["params"])
        ]
        if not groups:
            raise ValueError("the optimizer moves none of the layers: pass the one that does")
        for key, name in (("lr", "learning rates"), ("momentum", "momenta"), ("dampening", "")):
            values = {float(group.get(key, 0.0)) for group in groups}
            if len(values) > 1:
                raise ValueError(
                    f"the layers have {name or key} {sorted(values)}: the gradient flow has one "
                    "time, give all layers the same"
                )
        if isinstance(optimizer, torch.optim.SGD):
            return float(groups[0]["lr"]) * _speed(groups[0])
        self._warn_of(optimizer)
        return float(groups[0]["lr"])

    def _warn_of(self, optimizer: torch.optim.Optimizer) -> None:
        """Say once that the times are not those of the gradient flow."""
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{type(optimizer).__name__} does not follow the gradient flow, as torch.optim.SGD "
                "does: the recorded times are sums of its learning rates, and no times of the flow",
                UserWarning,
                stacklevel=4,
            )


def _speed(group: dict[str, Any]) -> float:
    """How much faster time runs with the momentum of a group of ``torch.optim.SGD``."""
    momentum = float(group["momentum"])
    if momentum == 0:
        return 1.0  # Dampening has no effect then.
    if not 0 < momentum < 1:
        raise ValueError(f"momentum={momentum:g}: it must be below 1 for the layers to have a time")
    return (1 - float(group["dampening"])) / (1 - momentum)


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
