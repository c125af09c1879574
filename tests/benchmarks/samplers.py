"""Effective samples per second of the samplers of one Gibbs law.

Of the smallest singular value and of the trace, by CPU time on one core, warm-up and compilation
left out, for the Riemannian Langevin equation (RLE), the same with a Metropolis step, NUTS of mici
upstairs, NUTS of blackjax and the walkers of emcee in the root chart.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import argparse  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.helpers.samplers import (  # noqa: E402
    COMPLETION,
    LOW_RANK,
    QUADRATIC,
    SAMPLERS,
    effective,
    observed,
)

OURS = ("RLE", "RLE adjusted", "mici NUTS")
# The energy, the samplers that draw from it, and draws for mici and for the others.
RUNS = {
    "quadratic 2 x 2, depth 3": (QUADRATIC, tuple(SAMPLERS), 1000, 64000),
    "completion 5 x 5, depth 3": (COMPLETION, (*OURS, "blackjax NUTS"), 1000, 64000),
    "10 x 10 of rank 2, depth 2": (LOW_RANK, OURS, 1000, 64000),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="share of the draws to take")
    parser.add_argument("--energy", default="", help="part of the name of the energies to take")
    parser.add_argument("--samplers", nargs="+", choices=[*SAMPLERS], default=[*SAMPLERS])
    options = parser.parse_args()
    print(f"{'energy':28} {'sampler':14} {'sigma_min/s':>11} {'trace/s':>9} {'means':>15}")
    for name, (problem, samplers, few, many) in RUNS.items():
        if options.energy not in name:
            continue
        for sampler in filter(options.samplers.__contains__, samplers):
            draws = round(options.share * (few if sampler == "mici NUTS" else many))
            found = SAMPLERS[sampler](problem, draws, 1)
            values = observed(found.W)
            rates = [effective(x) / found.seconds for x in values.values()]
            means = " ".join(f"{x.mean():7.3f}" for x in values.values())
            row = f"{name:28} {sampler:14} {rates[0]:11.1f} {rates[1]:9.1f} {means}"
            print(f"{row}  {found.note}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
