"""Figure of the critical points of a free energy; matplotlib is imported when it is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["landscape_figure"]

Matrix = np.ndarray
Entry = tuple[float, float, str, Matrix | None]
MARKS = {"minimum": ("o", "C0", "full"), "saddle": ("s", "C1", "none")}


def landscape_figure(entries: Sequence[Entry]) -> Figure:
    """Draw the singular values of critical points against the inverse temperature.

    Parameters
    ----------
    entries : sequence of (depth, beta, kind, point)
        ``kind`` is ``"minimum"``, ``"saddle"`` or the reason why there is no point.

    Returns
    -------
    matplotlib.figure.Figure
        Independent of pyplot's state.
    """
    from matplotlib.figure import Figure

    depths = list(dict.fromkeys(entry[0] for entry in entries))
    columns = min(len(depths), 4)
    rows = math.ceil(len(depths) / columns)
    figure = Figure(figsize=(max(3 * columns, 5), 3.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for place, depth in zip(axes.flat, depths, strict=False):
        _panel(place, depth, [entry for entry in entries if entry[0] == depth])
    for place in list(axes.flat)[len(depths) :]:
        place.set_axis_off()
    for place in axes[:, 0]:
        place.set_ylabel("singular values")
    return figure


def _panel(axes: Any, depth: float, entries: Sequence[Entry]) -> None:
    labelled = set()
    for _, beta, kind, point in entries:
        if point is None:
            continue
        marker, colour, fill = MARKS[kind]
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
