"""When depth helps: hidden error of completion by depth, rank cap and scale of the start.

``min |seen (W - A)|^2 / 2`` on ``EndToEnd(m, n, cap, depth)`` by conjugate gradients from
``aligned_point`` with all singular values ``scale`` times the largest of what is observed.  The
error is the root mean square at entries that are hidden, over that of predicting the mean of the
observed ones, which is subtracted first.  It is the mean over the draws, and is taken at the end of
the run: nothing stops it early, and there is no ridge.

* ``drawn``: 40 x 30 of rank 3 and entries of variance one, noise 0.1, 40% observed, and
* ``digits``: 60 pictures of scikit-learn as rows of 64 pixels, half of them observed.

Run ``python tests/benchmarks/depth_choices.py``; ``--help`` lists the options.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path
from time import process_time

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"))
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from pymanopt.optimizers import ConjugateGradient
from pymanopt.optimizers.line_search import AdaptiveLineSearcher
from sklearn.datasets import load_digits

from dlngeom.pymanopt import EndToEnd
from tests.helpers.rank_collapse import distance

DEPTHS, SCALES = (1, 2, 3, 4), (1.0, 0.1, 0.01)
RANK = {"drawn": 3, "digits": 3}


def data(name: str, draw: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is observed with its noise, the mask, and the truth."""
    rng = np.random.default_rng(draw)
    if name == "digits":
        truth = load_digits().data[60 * draw : 60 * (draw + 1)]
        return truth, rng.random(truth.shape) < 0.5, truth
    truth = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 30)) / np.sqrt(3)
    return truth + 0.1 * rng.normal(size=truth.shape), rng.random(truth.shape) < 0.4, truth


def hidden_error(name: str, draw: int, depth: int, cap: int, scale: float) -> float:
    """Error at hidden entries of one completion, over that of the mean."""
    values, seen, truth = data(name, draw)
    mean = values[seen].mean()
    observed = seen * (values - mean)
    manifold = EndToEnd(*values.shape, cap, depth, rng=draw)
    start = manifold.aligned_point(-observed, scale=scale * float(np.linalg.norm(observed, 2)))
    optimizer = ConjugateGradient(
        verbosity=0, max_iterations=400, line_searcher=AdaptiveLineSearcher(max_iterations=25)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        u, s, vt = optimizer.run(distance(manifold, observed, seen), initial_point=start).point
    off = ((u * s) @ vt + mean - truth)[~seen]
    return float(np.linalg.norm(off) / np.linalg.norm((truth - mean)[~seen]))


def caps(name: str) -> dict[str, int]:
    """Rank caps by what they are called."""
    return {"right": RANK[name], "twice": 2 * RANK[name], "none": min(data(name, 0)[0].shape)}


def main() -> None:
    """Print the table of each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=[*RANK], default=[*RANK])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--depths", nargs="+", type=int, default=DEPTHS)
    options = parser.parse_args()
    for name in options.data:
        columns = [(cap, scale) for cap in caps(name) for scale in SCALES]
        print(name)
        for line, values in (("cap", [x[0] for x in columns]), ("scale", [x[1] for x in columns])):
            print(f"{line:>6}" + "".join(f"{x:>8}" for x in values))
        for depth in options.depths:
            begin, cells = process_time(), []
            for cap, scale in columns:
                errors = [
                    hidden_error(name, draw, depth, caps(name)[cap], scale)
                    for draw in range(options.draws)
                ]
                cells.append(f"{np.mean(errors):8.3f}")
            print(f"{depth:6d}" + "".join(cells) + f"  {process_time() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
