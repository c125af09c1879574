"""Trajectories: points and observed quantities of all chains at all saved times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from dlngeom._lib import checks
from dlngeom._lib.arrays import namespace, to_numpy
from dlngeom._lib.vectors import first_array, parts, read_only, rebuild, stack

__all__ = ["Observe", "Trajectory", "observe_along"]


# Fewest draws of a chain that diagnostics can split and compare.
_FEWEST = 4

Observe: TypeAlias = Mapping[str, Callable[[Any], Any]]


@dataclass(frozen=True)
class Trajectory:
    """Saved states of one or more chains.

    Attributes
    ----------
    times : numpy array (draw,)
        Saved times, the initial one included unless a walk was warmed up.
    points : array (chain, draw, ...), or tuple of such arrays
        Saved points, of the same kind as the initial point.
    observed : dict
        Array ``(chain, draw, ...)``, or tuple of such arrays, for each name.
    events : tuple
        ``(times, points)`` for each event: when it occurred, and the points ``(chain, event, ...)``
        at these times.
    at : callable or None
        Interpolant from a time to points ``(chain, ...)``, if dense output was requested.
    step_size : float or None
        Time of one step of a walk, adapted or not.
    invariants : callable or None
        Function from points ``(chain, ...)`` to the quantities, by name, that depend on no choice
        of gauge; without it the points are such themselves.
    running : tuple of str
        Names of observed quantities that summarise a chain up to a draw.

    See Also
    --------
    dlngeom.flow.gradient_flow : Flow that returns a trajectory.
    dlngeom.langevin.riemannian_langevin : Diffusion that returns a trajectory.
    """

    times: np.ndarray
    points: Any
    observed: dict[str, Any]
    events: tuple[tuple[np.ndarray, Any], ...] = ()
    at: Callable[[float], Any] | None = field(default=None, repr=False)
    step_size: float | None = None
    invariants: Callable[[Any], dict[str, Any]] | None = field(default=None, repr=False)
    running: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Chains, draws, times and what was observed, instead of all numbers."""
        chains, draws = tuple(parts(self.points)[0].shape)[:2]
        span = f", t={self.times[0]:g} to {self.times[-1]:g}" if len(self.times) else ""
        names = "; observed: " + ", ".join(self.observed) if self.observed else ""
        step = "" if self.step_size is None else f", step_size={self.step_size:.3g}"
        kind = type(self.points).__name__
        return f"<Trajectory of {kind}: {chains} chains, {draws} draws{span}{step}{names}>"

    def to_xarray(self) -> Any:
        """Return points and observed quantities as a dataset over ``chain`` and ``draw``.

        Returns
        -------
        xarray.Dataset

        Raises
        ------
        ImportError
            If xarray is not installed; it comes with ``dlngeom[xarray]``.
        ValueError
            If two variables would have the same name.
        """
        try:
            import xarray
        except ImportError as error:
            raise ImportError("to_xarray needs xarray: pip install 'dlngeom[xarray]'") from error
        arrays = dict(_named("point", self.points))
        for name, value in self.observed.items():
            found = dict(_named(name, value))
            for taken in found.keys() & {*arrays, "chain", "draw", "time"}:
                raise ValueError(f"observed[{name!r}] would hide the variable {taken!r}: rename it")
            arrays |= found
        variables = {}
        for name, value in arrays.items():
            axes = [f"{name}_{i}" for i in range(value.ndim - 2)]
            variables[name] = (("chain", "draw", *axes), value)
        chains = next(iter(arrays.values())).shape[0]
        coordinates = {"chain": np.arange(chains), "time": ("draw", self.times)}
        return xarray.Dataset(variables, coordinates)

    def diagnostics(
        self, burn_in: int = 0, *, names: Sequence[str] | None = None
    ) -> dict[str, Any]:
        r"""Tell whether chains agree, and how precise their means are.

        .. math:: \hat R^2 = \frac{n - 1}{n} + \frac{B}{n W}

        with the variances ``B`` between and ``W`` within chains of ranks turned into normal
        quantiles; the same of distances from the median, if that is larger.

        Parameters
        ----------
        burn_in : int
            Number of first draws to leave out.
        names : sequence of str, optional
            Quantities; all by default.

        Returns
        -------
        dict
            ``"r_hat"``, ``"ess_bulk"``, ``"ess_tail"`` and ``"mcse"`` (of the mean), each an
            ``xarray.Dataset`` without the dimensions ``chain`` and ``draw``.

        Raises
        ------
        ImportError
            If arviz-stats is not installed; it comes with ``dlngeom[xarray]``.
        ValueError
            If fewer than four draws are left, or a name is unknown.

        Notes
        -----
        What is observed and points downstairs: the frames of a network have signs and gauges that
        mean nothing, and would seem to mix well.  Chains are split in halves.

        A. Vehtari et al., *Rank-normalization, folding, and localization: an improved R-hat*
        (Bayesian Analysis 16, 2021).
        """
        try:
            from arviz_stats.base.array import array_stats
        except ImportError as error:
            raise ImportError(
                "diagnostics needs arviz-stats: pip install 'dlngeom[xarray]'"
            ) from error
        draws = len(self.times)
        if checks.integer("burn_in", burn_in, 0) > draws - _FEWEST:
            raise ValueError(f"burn_in={burn_in} of {draws} draws: at least {_FEWEST} must be left")
        arrays = {name: value[:, burn_in:] for name, value in self._quantities().items()}
        for name in names or ():
            if name not in arrays:
                raise ValueError(f"names has {name!r}: known are {sorted(arrays)}")
        chosen = arrays if names is None else {name: arrays[name] for name in names}
        each = partial(_statistic, chosen)
        return {
            "r_hat": each(array_stats.rhat),
            "ess_bulk": each(array_stats.ess, method="bulk"),
            "ess_tail": each(array_stats.ess, method="tail", prob=(0.05, 0.95)),
            "mcse": each(array_stats.mcse, method="mean"),
        }

    def _quantities(self) -> dict[str, np.ndarray]:
        """Real arrays ``(chain, draw, ...)`` that depend on no choice of gauge."""
        given = {name: x for name, x in self.observed.items() if name not in self.running}
        own: dict[str, Any] = {"point": self.points}
        if self.invariants is not None:
            chains, draws = first_array(self.points).shape[:2]
            flat = _reshaped(self.points, 2, (chains * draws,))
            own = {
                name: _reshaped(value, 1, (chains, draws))
                for name, value in self.invariants(flat).items()
            }
        found: dict[str, np.ndarray] = {}
        for name, value in {**own, **given}.items():
            for label, x in _named(name, value):
                found |= (
                    {f"{label}_re": x.real, f"{label}_im": x.imag}
                    if np.iscomplexobj(x)
                    else {label: x}
                )
        return found


def _reshaped(value: Any, axes: int, batch: tuple[int, ...]) -> Any:
    """Arrays of a nested tuple with other leading axes instead of the first ``axes``."""
    return rebuild(
        value, [namespace(x).reshape(x, (*batch, *x.shape[axes:])) for x in parts(value)]
    )


def _statistic(
    arrays: Mapping[str, np.ndarray], statistic: Callable[..., Any], **options: Any
) -> Any:
    """Dataset of a statistic over chains and draws."""
    import xarray

    found = {}
    for name, x in arrays.items():
        axes = [f"{name}_{i}" for i in range(x.ndim - 2)]
        found[name] = (axes, statistic(x, chain_axis=0, draw_axis=1, **options))
    return xarray.Dataset(found)


def _named(name: str, value: Any) -> list[tuple[str, np.ndarray]]:
    """Arrays of a nested tuple, each with a name built from its position."""
    if not isinstance(value, tuple):
        return [(name, to_numpy(value))]
    labels = getattr(value, "_fields", range(len(value)))
    return [
        pair
        for label, x in zip(labels, value, strict=True)
        for pair in _named(f"{name}_{label}", x)
    ]


def observe_along(points: Sequence[Any], functions: Observe, chains: int) -> dict[str, Any]:
    """Values of functions of batched points, stacked along the draws.

    Raises
    ------
    ValueError, TypeError
        If a value has no leading chain axis, or is not an array.
    """
    observed = {}
    for name, function in functions.items():
        values = [_checked(name, function(read_only(point)), chains, point) for point in points]
        observed[name] = stack(values)
    return observed


def _checked(name: str, value: Any, chains: int, point: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(_checked(name, x, chains, point) for x in value)
    if isinstance(value, (int, float)):
        value = np.asarray(value)
    if not hasattr(value, "ndim"):
        raise TypeError(f"observe[{name!r}] returned {type(value).__name__}: it must be an array")
    if value.ndim == 0 or value.shape[0] != chains:
        raise ValueError(
            f"observe[{name!r}] returned shape {tuple(value.shape)}: the first axis must be the "
            f"chains, {chains}"
        )
    return value
