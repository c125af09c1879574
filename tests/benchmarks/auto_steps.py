"""Automatic steps on twelve energies: bias of means, and steps against the coarsest that would do.

For each energy the means of ``tr W`` and ``|W|^2`` of a run with ``n_steps="auto"``, against a
reference: the same law by adjusted steps where these exist, elsewhere a quarter of the step.
Errors by chance (MCSE), of the run and of the reference, are printed beside the differences, all in
percent of the reference.  The last column is the count of steps over that of the coarsest
``duration / 2^k`` whose means are within 2%.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from time import process_time  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.helpers.automatic import ENERGIES, Means, automatic, coarsest, reference  # noqa: E402


def percent(found: Means, exact: Means) -> str:
    """Differences of means from the reference, with errors by chance of both."""
    cells = [
        f"{100 * (x / y - 1):6.2f}({100 * error / abs(y):.2f}, {100 * own / abs(y):.2f})"
        for x, error, y, own in zip(
            found.means, found.errors, exact.means, exact.errors, strict=True
        )
    ]
    return " ".join(f"{cell:>20}" for cell in cells)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--energies", nargs="+", choices=[*ENERGIES], default=[*ENERGIES])
    parser.add_argument("--duration", type=float, default=400.0, help="in relaxation times")
    parser.add_argument("--coarsest", action="store_true", help="look for the coarsest step too")
    options = parser.parse_args()
    print("percent off: of tr W, of |W|^2; step; acceptance of the reference; steps over coarsest")
    for name in options.energies:
        begin = process_time()
        exact, found = reference(name, options.duration), automatic(name, options.duration)
        note = f"{found.step:.2g}  {exact.accepted:4.2f}"
        if options.coarsest:
            note += f"  {coarsest(name, options.duration, exact) / found.step:.2f}"
        print(
            f"{name:24} {percent(found, exact)}  {note}  {process_time() - begin:.0f} s", flush=True
        )


if __name__ == "__main__":
    main()
