import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
SMALL = {
    "plot_cluster_means.py": ["--images", "5"],
    "plot_diagnostics.py": ["--draws", "60", "--burn_in", "20"],
    "plot_equilibrium_law.py": ["--widths", "5", "10", "--draws", "20"],
    "plot_foliation.py": ["--lines", "6"],
    "plot_free_energy_landscape.py": ["--starts", "12", "--betas", "2"],
    "plot_gauge_noise.py": ["--starts", "20", "--time", "0.5", "--steps", "40"],
    "plot_low_rank_limits.py": ["--starts", "20", "--time", "300", "--scale", "0.05"],
    "plot_motion_by_curvature.py": ["--chains", "20"],
    "plot_orbits.py": ["--slices", "4", "--points", "40"],
    "plot_rank_jumps.py": ["--size", "5", "--starts", "4", "--scales", "0.3", "0.1"],
    "plot_rank_one_variety.py": ["--starts", "6"],
    "plot_selection.py": ["--starts", "12", "--betas", "10", "--slow", "3"],
    "plot_simons_cone.py": ["--starts", "20"],
    "plot_spacings.py": ["--width", "10", "--draws", "20"],
    "plot_submersion.py": ["--chains", "5", "--steps", "32", "64"],
}
LINES = {
    "plot_cluster_means.py": 6,
    "plot_diagnostics.py": 3,
    "plot_equilibrium_law.py": 13,
    "plot_foliation.py": 6,
    "plot_free_energy_landscape.py": 7,
    "plot_gauge_noise.py": 12,
    "plot_low_rank_limits.py": 6,
    "plot_motion_by_curvature.py": 10,
    "plot_orbits.py": 3,
    "plot_rank_jumps.py": 10,
    "plot_rank_one_variety.py": 5,
    "plot_selection.py": 11,
    "plot_simons_cone.py": 8,
    "plot_spacings.py": 7,
    "plot_submersion.py": 3,
}


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(GALLERY.glob("*.py")), ids=lambda path: path.name)
def test_script_prints_its_numbers_and_draws_its_figure(script, tmp_path):
    figure = tmp_path / "figure.png"
    # geomstats chooses its backend by an import hook of the old kind.
    warnings = ["-W", "error", "-W", "ignore:BackendImporter:ImportWarning"]
    command = [sys.executable, *warnings, script, *SMALL[script.name], "--output", figure]
    environment = os.environ | {"MPLBACKEND": "agg"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == LINES[script.name]
    assert "nan" not in done.stdout
    with Image.open(figure) as image:
        assert min(image.size) > 300
    assert len(script.read_text().splitlines()) < 80
