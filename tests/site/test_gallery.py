"""Pages of the gallery run at small sizes, print numbers and draw figures that can be read."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"
GALLERY = DOCS / "gallery"
SMALL = {
    "cluster_means": ["--images", "5"],
    "diagnostics": ["--draws", "60", "--burn-in", "20"],
    "equilibrium_law": ["--widths", "5", "10", "--draws", "20"],
    "foliation": ["--lines", "6"],
    "free_energy_landscape": ["--starts", "12", "--betas", "2"],
    "gauge_noise": ["--starts", "20", "--time", "0.5", "--steps", "40"],
    "low_rank_limits": ["--starts", "12", "--scales", "0.1", "0.03"],
    "motion_by_curvature": ["--chains", "20"],
    "orbits": ["--slices", "4", "--points", "40"],
    "rank_jumps": ["--size", "5", "--starts", "4", "--scales", "0.3", "0.1"],
    "rank_one_variety": ["--starts", "6"],
    "selection": ["--starts", "12", "--betas", "10", "--slow", "3"],
    "simons_cone": ["--starts", "20"],
    "spacings": ["--width", "10", "--draws", "20"],
    "submersion": ["--chains", "5", "--steps", "32", "64"],
    "temperature": ["--chains", "5", "--time", "2"],
}
LINES = {
    "cluster_means": 6,
    "diagnostics": 3,
    "equilibrium_law": 13,
    "foliation": 6,
    "free_energy_landscape": 7,
    "gauge_noise": 12,
    "low_rank_limits": 9,
    "motion_by_curvature": 10,
    "orbits": 3,
    "rank_jumps": 10,
    "rank_one_variety": 5,
    "selection": 11,
    "simons_cone": 8,
    "spacings": 7,
    "submersion": 3,
    "temperature": 6,
}
# Their claims are tested at small sizes in a module of their own.
CLAIMED = {"torch_training", "null_directions", "fourier_scales"}
PAGES = sorted(path.stem.removeprefix("plot_") for path in GALLERY.glob("plot_*.py"))


def draw_command():
    spec = importlib.util.spec_from_file_location("draw", DOCS / "draw.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def _canvas():
    """No figure but those of the page, and none on a screen."""
    before = plt.get_backend()
    plt.close("all")
    plt.switch_backend("agg")
    with plt.rc_context():
        yield
    plt.close("all")
    plt.switch_backend(before)


@pytest.mark.slow
def test_a_page_is_drawn_from_the_command_line(tmp_path):
    name = "simons_cone"
    output = ["--output", tmp_path / "figure.png"]
    command = [sys.executable, "-W", "error", DOCS / "draw.py", name, *SMALL[name], *output]
    environment = os.environ | {"MPLBACKEND": "agg"}
    environment.pop("DISPLAY", None)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == LINES[name]
    assert list(tmp_path.glob("figure_*.png"))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.usefixtures("_canvas")
def test_page_prints_its_numbers_and_draws_its_figures(name, tmp_path, capsys):
    draw_command().main([name, *SMALL[name], "--output", str(tmp_path / "figure.png")])
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == LINES[name]
    assert "nan" not in printed
    figures = sorted(tmp_path.glob("figure_*.png"))
    assert figures
    for path in figures:
        # At the width of a phone the writing keeps two thirds of its size.
        with Image.open(path) as image:
            assert min(image.size) > 300
            assert image.size[0] <= 6 * 150


def test_every_page_is_run():
    assert set(PAGES) == SMALL.keys() | CLAIMED


@pytest.mark.parametrize("name", PAGES)
def test_page_is_short_and_says_what_it_does_not_show(name):
    text = (GALLERY / f"plot_{name}.py").read_text()
    tree = ast.parse(text)
    assert re.search(r"\\*\\*What\s+it\s+does\s+not\s+show", ast.get_docstring(tree))
    assert ".. math::" in text
    # Formulas are set, not spelt: what is left in double quotes are commands.
    spelt = [x for x in re.findall(r"``([^`]+)``", ast.get_docstring(tree)) if "=" in x or "^" in x]
    assert not spelt
    assert "argparse" not in text
    assert draw_command().sizes(tree)


def test_a_size_that_a_page_does_not_have_is_named():
    with pytest.raises(ValueError, match=r"has the sizes .*'SLICES'.*, not \['LINES'\]"):
        draw_command().draw("orbits", LINES=3)


def test_sizes_are_the_literal_constants_in_capitals():
    found = draw_command().sizes(ast.parse("A, B = 1, (2.0, 3)\nC = len('x')\nd = 4\nE = 'word'"))
    assert {k: ast.literal_eval(x) for k, x in found.items()} == {
        "A": 1,
        "B": (2.0, 3),
        "E": "word",
    }
