import re
from pathlib import Path

import numpy as np
import pytest

from dlngeom.network import invariants
from tests.helpers.parameters import slow

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("code", [*BLOCKS[:2], *map(slow, BLOCKS[2:])])
def test_examples_run_as_printed(code, capsys):
    scope = {}
    if "jax" in code:
        pytest.importorskip("jax")
    exec(code, scope)
    printed = capsys.readouterr().out
    if "u" in scope:
        W = (scope["u"] * scope["s"]) @ scope["vt"]
        assert np.linalg.norm(W - scope["A"]) < 1e-5 * np.linalg.norm(scope["A"])
    elif "upstairs" in scope:
        assert float(printed) < 1e-7
        first, last = (invariants([x[0, k] for x in scope["trained"].points]) for k in (0, -1))
        np.testing.assert_allclose(last, first, atol=1e-6)
    elif "check_submersion" in code:
        assert re.fullmatch(r"13 properties of a Riemannian submersion held\n", printed)
    else:
        assert printed.endswith("True\n")


def test_there_are_examples_and_the_first_has_ten_lines():
    assert len(BLOCKS) == 4
    assert len([line for line in BLOCKS[0].splitlines() if line]) == 10


def test_every_picture_and_page_exists():
    links = re.findall(r"\[[^\]]+\]\(([^)#]+)(?:#[^)]*)?\)", README)
    assert len(links) > 10
    for path in (x for x in links if "://" not in x):
        assert (Path(__file__).parents[2] / path).is_file()
