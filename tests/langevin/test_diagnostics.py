"""Diagnostics of chains: quantities that mean something, by arviz's own statistics."""

import numpy as np
import pytest

import dlngeom
from dlngeom import DeepLinearNetwork
from dlngeom.langevin import brownian_motion, network_langevin, riemannian_langevin
from dlngeom.quotients import HermitianSpectrum, Sphere
from tests.helpers import langevin_cases as cases

arviz_stats = pytest.importorskip("arviz_stats")

SPACE = DeepLinearNetwork((2, 2, 2))


def chains(start=None, chains=4, **options):
    given = {"energy_gradient": cases.quadratic, "beta": 4.0, "duration": 4.0, "n_steps": 80}
    start = SPACE.random_point(0) if start is None else start
    return riemannian_langevin(SPACE, start, rng=1, n_chains=chains, **{**given, **options})


def test_frames_have_no_diagnostics_and_what_lies_below_has():
    table = chains(observe={"norm": cases.layer_norms}).diagnostics(burn_in=10)
    assert set(table) == {"r_hat", "ess_bulk", "ess_tail", "mcse"}
    for data in table.values():
        assert set(data.data_vars) == {"end_to_end", "norm"}
        assert data["end_to_end"].shape == (2, 2)


def test_statistics_are_those_of_arviz_without_the_first_draws():
    from arviz_stats.base.array import array_stats

    run = chains()
    table = run.diagnostics(burn_in=20)
    x = run.observed["end_to_end"][:, 20:]
    axes = {"chain_axis": 0, "draw_axis": 1}
    assert np.array_equal(table["r_hat"]["end_to_end"], array_stats.rhat(x, **axes))
    assert np.array_equal(table["mcse"]["end_to_end"], array_stats.mcse(x, **axes))


@pytest.mark.parametrize("space", [Sphere(2), HermitianSpectrum(2)], ids=str)
def test_other_spaces_show_points_downstairs(space):
    run = riemannian_langevin(
        space, space.random_point(0), beta=2.0, duration=1.0, n_steps=20, rng=0, n_chains=2
    )
    assert set(run.diagnostics()["r_hat"].data_vars) == {"downstairs"}


def test_layers_and_factored_points_show_no_gauge_either():
    x = SPACE.random_point(0)
    options = {"beta": 2.0, "duration": 0.2, "n_steps": 10, "rng": 0, "n_chains": 2}
    run = network_langevin(dlngeom.factors(x), observe={}, **options)
    assert set(run.diagnostics()["r_hat"].data_vars) == {"end_to_end", "invariants_0"}
    svd = riemannian_langevin(SPACE.base, dlngeom.svd(dlngeom.dense(x)), observe={}, **options)
    assert set(svd.diagnostics()["r_hat"].data_vars) == {"end_to_end"}


def test_the_running_acceptance_is_no_quantity():
    run = chains(adjust=True, energy=cases.quadratic_energy, warmup=50)
    assert "acceptance" in run.observed
    assert set(run.diagnostics()["r_hat"].data_vars) == {"end_to_end"}


def test_too_long_a_burn_in_and_unknown_names_are_refused():
    run = chains(n_steps=10, duration=0.2)
    for burn_in in (-1, 8, 0.5):
        with pytest.raises(ValueError, match=f"burn_in={burn_in}"):
            run.diagnostics(burn_in)
    with pytest.raises(ValueError, match=r"names has 'lam': known are \['end_to_end'\]"):
        run.diagnostics(names=["lam"])


@pytest.mark.slow
def test_converged_chains_agree_and_chains_in_two_wells_do_not():
    run = chains(chains=16, duration=400.0, n_steps="auto", save_every=10, warmup=1000)
    assert run.diagnostics()["r_hat"]["end_to_end"].max() < 1.01
    # Depth two keeps the sign of the determinant: two wells, and no way between them.
    wells = (1.0, -1.0)
    lam, eye = np.ones((2, 2)), np.eye(2)
    signs = np.stack([np.diag([1.0, s]) for s in wells])
    flat = np.stack([eye, eye])
    start = dlngeom.Frames(lam, (flat, flat, signs))
    run = riemannian_langevin(
        SPACE, start, energy_gradient=cases.identity, beta=4.0, duration=50.0, n_steps="auto",
        rng=0, observe={"det": lambda x: np.linalg.det(dlngeom.dense(x))},
    )  # fmt: skip
    assert run.diagnostics(100)["r_hat"]["det"] > 1.1


def test_a_trajectory_shows_what_it_has_in_one_line():
    space = DeepLinearNetwork((2, 3, 2))
    options = {"duration": 1.0, "n_steps": 5, "beta": 2.0, "rng": 0, "n_chains": 3}
    shown = repr(brownian_motion(space, space.random_point(0), upstairs=True, **options))
    assert shown.startswith("<Trajectory of Frames: 3 chains, 6 draws, t=0 to 1, step_size=0.2")
    assert "end_to_end" in shown
    assert len(shown) < 200
