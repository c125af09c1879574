"""Rank collapse: how runs of ``min |W - B|^2 / 2`` on ``EndToEnd`` end, by depth and start.

Starts are ``random_point``, a random point whose columns are those of ``B``, and ``aligned_point``.
A run has reached the least cost to 1e-8 (or to 1e-10 of ``|B|^2``, if that is more), or it has
warned of rank collapse, or it is unfinished and its stopping criterion says so, or it is silent,
which must not happen.  In brackets,
of square matrices of full rank: the runs whose start has a determinant of the sign of that of
``B``, and how many of these have reached.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from time import process_time

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.helpers.rank_collapse import CASES, OPTIMIZERS, endings

STARTS = ("random", "columns", "aligned")
ENDINGS = ("reached", "warned", "both", "unfinished", "silent")


def row(name: str, depth: int, optimizer: str, kind: str, share: float) -> str:
    """Counts of endings of one kind of runs."""
    case, (method, count) = CASES[name], OPTIMIZERS[optimizer]
    begin = process_time()
    found = endings(case, depth, method, kind, range(max(1, round(share * count))))
    totals = [sum(n for (end, _), n in found.items() if end == word) for word in ENDINGS]
    note = ""
    if case.rank == max(case.shape):
        note = f"  ({sum(n for (_, x), n in found.items() if x)}, {found['reached', True]})"
    cells = " ".join(f"{x:10d}" for x in totals)
    return f"{depth:5d} {optimizer:18} {kind:8} {cells}  {process_time() - begin:5.0f} s{note}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=[*CASES], default=[*CASES])
    parser.add_argument("--depths", nargs="+", type=int, default=(1, 2, 3))
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=STARTS)
    parser.add_argument("--share", type=float, default=1.0, help="of the runs")
    options = parser.parse_args()
    words = " ".join(f"{word:>10}" for word in ENDINGS)
    for name in options.cases:
        print(f"{name}\n{'depth':>5} {'optimizer':18} {'start':8} {words}")
        for depth in options.depths:
            for optimizer in OPTIMIZERS:
                for kind in options.starts:
                    print(row(name, depth, optimizer, kind, options.share), flush=True)


if __name__ == "__main__":
    main()
