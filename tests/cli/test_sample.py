import contextlib
import csv
import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from dlngeom.cli import main
from tests.helpers.parameters import slow

FILES = ["draws.npz", "figure.png", "mean.npy", "quantile-05.npy", "quantile-95.npy"]
QUICK = ("--rank", 2, "--chains", 8, "--steps", 80)


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    from dlngeom.cli import _sample as sample

    if "slow" not in request.keywords:
        shorten(sample, monkeypatch)


def shorten(sample, patch):
    patch.setattr(sample, "MAX_ITERATIONS", 15)
    patch.setattr(sample, "MAX_RANK", 5)


def run(*arguments):
    return main(["sample", *map(str, arguments)])


def noisy_product(seed, shape=(30, 20), noise=0.1):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(shape[0], 2)) @ rng.normal(size=(2, shape[1]))
    return W, W + noise * rng.normal(size=shape), rng.random(shape) < 0.5


def save_data(folder):
    _, values, hidden = noisy_product(0, (14, 12))
    values = np.where(hidden, np.nan, values)
    np.save(folder / "data.npy", values)
    return folder / "data.npy"


@pytest.fixture
def data(tmp_path):
    return save_data(tmp_path)


class Done(NamedTuple):
    """Folder that a run has written, and what it has printed."""

    folder: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory):
    """One short run of seed five, of chains that no R-hat accepts."""
    from dlngeom.cli import _sample as sample

    folder, out, err = tmp_path_factory.mktemp("quick"), io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        shorten(sample, patch)
        patch.setattr(sample, "MIXED", 0.5)
        options = ("--output", folder / "out", "--seed", 5)
        assert run(save_data(folder), *QUICK, *options) == 0
    return Done(folder / "out", out.getvalue(), err.getvalue())


def number(text, label):
    return float(re.search(rf"^{re.escape(label)}\s+([\d.]+)", text, re.M)[1])


@pytest.mark.slow
@pytest.mark.usefixtures("blank_figures")
def test_intervals_hold_what_they_promise(tmp_path, capsys, monkeypatch):
    from dlngeom.cli import _sample as sample

    monkeypatch.setattr(sample, "MAX_ITERATIONS", 60)
    W, values, _ = noisy_product(2)
    np.save(tmp_path / "data.npy", values)
    arguments = ("--missing", 0.5, "--chains", 16, "--steps", 1000)
    assert run(tmp_path / "data.npy", *arguments, "--output", tmp_path / "out") == 0
    text = capsys.readouterr().out
    assert 85 <= number(text, "in the 90% predictive interval") <= 95
    mean, point = (number(text, f"RMSE of the {x}") for x in ("posterior mean", "point estimate"))
    assert mean < 1.02 * point
    assert float(re.search(r"noise ([\d.]+)", text)[1]) == pytest.approx(0.1, rel=0.2)
    assert "rank 2" in text
    low, high = (np.load(tmp_path / "out" / f"quantile-{q}.npy") for q in ("05", "95"))
    assert 0.8 <= np.mean((low < W) & (high > W)) <= 0.99


def test_files_agree_with_each_other(quick_run):
    out = quick_run.folder
    assert sorted(p.name for p in out.iterdir()) == FILES
    mean, low, high = (np.load(out / f"{x}.npy") for x in ("mean", "quantile-05", "quantile-95"))
    assert (low < high).all()
    assert np.mean((low < mean) & (mean < high)) > 0.99
    with np.load(out / "draws.npz") as draws:
        assert draws["energy"].shape == draws["singular_values"].shape[:2]
        assert draws["singular_values"].shape[0::2] == (8, 2)
        assert draws["matrices"].shape[1:] == (14, 12)
        assert len(draws["matrices"]) <= 200
        gap = np.abs(draws["matrices"].mean(axis=0) - mean)
        assert (gap < 0.5 * (high - low)).all()
    assert "posterior mean" in quick_run.out
    assert ("R-hat " in quick_run.out) != ("need arviz-stats" in quick_run.out)
    assert "chains" in quick_run.err  # the progress bar


@pytest.mark.usefixtures("blank_figures")
def test_without_arviz_there_is_no_rhat(data, tmp_path, monkeypatch, capsys):
    # Both: the package, imported while its part is barred, would stay without its functions.
    for name in ("arviz_stats", "arviz_stats.base"):
        monkeypatch.setitem(sys.modules, name, None)
    assert run(data, *QUICK, "--output", tmp_path / "out") == 0
    assert "need arviz-stats" in capsys.readouterr().out


@pytest.mark.usefixtures("blank_figures")
def test_csv_and_picture_come_back_in_their_format(tmp_path):
    _, values, hidden = noisy_product(3, (12, 10))
    rows = [
        ["" if h else repr(float(x)) for x, h in zip(*pair, strict=True)]
        for pair in zip(values, hidden, strict=True)
    ]
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    assert run(tmp_path / "a.csv", *QUICK, "--output", tmp_path / "a") == 0
    mean = np.loadtxt(tmp_path / "a" / "mean.csv", delimiter=",")
    np.testing.assert_allclose(mean, np.load(tmp_path / "a" / "mean.npy"), rtol=1e-8, atol=1e-8)
    grey = np.add.outer(np.linspace(0, 150, 20), 5 * np.arange(16) % 80)
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "b.png")
    assert run(tmp_path / "b.png", *QUICK, "--output", tmp_path / "b") == 0
    low = np.loadtxt(tmp_path / "a" / "quantile-05.csv", delimiter=",")
    assert (low < mean).all()
    assert (tmp_path / "b" / "quantile-95.png").exists()
    with Image.open(tmp_path / "b" / "mean.png") as image:
        assert image.size == (16, 20)


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize("depth", [slow(1), slow(2), 5])
def test_depths_kappa_and_beta(data, tmp_path, capsys, depth):
    arguments = (*QUICK, "--depth", depth, "--kappa", 0.5, "--beta", 50)
    assert run(data, *arguments, "--output", tmp_path / "out") == 0
    assert "noise 0.1, beta 50, kappa 0.5" in capsys.readouterr().out


@pytest.mark.usefixtures("blank_figures")
def test_same_seed_same_draws_and_units_do_not_matter(quick_run, data, tmp_path):
    np.save(tmp_path / "large.npy", 2.0**20 * np.load(data))
    expected, found = np.load(quick_run.folder / "quantile-95.npy"), []
    for name in ("data", "large"):
        out = tmp_path / f"out-{name}"
        assert run(tmp_path / f"{name}.npy", *QUICK, "--output", out, "--seed", 5) == 0
        found.append(np.load(out / "quantile-95.npy"))
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_allclose(found[1] / 2.0**20, expected, rtol=1e-6)


@pytest.mark.usefixtures("blank_figures")
def test_rows_with_few_entries_are_mentioned(tmp_path, capsys):
    _, values, hidden = noisy_product(4, (14, 12))
    values = np.where(hidden, np.nan, values)
    values[3] = np.nan
    np.save(tmp_path / "a.npy", values)
    assert run(tmp_path / "a.npy", *QUICK, "--output", tmp_path / "out") == 0
    assert "1 rows and 0 columns have fewer" in capsys.readouterr().out
    assert np.isfinite(np.load(tmp_path / "out" / "quantile-95.npy")).all()


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.skipif(not importlib.util.find_spec("xarray"), reason="needs xarray")
def test_checkpoint_is_passed_through(data, tmp_path):
    arguments = (*QUICK, "--checkpoint", tmp_path / "saved")
    for name in ("one", "two"):
        assert run(data, *arguments, "--output", tmp_path / name) == 0
    one, two = (np.load(tmp_path / name / "mean.npy") for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)
    assert any((tmp_path / "saved").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rank", 0), "0"),
        (("--rank", 13), "13"),
        (("--depth", 0), "0"),
        (("--depth", 101), "101"),
        (("--seed", -1), "seed=-1"),
        (("--steps", 39), "steps=39: it must be an integer of at least 40"),
        (("--chains", 0), "chains=0"),
        (("--chains", 1_000_000), "fewer chains"),
        (("--step-size", 1e6), "smaller --step-size"),
    ],
)
def test_values_out_of_range_end_with_code_2(data, tmp_path, capsys, arguments, message):
    assert run(data, *arguments, "--output", tmp_path / "out") == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in last
    assert "dlngeom sample: error:" in last
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--beta", "0"),
        ("--kappa", "-1"),
        ("--step-size", "inf"),
        ("--step-size", "big"),
        ("--burn-in", "1"),
        ("--solver", "trust-regions"),
    ],
)
def test_what_the_parser_refuses_ends_with_code_2(data, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        run(data, *arguments)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "error" in message
    assert len(message.strip().splitlines()) == 1


def test_matrices_without_noise_or_missing_entries_are_refused(tmp_path, capsys):
    for name, values, message in [
        ("constant", np.where(np.eye(6) > 0, np.nan, 7.0), "nothing to sample"),
        ("full", np.arange(12.0).reshape(3, 4), "no missing entry"),
    ]:
        np.save(tmp_path / f"{name}.npy", values)
        assert run(tmp_path / f"{name}.npy", "--output", tmp_path / "out") == 2
        printed = capsys.readouterr()
        assert message in printed.err
        assert len(printed.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("blank_figures")
def test_interruption_and_failure_leave_nothing_behind(data, tmp_path, monkeypatch, capsys):
    from dlngeom.cli import _posterior
    from dlngeom.cli._reading import Source

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    def fail(source, path, values):
        path.write_text("half")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(_posterior, "riemannian_langevin", interrupt)
        assert run(data, *QUICK, "--output", tmp_path / "out") == 130
    assert "dlngeom sample: interrupted" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(Source, "write", fail)
    assert run(data, *QUICK, "--output", tmp_path / "out") == 2
    assert "disk full" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help_is_quick_to_load_and_names_every_option():
    script = (
        "import sys; from dlngeom.cli import main\n"
        "try: main(['sample', '--help'])\n"
        "except SystemExit: assert 'numpy' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    for option in ("rank", "depth", "chains", "steps", "step-size", "beta", "kappa", "burn-in",
                   "checkpoint", "missing", "seed", "output", "sample"):  # fmt: skip
        assert f"--{option}" in done.stdout
    assert "GiB" in done.stdout


# One of the data sets has a draw where the step is just above what the command recommends.
@pytest.mark.filterwarnings("ignore:a step of .* times the largest curvature:UserWarning")
@pytest.mark.slow
@pytest.mark.usefixtures("blank_figures")
def test_coverage_over_many_data_sets(tmp_path, capsys):
    shares = []
    for seed in range(6):
        np.save(tmp_path / "data.npy", noisy_product(seed)[1])
        arguments = ("--missing", 0.5, "--chains", 16, "--steps", 1000, "--seed", seed)
        assert run(tmp_path / "data.npy", *arguments, "--output", tmp_path / "out") == 0
        shares.append(number(capsys.readouterr().out, "in the 90% predictive interval"))
    assert 87 <= np.mean(shares) <= 93


@pytest.fixture
def offset(tmp_path):
    """A product of rank two with little noise around a large mean."""
    _, values, _ = noisy_product(5, (20, 8), 1e-3)
    hidden = np.random.default_rng(1).random(values.shape) < 0.2
    np.save(tmp_path / "offset.npy", np.where(hidden, np.nan, values + 50))
    return tmp_path / "offset.npy"


@pytest.mark.usefixtures("blank_figures")
def test_a_large_mean_is_no_direction_of_the_network(offset, tmp_path, capsys, monkeypatch):
    from dlngeom.cli import _sample as sample

    monkeypatch.setattr(sample, "MAX_ITERATIONS", 15)
    out = ("--output", tmp_path / "out")
    assert run(offset, "--chains", 4, "--steps", 40, *out) == 0
    text = capsys.readouterr().out
    assert "means of columns removed" in text
    assert number(text, "singular value 1") < 100


@pytest.mark.usefixtures("blank_figures")
def test_advice_is_the_option_that_helps(quick_run, data, tmp_path, capsys, monkeypatch):
    from dlngeom.cli import _sample as sample

    pytest.importorskip("arviz_stats")
    monkeypatch.setattr(sample, "MIXED", 0.5)
    few = ("--chains", 4, "--steps", 40, "--output", tmp_path / "out")
    assert run(data, "--rank", 4, *few) == 0
    assert "lost in the noise: give --rank" in capsys.readouterr().out
    assert re.search(r"give [\d.]+ times the --steps, or --depth 1", quick_run.out)


def test_chains_that_disagree_are_said_to(quick_run):
    pytest.importorskip("arviz_stats")
    assert "NOT CONVERGED: R-hat is up to" in quick_run.out
