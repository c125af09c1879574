"""Checkpoints: what a run leaves on disk, and that no kill, damage or mix-up changes a result."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import dlngeom
from dlngeom import DeepLinearNetwork
from dlngeom.langevin import (
    LangevinError,
    brownian_motion,
    kinetic_langevin,
    network_langevin,
    riemannian_langevin,
)
from dlngeom.langevin._engine import _checkpoints, _files, _same_call
from tests.helpers import langevin_cases as cases
from tests.helpers.parameters import slow
from tests.helpers.trees import same

pytest.importorskip("zarr")

SPACE = DeepLinearNetwork((2, 3, 2))
POINT = SPACE.random_point(1)
RUN = {"energy_gradient": cases.quadratic, "beta": 2.0, "kappa": 0.5, "duration": 0.2}
RUN |= {"n_steps": 20, "save_every": 3, "n_chains": 130, "rng": 3}


def same_run(one, two):
    return same(*((run.points, *run.observed.values()) for run in (one, two)))


@pytest.mark.usefixtures("small_groups")
def test_a_checkpoint_changes_nothing(tmp_path):
    plain = riemannian_langevin(SPACE, POINT, **RUN)
    folder = tmp_path / "deep" / "run"
    kept = riemannian_langevin(SPACE, POINT, checkpoint=folder, **RUN)
    assert same_run(plain, kept)
    names = {"run.json", "start.npz", "lock", "draws.zarr", "chains-00000000.state"}
    names |= {"chains-00000064.state", "chains-00000128.state"}
    assert {x.name for x in folder.iterdir()} == names
    # The same call again computes nothing.
    options = {**RUN, "energy_gradient": cases.quadratic}
    assert same_run(plain, riemannian_langevin(SPACE, POINT, checkpoint=str(folder), **options))
    with ThreadPoolExecutor(2) as pool:
        run = riemannian_langevin(SPACE, POINT, checkpoint=tmp_path / "pool", pool=pool, **RUN)
    assert same_run(plain, run)


def test_other_samplers_have_checkpoints_too(tmp_path):
    options = {"duration": 0.1, "n_steps": 5, "rng": 2, "n_chains": 3}
    W = dlngeom.dense(POINT)
    calls = [
        lambda **more: brownian_motion(SPACE, W, **options, **more),
        lambda **more: network_langevin(dlngeom.factors(POINT), beta=2.0, **options, **more),
        lambda **more: riemannian_langevin(
            DeepLinearNetwork((2, 2, 2)), DeepLinearNetwork((2, 2, 2)).random_point(0),
            beta=2.0, adjust=True, **options, **more,
        ),
        lambda **more: kinetic_langevin(SPACE, POINT, beta=2.0, friction=1.0, **options, **more),
    ]  # fmt: skip
    for i, call in enumerate(calls):
        for _ in range(2):
            assert same_run(call(), call(checkpoint=tmp_path / str(i)))


def stop_after(count):
    """Gradient that fails after some calls, as an interruption would."""
    calls = []

    def quadratic(W):
        calls.append(1)
        if len(calls) > count:
            raise KeyboardInterrupt
        return cases.quadratic(W)

    quadratic.__qualname__ = cases.quadratic.__qualname__
    return quadratic


@pytest.mark.parametrize(
    ("interval", "chunk"), [(0.0, 2**24), (100.0, 2**24), slow(0.0, 1), slow(100.0, 1)]
)
def test_interrupted_runs_resume_to_the_bit(interval, chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoints, "_INTERVAL", interval)
    monkeypatch.setattr(_checkpoints, "_CHUNK", chunk)
    for count in (0, 4, 16, 30):
        options = {**RUN, "energy_gradient": stop_after(count), "checkpoint": tmp_path / "run"}
        with pytest.raises(KeyboardInterrupt):
            riemannian_langevin(SPACE, POINT, **options)
    run = riemannian_langevin(SPACE, POINT, checkpoint=tmp_path / "run", **RUN)
    assert same_run(run, riemannian_langevin(SPACE, POINT, **RUN))


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from tests.helpers import langevin_cases as cases
from dlngeom import DeepLinearNetwork
from dlngeom.langevin import riemannian_langevin
space = DeepLinearNetwork((2, 3, 2))
run = riemannian_langevin(
    space, space.random_point(1), energy_gradient=cases.quadratic, beta=2.0, kappa=0.5,
    duration=4.0, n_steps={steps}, save_every=7, n_chains=130, rng=3, checkpoint={folder!r},
)
run.points.lam.tofile({result!r})
"""


@pytest.mark.slow
def test_a_process_killed_many_times_loses_nothing(tmp_path):
    folder, result, steps = tmp_path / "run", tmp_path / "lam", 2_500
    script = SCRIPT.format(
        root=str(Path(__file__).parents[2]), steps=steps, folder=str(folder), result=str(result)
    )
    rng, progress = np.random.default_rng(0), []
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", script])
        # From before the folder exists to the middle of a write.
        time.sleep(rng.uniform(0.3, 3.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not result.exists(), "the run is too short to be killed so often"
        progress.append(len(list(folder.glob("*.state"))))
    assert progress[-1] > 0
    subprocess.run([sys.executable, "-c", script], check=True, timeout=900)
    options = {**RUN, "duration": 4.0, "n_steps": steps, "save_every": 7}
    plain = riemannian_langevin(SPACE, POINT, **options)
    assert np.array_equal(np.fromfile(result), plain.points.lam.ravel())


@pytest.fixture(scope="module")
def kept_folder(tmp_path_factory):
    kept = tmp_path_factory.mktemp("checkpoint") / "run"
    riemannian_langevin(SPACE, POINT, checkpoint=kept, **RUN)
    return kept


@pytest.fixture
def folder(kept_folder, tmp_path):
    return shutil.copytree(kept_folder, tmp_path / "run")


def resume(folder, **changes):
    return riemannian_langevin(SPACE, POINT, checkpoint=folder, **{**RUN, **changes})


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"n_steps": 21}, "n_steps=20, this one has 21"),
        ({"rng": 4}, "rng="),
        ({"beta": 3.0}, "beta=2.0, this one has 3.0"),
        ({"kappa": 1.0}, "kappa=0.5"),
        ({"save_every": 1}, "chunk=|draws=|save_every="),
        ({"observe": {"R2": cases.layer_norms}}, "observe="),
        ({"energy_gradient": cases.identity}, "energy_gradient='quadratic'"),
        ({"n_chains": 200}, "point="),
    ],
)
def test_checkpoints_of_other_calls_are_refused(folder, changes, name):
    with pytest.raises(ValueError, match=f"run.json belongs to a call with ({name})"):
        resume(folder, **changes)


def scaled(factor):
    """Functions that differ in what they hold, and not by name."""
    return lambda x: factor * (x.lam if hasattr(x, "lam") else x)


@pytest.mark.parametrize("adjust", [False, True])
def test_functions_of_one_name_are_told_apart(adjust, tmp_path):
    space = DeepLinearNetwork((2, 2, 2))
    options = {"beta": 2.0, "duration": 0.1, "n_steps": 4, "rng": 1, "n_chains": 5}
    options |= {"checkpoint": tmp_path / "run", "adjust": adjust}
    if adjust:
        options["energy"] = cases.half_squared
    start = space.random_point(0)

    def run(gradient, observe):
        return riemannian_langevin(
            space, start, energy_gradient=gradient, observe={"lam": observe}, **options
        )

    first = run(scaled(1.0), scaled(1.0))
    assert same_run(first, run(scaled(1.0), scaled(1.0)))
    with pytest.raises(ValueError, match="trial step="):
        run(scaled(3.0), scaled(1.0))
    with pytest.raises(ValueError, match="first draw="):
        run(scaled(1.0), scaled(2.0))


def renamed(W):
    """The values of ``cases.quadratic`` under another name."""
    return cases.quadratic(W)


@pytest.mark.parametrize(
    "gradient", [renamed, cases.Quadratic(), lambda W: cases.quadratic(W).tolist()]
)
def test_functions_of_equal_values_are_the_same_whatever_their_name(gradient, folder):
    first = resume(folder)
    assert same_run(first, resume(folder, energy_gradient=gradient))


def test_energies_of_equal_values_are_the_same_whatever_their_name(tmp_path):
    space = DeepLinearNetwork((2, 2, 2))
    options = {"beta": 2.0, "duration": 0.1, "n_steps": 4, "rng": 1, "adjust": True}
    start = space.random_point(0)

    def run(energy):
        return riemannian_langevin(
            space, start, energy=energy, checkpoint=tmp_path / "run", **options
        )

    first = run(cases.half_squared)
    assert same_run(first, run(lambda W: cases.half_squared(W)))
    with pytest.raises(ValueError, match="trial step="):
        run(lambda W: cases.half_squared(W) + 0.01)


@pytest.mark.parametrize("name", ["point/0", "first draw/0", "trial step/1"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_rounding_of_another_processor_is_no_other_call(name, dtype, tmp_path):
    """The same decomposition ends in other last bits there."""
    to_dtype = [x.astype(dtype) for x in (POINT.lam, *POINT.q)]
    point = POINT._replace(lam=to_dtype[0], q=tuple(to_dtype[1:]))
    options = {"beta": 2.0, "duration": 0.2, "n_steps": 5, "rng": 3, "n_chains": 70}

    def run():
        return riemannian_langevin(SPACE, point, checkpoint=tmp_path / "run", **options)

    first, path = run(), tmp_path / "run" / "start.npz"
    whole = _files.read_sealed(path)
    noise = np.random.default_rng(0).standard_normal(whole[name].shape).astype(dtype)
    for scale in (1, 10):
        noisy = whole[name] + scale * np.finfo(dtype).eps * noise
        assert not np.array_equal(noisy, whole[name])
        _files.write_sealed(path, whole | {name: noisy})
        assert same_run(first, run())
    tolerance = np.finfo(dtype).eps ** (2 / 3)
    for scale in (3 * tolerance, 1e-2):
        changed = whole[name].copy()
        changed.flat[-1] += scale * np.max(np.abs(changed))
        _files.write_sealed(path, whole | {name: changed})
        with pytest.raises(ValueError, match=f"belongs to a call with {name[:-2]}=.*, this one"):
            run()


def test_values_that_are_not_finite_must_be_the_same():
    stored = [np.array([np.nan, np.inf, 1.0, 0.0])]
    assert _same_call._difference(stored, [stored[0].copy()]) is None
    for i, value in enumerate((0.0, np.nan, np.inf, -np.inf)):
        changed = stored[0].copy()
        changed[i] = value
        assert _same_call._difference(stored, [changed]) is not None
    assert _same_call._difference([np.arange(3)], [np.array([0, 1, 3])]) == (2, 3)
    assert _same_call._difference([np.arange(3)], [np.arange(3.0)]) is not None


def test_a_folder_may_be_left_and_is_locked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    resume("run")
    assert (tmp_path / "run" / "run.json").is_file()
    lock = _checkpoints._lock(tmp_path / "run")
    with pytest.raises(ValueError, match="another process is running it"):
        resume("run")
    lock.close()
    resume("run")


def test_foreign_folders_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="it exists and is no checkpoint"):
        resume(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(ValueError, match="it exists and is no checkpoint"):
        resume(tmp_path / "notes.txt")
    (tmp_path / "run.json").write_text(json.dumps({"format": "another"}))
    with pytest.raises(ValueError, match=r"run\.json is no checkpoint of this version"):
        resume(tmp_path)


RACE = """
import sys
sys.path.insert(0, {root!r})
from tests.langevin.test_checkpoints import RUN, SPACE, POINT
from dlngeom.langevin import riemannian_langevin
import time
time.sleep({start} - time.time())
try:
    riemannian_langevin(SPACE, POINT, checkpoint={folder!r}, **RUN)
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_processes_that_start_one_checkpoint_at_once_do_not_destroy_it(tmp_path):
    plain = riemannian_langevin(SPACE, POINT, **RUN)
    root, folder = str(Path(__file__).parents[2]), str(tmp_path / "run")
    script = RACE.format(root=root, folder=folder, start=time.time() + 8)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    race = [subprocess.Popen([sys.executable, "-c", script], **options) for _ in range(4)]
    said = [process.communicate()[0] for process in race]
    assert all(not x or "another process is running it" in x for x in said), said
    assert "" in said
    assert same_run(plain, riemannian_langevin(SPACE, POINT, checkpoint=folder, **RUN))


@pytest.mark.parametrize("name", ["lock", "run.json.writing"])
def test_links_are_not_followed(name, tmp_path):
    """A link in the folder would empty what it points to."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "precious")
    with pytest.raises(ValueError, match=f"{name} is a link"):
        resume(tmp_path / "run")
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_finished_checkpoint_is_read_where_nothing_can_be_written(tmp_path, monkeypatch):
    first = resume(tmp_path / "run")

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    assert same_run(first, resume(tmp_path / "run"))


def test_a_full_disk_is_said_with_the_way_on(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match=r"the disk of .*run is full: .* repeat the call"):
        resume(tmp_path / "run")
    monkeypatch.undo()
    resume(tmp_path / "run")


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.usefixtures("small_groups")
def test_damaged_files_are_refused_by_name(tmp_path):
    folder = tmp_path / "run"
    resume(folder)
    state = folder / "chains-00000064.state"
    whole = state.read_bytes()
    damage(state)
    with pytest.raises(ValueError, match=r"chains-00000064\.state is damaged"):
        resume(folder)
    state.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ValueError, match=r"chains-00000064\.state is damaged"):
        resume(folder)
    state.write_bytes(whole)
    resume(folder)
    damage(folder / "start.npz")
    with pytest.raises(ValueError, match=r"start\.npz is damaged"):
        resume(folder)
    (folder / "start.npz").unlink()
    with pytest.raises(ValueError, match=r"start\.npz is damaged"):
        resume(folder)
    (folder / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        resume(folder)


@pytest.mark.usefixtures("small_groups")
def test_damaged_draws_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoints, "_CHUNK", 1)
    resume(tmp_path / "run")
    chunks = [
        x
        for x in (tmp_path / "run" / "draws.zarr" / "array_0" / "c" / "1").rglob("*")
        if x.is_file()
    ]
    damage(chunks[2])
    with pytest.raises(ValueError, match=r"draws\.zarr: the chunk of chains 64 to 127, draws \d+"):
        resume(tmp_path / "run")
    os.remove(chunks[2])
    with pytest.raises(ValueError, match="is damaged"):
        resume(tmp_path / "run")


@pytest.mark.parametrize("name", ["zarr.json", "array_0/zarr.json", "array_2/zarr.json"])
def test_damaged_metadata_of_draws_are_refused_by_name(name, tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoints, "_CHUNK", 1)
    options = {"n_steps": 2, "n_chains": 3}
    resume(tmp_path / "run", **options)
    path = tmp_path / "run" / "draws.zarr" / name
    for content in (b"", b"{", b"[]", b'{"zarr_format": 7}', b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"draws\.zarr.* (is damaged|cannot be read)"):
            resume(tmp_path / "run", **options)
    path.unlink()
    with pytest.raises(ValueError, match=r"draws\.zarr.* (is damaged|cannot be read)"):
        resume(tmp_path / "run", **options)


@pytest.mark.usefixtures("small_groups")
def test_draws_that_vanished_are_refused_before_anything_is_written(tmp_path):
    """A run that goes on would write into what is not there."""
    folder = tmp_path / "run"
    resume(folder)
    shutil.rmtree(folder / "draws.zarr")
    (folder / "chains-00000128.state").unlink()
    with pytest.raises(ValueError, match=r"draws\.zarr is damaged"):
        resume(folder)


def test_what_a_diverging_run_computed_stays(tmp_path):
    big = POINT._replace(lam=40 * POINT.lam)
    options = {**RUN, "energy_gradient": cases.quartic, "checkpoint": tmp_path / "run"}
    with pytest.raises(LangevinError, match="what was computed stays in"):
        riemannian_langevin(SPACE, big, **options)
    with pytest.raises(LangevinError) as again:
        riemannian_langevin(SPACE, big, **options)
    assert again.value.trajectory.points.lam.shape[1] >= 1


def test_a_checkpoint_needs_a_seed_and_numpy(tmp_path):
    with pytest.raises(ValueError, match="rng=None with a checkpoint"):
        resume(tmp_path / "run", rng=None)
    torch = pytest.importorskip("torch")
    point = dlngeom.Frames(torch.asarray(POINT.lam), tuple(map(torch.asarray, POINT.q)))
    with pytest.raises(ValueError, match="it needs numpy arrays"):
        riemannian_langevin(
            SPACE, point, beta=1.0, duration=1.0, n_steps=2, rng=0, checkpoint=tmp_path / "run"
        )
