import re
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.parameters import slow

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("code", [*BLOCKS[:2], *map(slow, BLOCKS[2:4]), *BLOCKS[4:]])
def test_examples_run_as_printed(code, capsys):
    scope = {}
    if "geomstats" in code:
        pytest.importorskip("geomstats.backend", exc_type=ImportError)
    exec(code, scope)
    printed = capsys.readouterr().out
    if "u" in scope:
        W = (scope["u"] * scope["s"]) @ scope["vt"]
        assert np.linalg.norm(W - scope["A"]) < 1e-5 * np.linalg.norm(scope["A"])
    elif "upstairs" in scope:
        gap, *_ = printed.split()
        assert float(gap) < 1e-7
        assert np.shape(scope["deep"].points) == (1, 50, 3, 3)
    else:
        assert printed.endswith("True\n")


def test_there_are_examples_and_the_first_has_ten_lines():
    assert len(BLOCKS) == 5
    assert len([line for line in BLOCKS[0].splitlines() if line]) == 10


def test_every_picture_exists():
    for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[2] / path).is_file()
