"""Completion of tables with features in their columns, against scikit-learn's imputers.

``DLNCompletion`` with default parameters against the best of ``SimpleImputer``, ``KNNImputer`` and
``IterativeImputer`` of twenty rounds; the best is chosen on the hidden entries themselves, which
favours it.  Tables as they are and with each column standardised, a tenth and three tenths of the
entries hidden, errors averaged over the seeds.  One BLAS thread.

Run ``python tests/benchmarks/tables.py``; ``--help`` lists the options.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"))

import numpy as np
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from dlngeom.completion import DLNCompletion


def sensor() -> np.ndarray:
    """Four sensors of one oscillation, 300 times."""
    noise = 0.1 * np.random.default_rng(0).normal(size=(300, 4))
    return np.sin(np.linspace(0, 20, 300))[:, None] * np.array([1, 2, 3, 4]) + 20 + noise


def mixture() -> np.ndarray:
    """Four clusters in eight dimensions."""
    rng = np.random.default_rng(1)
    centres = 3 * rng.normal(size=(4, 8))
    return centres[rng.integers(4, size=250)] + rng.normal(size=(250, 8))


def heavy() -> np.ndarray:
    """Two factors and noise with heavy tails, in six units."""
    rng = np.random.default_rng(3)
    factors = rng.standard_t(2.5, size=(300, 2)) @ rng.normal(size=(2, 6))
    units = np.array([1, 10, 100, 1, 0.1, 1])
    return (factors + 0.3 * rng.standard_t(2.5, size=(300, 6))) * units + 5


def answers() -> np.ndarray:
    """Answers from one to five to twelve questions."""
    rng = np.random.default_rng(2)
    found = 3 + rng.normal(size=(200, 2)) @ rng.normal(size=(2, 12))
    return np.clip(np.round(found + 0.7 * rng.normal(size=found.shape)), 1, 5)


TABLES = {
    "wine": lambda: load_wine().data,
    "diabetes": lambda: load_diabetes().data,
    "sensor": sensor,
    "iris": lambda: load_iris().data,
    "mixture": mixture,
    "heavy": heavy,
    "answers": answers,
}


def peers() -> dict:
    """scikit-learn's imputers by name."""
    return {
        "SimpleImputer": SimpleImputer(keep_empty_features=True),
        "KNNImputer": KNNImputer(keep_empty_features=True),
        "IterativeImputer": IterativeImputer(max_iter=20, keep_empty_features=True, random_state=0),
    }


def errors(truth: np.ndarray, missing: float, seeds: int) -> tuple[dict, dict]:
    """Mean error on the hidden entries, and seconds, of every method."""
    found: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    for seed in range(seeds):
        hidden = np.random.default_rng(seed).random(truth.shape) < missing
        visible = np.where(hidden, np.nan, truth)
        for name, method in {"ours": DLNCompletion(random_state=seed), **peers()}.items():
            begin = time.perf_counter()
            completed = method.fit_transform(visible)
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begin
            error = float(np.sqrt(np.mean((completed - truth)[hidden] ** 2)))
            found.setdefault(name, []).append(error)
    return {name: float(np.mean(values)) for name, values in found.items()}, seconds


def main() -> None:
    """Print the table, ratios first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print("RMSE of DLNCompletion over the best of scikit-learn's imputers; time over that one's")
    ratios = []
    for name in options.tables:
        raw = TABLES[name]()
        for kind, truth in (("raw", raw), ("standardised", (raw - raw.mean(0)) / raw.std(0))):
            for missing in (0.1, 0.3):
                found, seconds = errors(truth, missing, options.seeds)
                ours = found.pop("ours")
                best = min(found, key=lambda method: found[method])
                ratios.append(ours / found[best])
                print(
                    f"{ratios[-1]:8.3f}{seconds['ours'] / seconds[best]:8.2f}{ours:12.4g}  "
                    f"{name:10}{kind:14}{missing:.0%}  {best}", flush=True,
                )  # fmt: skip
    print(f"{np.exp(np.mean(np.log(ratios))):8.3f} geometric mean, {max(ratios):.3f} largest")


if __name__ == "__main__":
    main()
