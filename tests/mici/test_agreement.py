"""Langevin equation, mici, blackjax and emcee draw from one law."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from tests.helpers import samplers
from tests.helpers.samplers import (
    COMPLETION,
    LOW_RANK,
    QUADRATIC,
    SAMPLERS,
    adjusted,
    effective,
    mici_nuts,
    observed,
)

pytest.importorskip("blackjax")
pytest.importorskip("emcee")
pytestmark = [
    pytest.mark.slow,
    # blackjax and emcee.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]
ALPHA = 1e-5
# Draws of each sampler; those of mici take milliseconds each.
COUNT = {
    "RLE": 3_200, "RLE adjusted": 3_200, "mici NUTS": 200, "blackjax NUTS": 2_000,
    "emcee": 16_000,
}  # fmt: skip


def thinned(W):
    """Singular values and traces, so far apart that they count as independent."""
    values = [*np.moveaxis(np.linalg.svdvals(W), -1, 0), observed(W)["trace"]]
    values = [x for x in values if np.max(x) > 1e-6]
    every = max(1, int(np.ceil(values[0].size / min(effective(x) for x in values))))
    # Along each chain, one after the other.
    return [x[:, ::every].ravel() if every <= x.shape[1] else x[:, -1] for x in values]


def smallest(found):
    """Smallest p-value of all pairs of samplers, times the number of tests."""
    pairs = [
        stats.ks_2samp(x, y).pvalue
        for one, two in combinations(found, 2)
        for x, y in zip(one, two, strict=True)
    ]
    return min(pairs) * len(pairs)


def draws(problem, names, seed=3, **counts):
    return {name: SAMPLERS[name](problem, (COUNT | counts)[name], seed).W for name in names}


def positive(W):
    """The draws of positive determinant, as one chain."""
    return W[np.linalg.det(W) > 0][None]


def without_entropy(problem):
    full = samplers.root_density(problem)

    def density(X):
        from dlngeom import thermodynamics

        W = thermodynamics.from_root(X, len(problem.widths) - 1)
        return -problem.beta / problem.kappa * problem.energy(W) + 0 * full(X)

    return density


def test_all_agree_at_odd_depth_and_the_mutant_does_not():
    found = {name: thinned(W) for name, W in draws(QUADRATIC, SAMPLERS).items()}
    assert smallest(found.values()) > ALPHA
    mutant = samplers.emcee_walk(QUADRATIC, 160_000, 3, without_entropy(QUADRATIC)).W
    right = samplers.emcee_walk(QUADRATIC, 160_000, 4).W
    assert smallest([thinned(mutant), thinned(right)]) < ALPHA


def test_all_agree_at_even_depth_on_one_sign_of_the_determinant():
    problem = QUADRATIC._replace(widths=(2, 2, 2), kappa=0.5, step=0.01)
    found = draws(problem, ("RLE", "mici NUTS", "blackjax NUTS", "emcee"))
    for name in ("RLE", "mici NUTS"):
        assert np.all(np.linalg.det(found[name]) > 0)
    for name in ("blackjax NUTS", "emcee"):
        assert 0.05 < np.mean(np.linalg.det(found[name]) < 0) < 0.6
        found[name] = positive(found[name])
    assert smallest([thinned(W) for W in found.values()]) > ALPHA


def test_ours_and_mici_agree_below_full_rank():
    found = draws(LOW_RANK, ("RLE", "RLE adjusted", "mici NUTS"), **{"mici NUTS": 80})
    assert smallest([thinned(W) for W in found.values()]) > ALPHA


def test_completions_agree_and_the_mutant_does_not():
    found = draws(COMPLETION, ("RLE", "blackjax NUTS"))
    # Steps of these two take longest.
    found["mici NUTS"] = mici_nuts(COMPLETION, 80, 3, warm=30).W
    found["RLE adjusted"] = adjusted(COMPLETION, 640, 3, burn=5.0).W
    assert smallest([thinned(W) for W in found.values()]) > ALPHA
    mutant = samplers.blackjax_nuts(COMPLETION, 2000, 3, without_entropy(COMPLETION)).W
    assert smallest([thinned(mutant), thinned(found["blackjax NUTS"])]) < ALPHA**2
