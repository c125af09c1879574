"""Completion of ratings against cmfrec and scikit-surprise, on five folds of MovieLens 100k.

The ratings are those inside the package recbole, which need not be imported (``pip install
--no-deps recbole``), or a file of triples ``user item rating`` given by ``--path``.  Without
either, ratings are drawn: 600 users and 800 items whose popularity falls as one over their rank,
a mean of 3.5, biases of users and items with deviations 0.4 and 0.5, tastes of rank five with
deviation 0.4, noise 0.8, rounded to one to five; 40,000 of them.

The folds are those of ``KFold(random_state=0)`` of surprise, with which its authors' table of
default parameters is made, so that its figures for MovieLens 100k can stand beside these.  Methods:

* ``DLNCompletion`` with default parameters, and with ``depth="auto", clip=True``;
* ``SVD`` of surprise with default parameters, and by its own ``GridSearchCV``; ``SVDpp``,
  ``KNNBaseline`` and ``BaselineOnly`` with default parameters;
* ``CMF`` of cmfrec with default parameters, and with the rank and the ridge that are best on a
  tenth of the training ratings, since it has no search of its own.

The seconds are CPU time and include the search.  A package that is not installed is named.  One
BLAS thread.

Run ``python tests/benchmarks/ratings.py``; ``--help`` lists the options.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"))

import numpy as np
import pandas as pd
from scipy import sparse

from dlngeom.completion import DLNCompletion

RANKS = (5, 10, 20, 50)
RIDGES = (5.0, 10.0, 20.0)
GRID = {"n_factors": [20, 100], "n_epochs": [20, 40], "reg_all": [0.02, 0.05, 0.1]}


class Ratings(NamedTuple):
    """Numbers of users and items, and what the ones gave the others."""

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray

    def part(self, places: np.ndarray) -> Ratings:
        """Some of them."""
        return Ratings(*(column[places] for column in self))

    def matrix(self, shape: tuple[int, int]) -> sparse.coo_array:
        """Sparse matrix whose stored entries are observed."""
        return sparse.coo_array((self.values, (self.users, self.items)), shape=shape)


def packaged() -> Path | None:
    """File of MovieLens 100k inside recbole, which is found and not imported."""
    found = importlib.util.find_spec("recbole")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0]) / "dataset_example" / "ml-100k"
    return folder / "ml-100k.inter" if (folder / "ml-100k.inter").is_file() else None


def read(path: Path) -> Ratings:
    """Triples from a file, with or without a header."""
    with path.open(encoding="utf-8") as stream:
        first = stream.readline().strip()
    separator = re.search(r"\t|::|[,;| ]", first)
    if separator is None:
        raise SystemExit(f"{path}: {first!r} is not user, item, rating cut at a tab, :: or ,;|")
    cells = first.split(separator[0])
    has_header = not cells[2].replace(".", "", 1).isdigit()
    frame = pd.read_csv(
        path, sep=separator[0], engine="c" if len(separator[0]) == 1 else "python",
        header=0 if has_header else None, dtype={0: str, 1: str},
    )  # fmt: skip
    codes = (pd.factorize(frame.iloc[:, k])[0] for k in (0, 1))
    return Ratings(*codes, frame.iloc[:, 2].to_numpy(float))


def drawn() -> Ratings:
    """Ratings of rank five with biases and noise, as described above."""
    rng = np.random.default_rng(0)
    m, n, rank, count = 600, 800, 5, 40_000
    popular = np.outer(1 / (10 + np.arange(m)), 1 / (10 + np.arange(n))).ravel()
    places = rng.choice(m * n, size=count, replace=False, p=popular / popular.sum())
    users, items = np.divmod(places, n)
    left, right = rng.normal(size=(m, rank)), rng.normal(size=(n, rank))
    tastes = 0.4 / np.sqrt(rank) * np.sum(left[users] * right[items], axis=1)
    biases = 3.5 + 0.4 * rng.normal(size=m)[users] + 0.5 * rng.normal(size=n)[items]
    noisy = biases + tastes + 0.8 * rng.normal(size=count)
    return Ratings(users, items, np.clip(np.round(noisy), 1, 5))


def folds(count: int, parts: int) -> list[np.ndarray]:
    """Places of each fold, the same as of ``KFold(parts, random_state=0)`` of surprise."""
    order = np.arange(count)
    # The legacy generator, since the published table was made with it.
    np.random.RandomState(0).shuffle(order)
    return np.array_split(order, parts)


def ours(train: Ratings, test: Ratings, shape: tuple[int, int], **parameters):
    """Predictions of ``DLNCompletion``, and what it chose."""
    model = DLNCompletion(random_state=0, **parameters).fit(train.matrix(shape))
    return model.predict(test.users, test.items), f"depth {model.depth_}, rank {model.rank_}"


def collective(train: Ratings, test: Ratings, shape: tuple[int, int], **parameters):
    """Predictions of ``CMF`` of cmfrec."""
    from cmfrec import CMF

    model = CMF(nthreads=1, verbose=False, random_state=1, **parameters).fit(train.matrix(shape))
    return model.predict(user=test.users, item=test.items), ""


def collective_searched(train: Ratings, test: Ratings, shape: tuple[int, int]):
    """The same with the rank and ridge that are best on a tenth of the training ratings."""
    held_out = np.random.default_rng(0).random(len(train.values)) < 0.1
    part, rest = train.part(held_out), train.part(~held_out)
    grid = [{"k": k, "lambda_": ridge} for k, ridge in itertools.product(RANKS, RIDGES)]
    found = [rmse(collective(rest, part, shape, **x)[0], part.values) for x in grid]
    best = grid[int(np.argmin(found))]
    return collective(train, test, shape, **best)[0], f"{best}"


def surprised(train: Ratings, test: Ratings, name: str, searched: bool = False, **parameters):
    """Predictions of an algorithm of surprise, by its own search over ``GRID`` if wanted."""
    import surprise
    from surprise.model_selection import GridSearchCV

    kind = getattr(surprise, name)
    reader = surprise.Reader(rating_scale=(train.values.min(), train.values.max()))
    frame = pd.DataFrame(train._asdict())
    data = surprise.Dataset.load_from_df(frame, reader)
    note = ""
    if searched:
        grid = GRID | {key: [value] for key, value in parameters.items()}
        search = GridSearchCV(kind, grid, measures=["rmse"], cv=3)
        search.fit(data)
        parameters = search.best_params["rmse"]
        note = ", ".join(f"{key}={parameters[key]}" for key in GRID)
    model = kind(**parameters)
    model.fit(data.build_full_trainset())
    found = model.test(list(zip(*test, strict=True)))
    return np.array([x.est for x in found]), note


def rmse(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square error."""
    return float(np.sqrt(np.mean((predicted - truth) ** 2)))


def methods(shape: tuple[int, int]) -> dict:
    """Method by name: training and test ratings to predictions and a note."""
    quiet = {"verbose": False}
    return {
        "DLNCompletion": lambda a, b: ours(a, b, shape),
        "DLNCompletion, auto": lambda a, b: ours(a, b, shape, depth="auto", clip=True),
        "CMF": lambda a, b: collective(a, b, shape),
        "CMF, searched": lambda a, b: collective_searched(a, b, shape),
        "SVD": lambda a, b: surprised(a, b, "SVD", random_state=0),
        "SVD, searched": lambda a, b: surprised(a, b, "SVD", searched=True, random_state=0),
        "SVDpp": lambda a, b: surprised(a, b, "SVDpp", random_state=0, cache_ratings=True),
        "KNNBaseline": lambda a, b: surprised(
            a, b, "KNNBaseline", **quiet, bsl_options={"method": "als"}, sim_options=quiet
        ),
        "BaselineOnly": lambda a, b: surprised(a, b, "BaselineOnly", **quiet),
    }


def compare(ratings: Ratings, options: argparse.Namespace) -> None:
    """Print errors and times of every method, ratios to ours first."""
    shape = (int(ratings.users.max()) + 1, int(ratings.items.max()) + 1)
    parts = folds(len(ratings.values), options.folds)
    first = 0.0
    for name in options.methods:
        package = "cmfrec" if "CMF" in name else "dlngeom" if "DLN" in name else "surprise"
        if importlib.util.find_spec(package) is None:
            print(f"{name}: skipped, {package} is not installed")
            continue
        errors, notes, begin = [], [], time.process_time()
        for k in range(options.first or options.folds):
            # In the order of surprise, whose steps depend on it.
            train = ratings.part(np.concatenate(parts[:k] + parts[k + 1 :]))
            test = ratings.part(parts[k])
            predicted, note = methods(shape)[name](train, test)
            error = predicted - test.values
            errors.append((np.sqrt(np.mean(error**2)), np.mean(np.abs(error))))
            notes.append(note)
            print(f"{name}, fold {k + 1}: {errors[-1][0]:.4f} {note}", file=sys.stderr, flush=True)
        seconds = time.process_time() - begin
        square, absolute = np.mean(errors, axis=0)
        first = first or square
        print(
            f"{square / first:8.3f}{square:9.4f}{absolute:9.4f}{seconds:9.1f}  {name:22}"
            f"{'; '.join(dict.fromkeys(filter(None, notes)))}", flush=True,
        )  # fmt: skip


def main() -> None:
    """Print the table."""
    names = list(methods((1, 1)))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", type=Path, help="file of triples: user, item, rating")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--first", type=int, help="of the folds, only so many")
    parser.add_argument("--methods", nargs="+", choices=names, default=names)
    options = parser.parse_args()
    path = options.path or packaged()
    ratings = drawn() if path is None else read(path)
    print("ratings that are drawn: recbole is not installed" if path is None else path.name)
    sizes = [len(np.unique(x)) for x in (ratings.users, ratings.items)]
    print(f"{len(ratings.values)} ratings of {sizes[1]} items by {sizes[0]} users")
    print(f"{'ratio':>8}{'RMSE':>9}{'MAE':>9}{'CPU s':>9}  {options.folds} folds")
    compare(ratings, options)


if __name__ == "__main__":
    main()
