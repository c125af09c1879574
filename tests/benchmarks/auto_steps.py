"""Automatic steps on twelve energies: bias of means, and steps against the coarsest that would do.

For each energy the means of ``tr W`` and ``|W|^2`` along chains that start from the law and take
the steps of ``n_steps="auto"``, against the law itself: in closed form for one layer, else by
independent draws with weights.  Differences are in percent of the mean; in brackets the errors by
chance of the run and of the reference.  Then the time of a step, how many times as long is the
coarsest ``duration / 2^k`` whose means are within 2%, and the acceptance that a warm-up of adjusted
steps reaches, where there are such steps.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse  # noqa: E402
import math  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from time import process_time  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.helpers.automatic import (  # noqa: E402
    ENERGIES,
    LINE,
    Means,
    accepted,
    coarsest,
    exact,
    off,
    sampled,
)

# Large matrices have means with less chance in them, and cost more.
CHAINS = {2: 512, 3: 256, 5: 128, 10: 64}


def percent(found: Means, law: Means) -> str:
    """Differences of means, with the errors by chance of both."""
    size = 100 / abs(law.means)
    each = zip(100 * off(found, law), found.errors * size, law.errors * size, strict=True)
    return " ".join(f"{x:6.2f} ({own:.2f}, {error:.2f})" for x, own, error in each)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--energies", nargs="+", choices=[*ENERGIES], default=[*ENERGIES])
    parser.add_argument("--times", type=float, default=8.0, help="length in relaxation times")
    options = parser.parse_args()
    print(f"{'energy':24} {'off: tr W, |W|^2':>42} {'step':>8} coarsest accepted warned CPU")
    for name in options.energies:
        begin, law = process_time(), exact(name)
        run = {"chains": CHAINS[len(ENERGIES[name].middle)], "times": options.times}
        found = sampled(name, **run)
        ratio = coarsest(name, law, found.step, **run) / found.step
        share = accepted(name) if ENERGIES[name].adjustable else math.nan
        lost = "" if abs(off(found, law)).max() < LINE and ratio < 4 else "  LOST"
        print(
            f"{name:24} {percent(found, law):>42} {found.step:8.2g} {ratio:8.2f} {share:8.2f} "
            f"{'yes' if found.warned else 'no':>6} {process_time() - begin:.0f} s{lost}",
            flush=True,
        )


if __name__ == "__main__":
    main()
