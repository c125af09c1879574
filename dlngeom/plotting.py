"""Figures; matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["completion_figure"]

Matrix = np.ndarray


def completion_figure(
    observed: Matrix, completed: Matrix, error: Matrix, singular_values: Matrix
) -> Figure:
    """Draw a completion: observed and completed matrix, error, and singular values in time.

    Parameters
    ----------
    observed : array (m, n)
        NaN where an entry is missing.
    completed : array (m, n)
    error : array (m, n)
        Prediction minus truth, NaN where the truth is unknown.
    singular_values : array (iterations + 1, r)
        Course of the singular values of the low-rank part.

    Returns
    -------
    matplotlib.figure.Figure
        Independent of pyplot's state.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.4), layout="constrained")
    axes = figure.subplots(2, 2)
    low, high = np.nanpercentile(completed, [0.5, 99.5])
    missing = np.mean(np.isnan(observed))
    _picture(figure, axes[0, 0], observed, f"observed ({missing:.0%} missing)", "gray", low, high)
    _picture(figure, axes[0, 1], completed, "completed", "gray", low, high)
    limit = float(np.nanpercentile(np.abs(error), 99)) or 1.0
    _picture(figure, axes[1, 0], error, "prediction minus truth", "RdBu_r", -limit, limit)
    _course(axes[1, 1], singular_values)
    return figure


def _picture(
    figure: Any, axes: Any, values: Matrix, title: str, colours: str, low: float, high: float
) -> None:
    from matplotlib import colormaps

    colormap = colormaps[colours].with_extremes(bad="#c6dbef" if colours == "gray" else "#d9d9d9")
    tall = values.shape[0] / values.shape[1]
    aspect = "equal" if 0.3 < tall < 3 else "auto"
    image = axes.imshow(
        values, cmap=colormap, vmin=low, vmax=high, interpolation="nearest", aspect=aspect
    )
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    figure.colorbar(image, ax=axes, shrink=0.8)


def _course(axes: Any, singular_values: Matrix) -> None:
    """Singular values against iterations; they leave the small start one after the other."""
    from matplotlib import colormaps

    count = singular_values.shape[1]
    floor = 1e-3 * singular_values[0, 0]
    for k in range(count):
        colour = colormaps["viridis"](0.9 * k / max(count - 1, 1))
        axes.plot(np.maximum(singular_values[:, k], floor), color=colour, linewidth=1)
    axes.set_yscale("log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title("singular values along the run")
    axes.set_xlabel("iteration")
    axes.set_ylabel("singular value")
    axes.grid(alpha=0.3)
