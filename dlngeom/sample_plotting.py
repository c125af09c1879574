"""Figure of a posterior; matplotlib is imported when it is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["sample_figure"]

# Chains whose energy is traced.
TRACES = 6

Matrix = np.ndarray


def sample_figure(
    mean: Matrix, deviation: Matrix, levels: Matrix, steps: Matrix, energy: Matrix
) -> Figure:
    """Draw a posterior: its mean and deviation, its calibration, and the energy of some chains.

    Parameters
    ----------
    mean, deviation : array (m, n)
    levels : array (tests,)
        Posterior predictive probabilities of at most the truth.
    steps : array (draw,)
    energy : array (chain, draw)

    Returns
    -------
    matplotlib.figure.Figure
        Independent of pyplot's state.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    low, high = np.percentile(mean, [0.5, 99.5])
    _picture(figure, axes[0, 0], mean, "posterior mean", "gray", low, high)
    limits = (0.0, float(np.percentile(deviation, 99.5)))
    _picture(figure, axes[0, 1], deviation, "posterior standard deviation", "viridis", *limits)
    _calibration(axes[1, 0], levels)
    _traces(axes[1, 1], steps, energy)
    return figure


def _picture(
    figure: Any, axes: Any, values: Matrix, title: str, colours: str, low: float, high: float
) -> None:
    tall = values.shape[0] / values.shape[1]
    aspect = "equal" if 0.3 < tall < 3 else "auto"
    image = axes.imshow(
        values, cmap=colours, vmin=low, vmax=high, interpolation="nearest", aspect=aspect
    )
    axes.set_title(title)
    axes.set_xlabel("column")
    axes.set_ylabel("row")
    axes.locator_params(integer=True, nbins=6)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="both" if low else "max")
    bar.set_label("standard deviation" if "deviation" in title else "value")


def _calibration(axes: Any, levels: Matrix) -> None:
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


def _traces(axes: Any, steps: Matrix, energy: Matrix) -> None:
    from matplotlib import colormaps

    count = min(TRACES, len(energy))
    for chain in range(count):
        colour = colormaps["viridis"](0.9 * chain / max(count - 1, 1))
        axes.plot(steps, energy[chain], color=colour, linewidth=1, alpha=0.8)
    axes.set_title(f"energy of {count} of {len(energy)} chains" if count > 1 else "energy")
    axes.set_xlabel("step after the burn-in")
    axes.set_ylabel(r"half the squared residual, $|P(W - Y)|^2 / 2$")
    axes.margins(x=0.01)
    axes.grid(alpha=0.3)
