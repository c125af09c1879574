"""Results that do not fit into memory are refused with their size, before anything is computed."""

import numpy as np
import pytest

from dlngeom import DeepLinearNetwork, dense, factors
from dlngeom._lib import memory
from dlngeom.langevin import brownian_motion, network_langevin, riemannian_langevin
from dlngeom.quotients import Sphere
from dlngeom.thermodynamics import equilibrium

SPACE = DeepLinearNetwork((2, 3, 2))
POINT = SPACE.random_point(0)
RUN = {"duration": 1.0, "rng": 0, "beta": 2.0}
WALKS = {
    "downstairs": lambda **more: brownian_motion(SPACE, dense(POINT), **RUN, **more),
    "upstairs": lambda **more: riemannian_langevin(SPACE, POINT, **RUN, **more),
    "layers": lambda **more: network_langevin(factors(POINT), **RUN, **more),
    "sphere": lambda **more: brownian_motion(Sphere(3), np.float64(1.0), **RUN, **more),
}


@pytest.mark.parametrize("name", WALKS)
def test_trajectories_that_do_not_fit_are_refused_before_the_first_step(name, tmp_path):
    calls = []

    def watched(point):
        calls.append(1)
        return np.zeros((2, 100))

    options = {"n_steps": 10**12, "n_chains": 2, "observe": {"x": watched}}
    words = r"1000000000001 draws, for n_steps=1000000000000 and save_every=1, need "
    words += r".* GiB, and there are .*: raise save_every to \d+, start fewer chains or"
    for more in ({}, {"checkpoint": tmp_path / "run"}):
        with pytest.raises(ValueError, match=words):
            WALKS[name](**options, **more)
    assert len(calls) <= 4
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"n_chains=1000000000000 need .* start fewer chains"):
        WALKS[name](n_steps=1, n_chains=10**12)


def test_the_size_that_is_named_is_that_of_the_trajectory(monkeypatch):
    run = WALKS["upstairs"](n_steps=10, n_chains=3)
    size = memory.bytes_of((run.points, *run.observed.values())) + run.times.nbytes
    for limit, fits in ((3 * size, True), (size, False)):
        monkeypatch.setattr(memory, "available", lambda limit=limit: limit)
        if fits:
            WALKS["upstairs"](n_steps=10, n_chains=3)
        else:
            with pytest.raises(ValueError, match=r"raise save_every to (4|5), start") as caught:
                WALKS["upstairs"](n_steps=10, n_chains=3)
    every = int(str(caught.value).split("save_every to ")[1].split(",")[0])
    WALKS["upstairs"](n_steps=10, n_chains=3, save_every=every)


def test_samples_of_the_log_gas_that_do_not_fit_are_refused():
    good = {"d": 2, "depth": 2, "beta": 2.0, "rng": 0}
    for large in ({"n_draws": 10**12}, {"n_chains": 10**12}, {"d": 10**9}):
        with pytest.raises(
            ValueError, match=r"n_draws=.* of d=.* values need .* GiB, and there are"
        ):
            equilibrium.sample(**{**good, **large})


def test_the_memory_of_a_container_is_that_of_its_limit(tmp_path, monkeypatch):
    whole = memory.available()
    assert 2**28 < whole < 2**50
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_LIMITS", (str(tmp_path / "no file"), str(limit)))
    for text, expected in (("1048576\n", 2**20), ("max\n", None), ("", None)):
        limit.write_text(text)
        found = memory.available()
        assert found == expected if expected else found >= whole
    monkeypatch.delattr("os.sysconf")
    assert memory.available() == np.inf
