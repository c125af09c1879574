"""Held-out RMSE and time of completion against peers, on sets that come inside PyPI packages.

``DLNCompletion`` runs with its default parameters.  The peers, on the same visible entries:

* pymanopt's ``FixedRankEmbedded`` after the same biases are removed, at the rank of 5, 10, 20
  and 50 that is best on a tenth of the visible entries, refitted at that rank to all of them;
* cmfrec's ``CMF`` by alternating least squares and scikit-surprise's ``SVD``, their ranks
  chosen likewise, that of ``CMF`` together with a ridge of 0.1, 1 and 10, that of ``SVD``
  together with whether the data are brought to unit variance first;
* scikit-learn's ``KNNImputer``, its number of neighbours of 5 and 20 chosen likewise, on sets of
  at most ``--knn-rows`` rows: on Indian Pines one fit takes more than ten minutes;
* the row and column biases alone.

The time of a peer includes its search.  Sets and peers whose package is not installed are
skipped, and named.  One BLAS thread.

Run ``python tests/benchmarks/completion_quality.py``; ``--help`` lists the options.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import sys
import time
import warnings

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"))

import numpy as np
from scipy import sparse
from sklearn.datasets import load_digits, load_sample_image
from sklearn.impute import KNNImputer

from dlngeom import completion
from dlngeom.cli import _peers
from dlngeom.completion import _complete

RANKS = (5, 10, 20, 50)
NEIGHBOURS = (5, 20)
RIDGES = (0.1, 1.0, 10.0)


def china() -> np.ndarray:
    """Grey values of a photograph, 427 x 640."""
    return load_sample_image("china.jpg").mean(axis=2) / 255


def digits() -> np.ndarray:
    """Pixels of handwritten digits, 1797 x 64."""
    return load_digits().data


def el_nino() -> np.ndarray:
    """Sea surface temperatures, 61 years x 12 months."""
    from statsmodels.datasets import elnino

    return elnino.load_pandas().data.to_numpy(dtype=float)[:, 1:]


def indian_pines() -> np.ndarray:
    """Hyperspectral image, 21025 pixels x 200 bands."""
    from tensorly.datasets import load_indian_pines

    cube = np.asarray(load_indian_pines().tensor, dtype=float)
    return cube.reshape(-1, cube.shape[-1])


SETS = {"china": china, "digits": digits, "el_nino": el_nino, "indian_pines": indian_pines}
PACKAGES = {
    "el_nino": "statsmodels", "indian_pines": "tensorly", "CMF": "cmfrec", "SVD": "surprise",
}  # fmt: skip


def rmse(predicted, truth, where) -> float:
    """Root mean square of the error on part of the entries."""
    return float(np.sqrt(np.mean((predicted - truth)[where] ** 2)))


def fixed_rank(visible, rank, seed, seconds):
    """``FixedRankEmbedded`` on all visible entries; NaN where it breaks down."""
    return _peers.fixed_rank(visible, rank, seed, seconds)[0]


def collective(visible, choice):
    """``CMF`` of cmfrec, given rank and ridge."""
    from cmfrec import CMF

    rank, ridge = choice
    rows, columns = np.nonzero(~np.isnan(visible))
    given = sparse.coo_matrix((visible[rows, columns], (rows, columns)), shape=visible.shape)
    model = CMF(k=rank, lambda_=ridge, nthreads=1, verbose=False, random_state=1).fit(given)
    i, j = np.indices(visible.shape)
    return model.predict(user=i.ravel(), item=j.ravel()).reshape(visible.shape)


def stochastic(visible, choice):
    """``SVD`` of scikit-surprise, by stochastic gradients, given rank and whether to rescale."""
    import pandas as pd
    from surprise import SVD, Dataset, Reader

    rank, rescaled = choice
    # Its steps suit ratings: on data of another size they may diverge.
    mean, size = (np.nanmean(visible), np.nanstd(visible)) if rescaled else (0.0, 1.0)
    rows, columns = np.nonzero(~np.isnan(visible))
    values = (visible[rows, columns] - mean) / size
    frame = pd.DataFrame({"row": rows, "column": columns, "value": values})
    reader = Reader(rating_scale=(values.min(), values.max()))
    data = Dataset.load_from_df(frame, reader).build_full_trainset()
    model = SVD(n_factors=rank, random_state=1).fit(data)
    out = np.full(visible.shape, data.global_mean)
    i = np.array([data.to_raw_uid(k) for k in range(data.n_users)])
    j = np.array([data.to_raw_iid(k) for k in range(data.n_items)])
    low_rank = model.pu @ model.qi.T + model.bu[:, None] + model.bi
    out[np.ix_(i, j)] += low_rank
    return mean + size * np.clip(out, values.min(), values.max())


def neighbours(visible, count):
    """``KNNImputer``, which drops columns that are empty unless told otherwise."""
    return KNNImputer(n_neighbors=count, keep_empty_features=True).fit_transform(visible)


def searched(visible, fit, values, seed):
    """Fit with the value that is best on a tenth of the visible entries."""
    seen = ~np.isnan(visible)
    # Not the generator that hid the entries: its numbers would pick none of the visible ones.
    hold = seen & (np.random.default_rng([seed, 1]).random(visible.shape) < 0.1)
    part = np.where(hold, np.nan, visible)
    errors = [rmse(fit(part, value), visible, hold) for value in values]
    best = values[int(np.argmin(np.nan_to_num(errors, nan=np.inf)))]
    return fit(visible, best), best


def contenders(visible, seed, options):
    """Method by name: a function that returns a completed matrix and a note."""
    ranks = sorted({min(rank, *visible.shape) for rank in RANKS})

    def ours():
        model = completion.DLNCompletion(random_state=seed)
        return model.fit_transform(visible), model.rank_

    def biases():
        return _complete.fit_biases(visible, ~np.isnan(visible)).matrix(), 0

    grid = list(itertools.product(ranks, RIDGES))
    methods = {
        "DLNCompletion": ours,
        "FixedRankEmbedded": lambda: searched(
            visible, lambda x, rank: fixed_rank(x, rank, seed, options.seconds), ranks, seed
        ),
        "CMF": lambda: searched(visible, collective, grid, seed),
        "SVD": lambda: searched(
            visible, stochastic, list(itertools.product(ranks, (False, True))), seed
        ),
        "KNNImputer": lambda: searched(visible, neighbours, NEIGHBOURS, seed),
        "biases": biases,
    }
    if len(visible) > options.knn_rows:
        del methods["KNNImputer"]
    return {name: method for name, method in methods.items() if installed(name)}


def installed(name):
    """Whether the package of a set or a method is here."""
    return importlib.util.find_spec(PACKAGES.get(name, "sklearn")) is not None


def compare(name, truth, options):
    """Mean error and total time over the seeds."""
    errors, times, notes = {}, {}, {}
    for seed in range(options.seeds):
        hidden = np.random.default_rng(seed).random(truth.shape) < options.missing
        visible = np.where(hidden, np.nan, truth)
        for method, run in contenders(visible, seed, options).items():
            begin = time.perf_counter()
            completed, note = run()
            times[method] = times.get(method, 0.0) + time.perf_counter() - begin
            errors.setdefault(method, []).append(rmse(completed, truth, hidden))
            notes.setdefault(method, []).append(note)
            print(f"{name}, seed {seed}: {method} {errors[method][-1]:.5g}", file=sys.stderr)
    mean = {method: float(np.mean(values)) for method, values in errors.items()}
    for method in errors:
        print(
            f"{mean[method] / mean['DLNCompletion']:10.3f}"
            f"{times[method] / times['DLNCompletion']:10.2f}{mean[method]:12.5g}"
            f"{times[method]:9.2f}  {name:13}{method:18}{notes[method]}",
            flush=True,
        )


def main() -> None:
    """Print the table, ratios first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--missing", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--every", type=int, default=1, help="keep every so many rows")
    parser.add_argument("--seconds", type=float, default=60, help="cap of one pymanopt run")
    parser.add_argument("--knn-rows", type=int, default=5000)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{options.missing:.0%} hidden, {options.seeds} seeds; mean RMSE, total seconds; ratios")
    print("are to DLNCompletion; last: rank, or the value that the search chose, per seed")
    print(f"{'RMSE':>10}{'time':>10}{'RMSE':>12}{'seconds':>9}  {'set':13}{'method':18}")
    for name in (name for name in PACKAGES if not installed(name)):
        print(f"{name}: skipped, {PACKAGES[name]} is not installed")
    for name in options.sets:
        if not installed(name):
            continue
        compare(name, SETS[name]()[:: options.every], options)


if __name__ == "__main__":
    main()
