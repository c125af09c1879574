"""Code on the pages of the documentation runs as printed."""

import re
from pathlib import Path

import numpy as np

DOCS = Path(__file__).parents[1] / "docs"


def run(page, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)
    scope = {}
    for code in blocks:
        exec(code, scope)
    return blocks, scope, capsys.readouterr().out


def test_your_own_quotient(capsys):
    blocks, scope, printed = run("your-own-quotient.md", capsys)
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


def test_statistics_with_geomstats(capsys):
    _, scope, printed = run("geomstats.md", capsys)
    space, mean, points = scope["space"], scope["mean"], scope["points"]
    # Logarithms at a mean add up to zero.
    assert np.max(np.abs(np.mean(space.metric.log(points, mean), axis=0))) < 1e-3
    assert "halfway, symmetric: (1, 3, 3)" in printed
    assert "the same point below: True" in printed


def test_the_page_on_geomstats_lists_what_is_left_out():
    from conformance.cases import COORDINATES, EXCLUDED

    page = (DOCS / "geomstats.md").read_text()
    for name in (*COORDINATES, *EXCLUDED, "geodesic_equation"):
        assert f"`{name}`" in page
