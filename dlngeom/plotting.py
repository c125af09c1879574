"""Figures of the command ``dlngeom``; matplotlib is imported when one is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dlngeom._lib.arrays import NumpyArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["completion_figure", "landscape_figure", "sample_figure"]

_Entry = tuple[float, float, str, NumpyArray | None]

_MARKS = {"minimum": ("o", "C0", "full"), "saddle": ("s", "C1", "none")}

# Number of chains whose energy is plotted.
_TRACES = 6


def completion_figure(
    observed: NumpyArray, completed: NumpyArray, error: NumpyArray, singular_values: NumpyArray
) -> Figure:
    """Draw a completion: observed and completed matrix, error, and course of singular values.

    Parameters
    ----------
    observed : array (m, n) or (m, n, 3)
        Observed entries, NaN where one is missing; the last axis holds colours, from 0 to 1.
    completed : array (m, n) or (m, n, 3)
        Completed matrix.
    error : array (m, n) or (m, n, 3)
        Prediction minus what is known, fitted entries too, NaN elsewhere; colours are averaged.
    singular_values : array (steps, r)
        Singular values of the low-rank part after each step, zero before a direction enters.

    Returns
    -------
    matplotlib.figure.Figure
        Independent of pyplot's state.

    See Also
    --------
    dlngeom.completion.complete : The completion.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.4), layout="constrained")
    axes = figure.subplots(2, 2)
    low, high = np.nanpercentile(completed, [0.5, 99.5])
    missing = np.mean(np.isnan(observed))
    _masked_picture(
        figure, axes[0, 0], observed, f"observed ({missing:.0%} missing)", "gray", low, high
    )
    _masked_picture(figure, axes[0, 1], completed, "completed", "gray", low, high)
    error = error if error.ndim == 2 else np.mean(error, axis=2)
    limit = float(np.nanpercentile(np.abs(error), 99)) or 1.0
    _masked_picture(
        figure,
        axes[1, 0],
        error,
        "prediction minus what is known, fitted entries too",
        "RdBu_r",
        -limit,
        limit,
    )
    _course(axes[1, 1], singular_values)
    return figure


def _picture(
    figure: Any,
    axes: Any,
    values: NumpyArray,
    colours: Any,
    limits: tuple[float, float],
    extend: str,
) -> Any:
    """Show a matrix, with square entries unless it is long, and return its colour bar."""
    low, high = limits
    tall = values.shape[0] / values.shape[1]
    aspect = "equal" if 0.3 < tall < 3 else "auto"
    image = axes.imshow(
        values, cmap=colours, vmin=low, vmax=high, interpolation="nearest", aspect=aspect
    )
    return figure.colorbar(image, ax=axes, shrink=0.8, extend=extend)


def _masked_picture(
    figure: Any, axes: Any, values: NumpyArray, title: str, colours: str, low: float, high: float
) -> None:
    """Show a matrix or a picture in colours, with its missing entries in a separate colour."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    bad = "#c6dbef" if colours == "gray" else "#d9d9d9"
    if values.ndim == 3:
        seen = ~np.isnan(values).any(axis=2, keepdims=True)
        axes.imshow(np.where(seen, np.clip(values, 0, 1), to_rgb(bad)), interpolation="nearest")
    else:
        colormap = colormaps[colours].with_extremes(bad=bad)
        _picture(figure, axes, values, colormap, (low, high), "neither")
    axes.set(title=title, xticks=[], yticks=[])


def _course(axes: Any, singular_values: NumpyArray) -> None:
    """Plot singular values against iterations, on a logarithmic scale."""
    from matplotlib import colormaps

    count = singular_values.shape[1]
    floor = 1e-3 * float(np.max(singular_values, initial=0.0)) or 1.0
    for k in range(count):
        colour = colormaps["viridis"](0.9 * k / max(count - 1, 1))
        axes.plot(np.maximum(singular_values[:, k], floor), color=colour, linewidth=1)
    axes.set_yscale("log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title("singular values along the run")
    axes.set_xlabel("step")
    axes.set_ylabel("singular value")
    axes.grid(alpha=0.3)


def sample_figure(
    mean: NumpyArray,
    deviation: NumpyArray,
    levels: NumpyArray,
    steps: NumpyArray,
    energy: NumpyArray,
) -> Figure:
    """Draw a posterior: its mean and deviation, its calibration, and the energy of some chains.

    Parameters
    ----------
    mean, deviation : array (m, n) or (m, n, 3)
        Posterior mean and standard deviation of each entry; colours are averaged.
    levels : array (tests,)
        Posterior predictive distribution function of each held-out entry, at its true value.
    steps : array (draw,)
        Number of steps from the end of the burn-in to each draw.
    energy : array (chain, draw)
        Energies of the draws.

    Returns
    -------
    matplotlib.figure.Figure
        Independent of pyplot's state.

    See Also
    --------
    dlngeom.langevin.riemannian_langevin : The diffusion that samples a posterior.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    mean, deviation = (x if x.ndim == 2 else np.mean(x, axis=2) for x in (mean, deviation))
    low, high = np.percentile(mean, [0.5, 99.5])
    _posterior_picture(figure, axes[0, 0], mean, "posterior mean", "gray", low, high)
    limits = (0.0, float(np.percentile(deviation, 99.5)))
    _posterior_picture(
        figure, axes[0, 1], deviation, "posterior standard deviation", "viridis", *limits
    )
    _calibration(axes[1, 0], levels)
    _traces(axes[1, 1], steps, energy)
    return figure


def _posterior_picture(
    figure: Any, axes: Any, values: NumpyArray, title: str, colours: str, low: float, high: float
) -> None:
    """Show a posterior statistic, with a colour bar that is labelled after the title."""
    extend = "both" if low else "max"
    bar = _picture(figure, axes, values, colours, (low, high), extend)
    bar.set_label("standard deviation" if "deviation" in title else "value")
    axes.set(title=title, xlabel="column", ylabel="row")
    axes.locator_params(integer=True, nbins=6)


def _calibration(axes: Any, levels: NumpyArray) -> None:
    """Draw the share of the truth below each predictive quantile; a diagonal is perfect."""
    p = np.linspace(0, 1, 201)
    share = np.searchsorted(np.sort(levels), p, side="right") / len(levels)
    error = 1.96 * np.sqrt(p * (1 - p) / len(levels))
    axes.fill_between(p, p - error, p + error, color="0.88", label="95% of independent errors")
    axes.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="perfect")
    axes.plot(p, share, color="C0", linewidth=2, label="posterior predictive")
    inside = np.mean((levels > 0.05) & (levels < 0.95))
    axes.set_title(f"calibration: {inside:.1%} of {len(levels):,} in the 90% interval")
    axes.set_xlabel("predictive quantile")
    axes.set_ylabel("share of held-out entries below it")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize=9)


def _traces(axes: Any, steps: NumpyArray, energy: NumpyArray) -> None:
    from matplotlib import colormaps

    count = min(_TRACES, len(energy))
    for chain in range(count):
        colour = colormaps["viridis"](0.9 * chain / max(count - 1, 1))
        axes.plot(steps, energy[chain], color=colour, linewidth=1, alpha=0.8)
    axes.set_title(f"energy of {count} of {len(energy)} chains" if count > 1 else "energy")
    axes.set_xlabel("step after the burn-in")
    axes.set_ylabel(r"half the squared residual, $|P(W - Y)|^2 / 2$")
    axes.margins(x=0.01)
    axes.grid(alpha=0.3)


def landscape_figure(entries: Sequence[_Entry]) -> Figure:
    """Draw the singular values of critical points against the inverse temperature.

    Parameters
    ----------
    entries : sequence of (depth, beta, kind, point)
        ``kind`` is ``"minimum"``, ``"saddle"`` or, where ``point`` is None, the reason for it.

    Returns
    -------
    matplotlib.figure.Figure
        Independent of pyplot's state.

    See Also
    --------
    dlngeom.thermodynamics.landscape.local_minima : Search for the minima.
    dlngeom.thermodynamics.landscape.critical_points : Search for saddles too.
    """
    from matplotlib.figure import Figure

    depths = list(dict.fromkeys(entry[0] for entry in entries))
    columns = min(len(depths), 4)
    rows = math.ceil(len(depths) / columns)
    figure = Figure(figsize=(max(3 * columns, 5), 3.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for place, depth in zip(axes.flat, depths, strict=False):
        _panel(place, depth, [entry for entry in entries if entry[0] == depth])
    for place in list(axes.flat)[len(depths) :]:
        place.set_axis_off()
    for place in axes[:, 0]:
        place.set_ylabel("singular values")
    return figure


def _panel(axes: Any, depth: float, entries: Sequence[_Entry]) -> None:
    labelled = set()
    for _, beta, kind, point in entries:
        if point is None:
            continue
        marker, colour, fill = _MARKS[kind]
        s = np.linalg.svd(point, compute_uv=False)
        label = None if kind in labelled else kind
        axes.plot(
            np.full(len(s), beta), s, marker, color=colour, fillstyle=fill, linestyle="none",
            label=label,
        )  # fmt: skip
        labelled.add(kind)
    name = r"\infty" if depth == math.inf else f"{depth:g}"
    axes.set(title=f"depth $N = {name}$", xlabel=r"inverse temperature $\beta$", xscale="log")
    axes.set_xlim(min(e[1] for e in entries) / 2, max(e[1] for e in entries) * 2)
    axes.grid(alpha=0.3)
    if labelled:
        axes.legend(fontsize=8)
    else:
        axes.text(0.5, 0.5, "no minimum found", ha="center", transform=axes.transAxes)
