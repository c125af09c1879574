"""Code on the pages of the documentation runs as printed."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from dlngeom import network
from tests.helpers.parameters import slow

DOCS = Path(__file__).parents[2] / "docs"


def run(page, capsys, count=None):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)
    blocks = blocks[:count]
    scope = {"__name__": "__main__"}
    for code in blocks:
        exec(code, scope)
    return blocks, scope, capsys.readouterr().out


def test_your_own_quotient(capsys):
    blocks, scope, printed = run("guide/extend.md", capsys, 3)
    assert len([line for line in blocks[0].splitlines() if line.strip()]) <= 40
    assert printed.startswith("14 properties hold")
    # Without noise of its own, |x|^2 grows by dim_orbit times t: eigenvalues are driven apart.
    x = scope["x"]
    squared = np.sum(x[:, -1] ** 2, axis=-1)
    np.testing.assert_allclose(squared, 2 + 3 * 0.5, rtol=0.05)
    assert x[:, -1, 2].min() > 1.1
    assert np.max(x[:, -1].std(axis=0)) < 0.1
    # At beta = 2, half of the gradient of the entropy: the sum of 1 / (x_i - x_j).
    assert "[-0.75 -0.    0.75]" in printed


@pytest.mark.slow
def test_your_own_quotient_from_a_map(capsys):
    pytest.importorskip("jax")
    blocks, _, printed = run("guide/extend.md", capsys)
    assert sum("from_map(" in x for x in blocks) == 2
    assert len(blocks[3].split("\n\n")[1].splitlines()) <= 5
    assert "Fubini-Study: True" in printed
    assert "properties: 15" in printed
    assert "drift: -0.46768" in printed
    decay, expected = re.search(r"decay: (\S+) expected: (\S+)", printed).groups()
    assert float(decay) == pytest.approx(float(expected), abs=0.05)


@pytest.mark.slow
def test_statistics_with_geomstats(capsys):
    pytest.importorskip("geomstats.backend", exc_type=ImportError)
    _, scope, printed = run("guide/statistics.md", capsys)
    space, mean, points = scope["space"], scope["mean"], scope["points"]
    # Logarithms at a mean add up to zero.
    assert np.max(np.abs(np.mean(space.metric.log(points, mean), axis=0))) < 1e-3
    assert "halfway, symmetric: (1, 3, 3)" in printed
    assert "the same point below: True" in printed
    assert "a geodesic is found: True" in printed


def test_the_page_on_geomstats_lists_what_is_left_out():
    pytest.importorskip("geomstats.backend", exc_type=ImportError)
    from tests.helpers.conformance_cases import COORDINATES, EXCLUDED

    page = (DOCS / "guide" / "statistics.md").read_text()
    for name in (*COORDINATES, *EXCLUDED, "geodesic_equation"):
        assert f"`{name}`" in page


def test_strata_and_momenta(capsys):
    _, scope, printed = run("strata.md", capsys)
    assert printed.count("True") == 8
    assert "False" not in printed
    moved = [float(x) for x in re.findall(r"moved by ([\d.]+)", printed)]
    # Lazy layers hardly move, and reach the target all the same.
    assert moved[1] < 0.5 * moved[0]
    W = network.end_to_end([x[0, -1] for x in scope["run"].points])
    np.testing.assert_allclose(W, scope["target"], atol=1e-6)


@pytest.fixture
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    yield
    plt.close("all")


@pytest.mark.slow
@pytest.mark.usefixtures("_folder")
def test_quick_start_prints_what_the_page_shows(capsys):
    _, _, printed = run("quickstart.md", capsys)
    shown = re.search(r"```text\n(.*?)```", (DOCS / "quickstart.md").read_text(), re.DOTALL)
    assert printed == shown[1]
    assert Path("first.png").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("_folder")
def test_ratings(capsys):
    _, scope, printed = run("guide/ratings.md", capsys)
    given, written = scope["given"], pd.read_csv("best.csv")
    assert float(re.search(r"RMSE (\S+)", printed)[1]) < 0.75
    assert list(written) == ["user", "film", "stars"]
    assert (written.groupby("user").size() == 5).all()
    assert written["stars"].between(1, 5).all()
    i, j = (written[name].str.split().str[1].astype(int) for name in ("user", "film"))
    # None of them was given, and they are liked as much as the five that are liked most.
    seen = set(zip(scope["who"], scope["what"], strict=True))
    assert seen.isdisjoint(zip(i, j, strict=True))
    assert given.nnz == len(seen)
    taste = scope["users"] @ scope["films"].T
    taste[scope["who"], scope["what"]] = -np.inf
    assert taste[i, j].mean() > 0.9 * np.sort(taste, axis=1)[:, -5:].mean()


@pytest.mark.slow
def test_clusters(capsys):
    pytest.importorskip("distributed")
    pytest.importorskip("torch")
    blocks, _, printed = run("guide/clusters.md", capsys)
    assert len(blocks) == 2
    assert "the same to the bit: True" in printed
    assert "Tensor (100, 21, 4)" in printed


@pytest.mark.parametrize(
    "page",
    [
        "optimise",
        "depth",
        slow("complete"),
        "flow",
        slow("sample"),
        slow("samplers"),
        slow("how_long"),
        slow("thermodynamics"),
    ],
)
def test_guide(page, capsys):
    blocks, scope, printed = run(f"guide/{page}.md", capsys)
    assert blocks
    assert "False" not in printed
    if page == "optimise":
        assert scope["error"] < 5e-4
        assert np.linalg.norm((scope["u"] * scope["s"]) @ scope["vt"] - scope["A"]) < 1e-4
    if page == "how_long":
        assert 0.45 < scope["accepted"] < 0.7
        assert scope["coarse"].observed["trace"].mean() < scope["fine"].observed["trace"].mean()
    if page == "complete":
        assert scope["error"] < 0.01
    if page == "thermodynamics":
        assert printed.count("0.4082") == 7
        assert scope["found"].indices.tolist() == [0] * 4


def test_every_page_is_tested():
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    with_code = {x for x in pages if "```python" in (DOCS / x).read_text()}
    tested = Path(__file__).read_text()
    names = {x.removeprefix("guide/").removesuffix(".md") for x in with_code}
    assert names
    assert all(f'"{x}"' in tested or f"{x}.md" in tested for x in names)


def test_the_page_on_misprints_names_every_test():
    tests = (Path(__file__).parents[1] / "test_misprints.py").read_text()
    named = re.findall(r"`(test_\w+)`", (DOCS / "misprints.md").read_text())
    assert sorted(named) == sorted(re.findall(r"^def (test_\w+)", tests, re.MULTILINE))
