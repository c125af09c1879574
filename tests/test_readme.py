import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS)
def test_examples_run_as_printed(code, capsys):
    scope = {}
    exec(code, scope)
    printed = capsys.readouterr().out
    if "relative error" in printed:
        assert float(printed.split()[-1]) < 1e-5
    else:
        assert "True" in printed
        assert "False" not in printed


def test_there_are_examples_and_the_first_has_ten_lines():
    assert len(BLOCKS) == 2
    assert len(BLOCKS[0].strip().splitlines()) == 10


def test_every_picture_exists():
    for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[1] / path).is_file()
