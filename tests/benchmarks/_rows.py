"""Rows of benchmarks: two CPU times and their ratio."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from time import process_time
from typing import NamedTuple

__all__ = ["Case", "Row", "fastest"]


class Row(NamedTuple):
    """Seconds of CPU time here and of what it is compared with, and what else is worth saying."""

    here: float
    script: float
    note: str = ""

    def __str__(self) -> str:
        ratio = self.here / self.script
        times = f"{1e3 * self.here:9.3f} {1e3 * self.script:9.3f}"
        return f"{ratio:6.2f} {times}  {self.note}".rstrip()


# The name of a row, and the measurement.
Case = tuple[str, Callable[[argparse.Namespace], Row]]


def fastest(*calls: Callable[[], object], repeats: int) -> tuple[float, ...]:
    """Shortest CPU time of each call; they take turns, to share what else the machine does."""
    times = []
    for _ in range(repeats):
        times.append([])
        for call in calls:
            begin = process_time()
            call()
            times[-1].append(process_time() - begin)
    return tuple(min(column) for column in zip(*times, strict=True))
