"""Chains on pools of processes and on a dask cluster: the same numbers, also if a worker dies."""

import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlngeom import DeepLinearNetwork
from dlngeom.langevin import LangevinError, brownian_motion, network_langevin, riemannian_langevin
from dlngeom.langevin._engine._groups import run as run_group
from dlngeom.quotients import Sphere
from tests.helpers import langevin_cases as cases
from tests.helpers.parameters import slow
from tests.helpers.trees import same

pytestmark = pytest.mark.usefixtures("small_groups")

SPACE = DeepLinearNetwork((2, 3, 2))
START = SPACE.random_point(20240213)
FRESH = multiprocessing.get_context("spawn")
# Eight blocks with streams of their own, in four tasks.
OPTIONS = {
    "energy_gradient": cases.quadratic, "beta": 2.0, "kappa": 0.5, "duration": 0.2,
    "n_steps": 10, "save_every": 5, "rng": 11, "n_chains": 512,
}  # fmt: skip


def simulate(**options):
    return riemannian_langevin(SPACE, START, **{**OPTIONS, **options})


def start_cluster(workers):
    distributed = pytest.importorskip("distributed")
    return distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        # Tests run side by side, and the default port is one for all.
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )


@pytest.fixture(scope="module")
def client():
    cluster = start_cluster(2)
    with cluster, cluster.get_client() as found:
        yield found


@pytest.mark.slow
def test_a_dask_cluster_changes_nothing(client):
    pool = client.get_executor()
    first = simulate(pool=pool)
    assert same((first.points, *first.observed.values()), _alone(simulate()))
    downstairs = {"duration": 0.1, "n_steps": 4, "rng": 2, "n_chains": 130, "beta": 2.0}
    W = SPACE.project(START)
    assert same(
        brownian_motion(SPACE, W, pool=pool, **downstairs).points,
        brownian_motion(SPACE, W, **downstairs).points,
    )
    layers = (np.eye(2), np.diag([1.0, 2.0]))
    assert same(
        network_langevin(layers, pool=pool, **downstairs).points,
        network_langevin(layers, **downstairs).points,
    )


def _alone(run):
    return (run.points, *run.observed.values())


@pytest.mark.slow
def test_a_killed_worker_costs_a_retry_and_no_result(client, tmp_path):
    mark = tmp_path / "killed"
    run = simulate(pool=client.get_executor(), energy_gradient=cases.DeadlyOnce(mark, after=7))
    assert mark.is_file()
    assert same(run.points, simulate().points)


@pytest.mark.slow
def test_a_killed_worker_goes_on_from_a_checkpoint(client, tmp_path):
    pytest.importorskip("zarr")
    mark = tmp_path / "killed"
    run = simulate(
        pool=client.get_executor(),
        energy_gradient=cases.DeadlyOnce(mark, after=7),
        checkpoint=tmp_path / "run",
    )
    assert mark.is_file()
    assert same(run.points, simulate().points)


@pytest.mark.slow
def test_chains_that_kill_every_worker_are_named(client):
    with pytest.raises(LangevinError, match="the pool died, DeadPoolError: chains 0 to 127"):
        simulate(pool=client.get_executor(), energy_gradient=cases.deadly)


@pytest.mark.slow
def test_four_workers_one_of_them_killed_from_outside():
    options = {"n_steps": 40, "duration": 0.5, "save_every": 20}
    serial = simulate(**options)
    cluster = start_cluster(4)
    with cluster, cluster.get_client() as client:
        pool = client.get_executor()
        assert same(simulate(pool=pool, **options).points, serial.points)
        victims = list(client.run(os.getpid).values())
        killer = threading.Thread(target=_kill_when_busy, args=(client, victims[0]))
        killer.start()
        # A gradient of another name, since dask may remember what it has computed.
        run = simulate(pool=pool, **{**options, "energy_gradient": cases.Leisurely()})
        killer.join()
        assert victims[0] not in client.run(os.getpid).values()
    assert same(run.points, serial.points)


def _kill_when_busy(client, pid):
    while sum(bool(x) for x in client.processing().values()) < 4:
        time.sleep(0.02)
    time.sleep(0.2)
    os.kill(pid, signal.SIGKILL)


def test_a_task_may_run_twice():
    seen = []

    class Pool:
        @staticmethod
        def map(function, tasks):
            seen.extend(tasks)
            assert function is run_group
            # The first result is lost, as with a worker that dies as it sends it.
            return [(function(task), function(task))[1] for task in tasks]

    options = {"n_steps": 4, "save_every": 2}
    assert same(simulate(pool=Pool(), **options).points, simulate(**options).points)
    assert len(seen) == 4


@pytest.mark.slow
def test_pools_of_multiprocessing():
    with FRESH.Pool(2) as pool:
        assert same(simulate(pool=pool).points, simulate().points)


@pytest.mark.parametrize("kind", ["futures", slow("multiprocessing")])
def test_a_dead_process_is_an_error_and_no_wait(kind):
    pool = ProcessPoolExecutor(2, FRESH) if kind == "futures" else FRESH.Pool(2)
    with pool, pytest.raises(LangevinError, match=r"the pool died, .* would resume, in a new pool"):
        simulate(pool=pool, energy_gradient=cases.deadly)


def test_what_a_task_raises_is_passed_on():
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyError, match="mine"):
        simulate(pool=pool, energy_gradient=cases.raising)


def closure(target):
    """A function inside a function."""

    def gradient(W):
        return W - target

    return gradient


class Locked:
    """A gradient, and a bound method, of an object that no other process can have."""

    def __init__(self):
        self.lock = threading.Lock()

    def gradient(self, W):
        return cases.quadratic(W)


@dataclass(frozen=True)
class LockedSphere(Sphere):
    """A space that does not pickle."""

    lock: Any = field(default_factory=threading.Lock)


class Local(cases.Quadratic):
    """Renamed, so that no module has it."""


Local.__qualname__ = "nowhere.Local"

ADJUSTED = {"adjust": True, "energy_gradient": None, "kappa": 1.0}
UNSENDABLE = {
    "lambda": ({"energy_gradient": lambda W: W}, "energy_gradient=<function <lambda>"),
    "closure": ({"energy_gradient": closure(cases.TARGET)}, "energy_gradient=<function closure"),
    "bound method": ({"energy_gradient": Locked().gradient}, "energy_gradient=<bound method"),
    "object": ({"energy_gradient": Local()}, "energy_gradient=<"),
    "observable": ({"observe": {"x": lambda x: x.lam}}, r"observe\['x'\]=<function <lambda>"),
    "energy": (ADJUSTED | {"energy": lambda W: W[:, 0, 0]}, "energy=<function <lambda>"),
}


@pytest.mark.parametrize("kind", ["futures", slow("multiprocessing")])
def test_what_cannot_be_sent_to_processes_is_named_with_the_cure(kind):
    space = DeepLinearNetwork((2, 2, 2))
    # A pool whose tasks cannot be sent starts no process.
    pool = ProcessPoolExecutor(2, FRESH) if kind == "futures" else FRESH.Pool(1)
    with pool:
        for options, words in UNSENDABLE.values():
            with pytest.raises(TypeError, match=rf"{words}.* at the top of a module .* threads"):
                riemannian_langevin(
                    space, space.random_point(0), pool=pool, **{**OPTIONS, **options}
                )
        sphere = LockedSphere(3)
        with pytest.raises(TypeError, match=r"space=LockedSphere.* at the top of a module"):
            riemannian_langevin(
                sphere, sphere.random_point(0), beta=1.0, duration=0.1, n_steps=1, rng=0, pool=pool
            )
    with ThreadPoolExecutor(1) as pool:
        simulate(pool=pool, energy_gradient=lambda W: W)


def test_errors_about_pickles_that_are_of_the_caller_are_passed_on():
    with ThreadPoolExecutor(1) as pool, pytest.raises(TypeError, match="my pickle"):
        simulate(pool=pool, energy_gradient=cases.Quadratic(), observe={"x": Stumbling(3)})


class Stumbling:
    """An observable that fails after some calls."""

    def __init__(self, calls):
        self.left = calls

    def __call__(self, point):
        self.left -= 1
        if self.left < 0:
            raise TypeError("my pickle")
        return point.lam


MPI = """
import numpy as np
from mpi4py.futures import MPIPoolExecutor
from dlngeom import DeepLinearNetwork
from dlngeom.langevin import riemannian_langevin

if __name__ == "__main__":
    space = DeepLinearNetwork((2, 3, 2))
    options = dict(beta=2.0, duration=0.1, n_steps=4, rng=2, n_chains=512)
    with MPIPoolExecutor() as pool:
        far = riemannian_langevin(space, space.random_point(0), pool=pool, **options)
    near = riemannian_langevin(space, space.random_point(0), **options)
    print(np.array_equal(far.points.lam, near.points.lam))
"""


@pytest.mark.slow
def test_mpi(tmp_path):
    pytest.importorskip("mpi4py.futures")
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if mpiexec is None:
        pytest.skip("no mpiexec")
    (tmp_path / "script.py").write_text(MPI)
    command = [mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["True"], done.stderr
