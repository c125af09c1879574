"""The page of the command shows what ``--help`` prints."""

import re
from pathlib import Path

import pytest

from dlngeom.cli import _parser, main

PAGE = Path(__file__).parents[2] / "docs" / "api" / "command.md"


def shown(text):
    """Words of the usage, and of what follows; Python 3.13 orders and indents them anew."""
    usage, _, rest = text.partition("\n\n")
    return sorted(re.findall(r"[^\s\[\]|()]+", usage)), rest.split()


def blocks():
    found = re.findall(r"^## dlngeom ?(\w*)\n\n```text\n(.*?)```", PAGE.read_text(), re.M | re.S)
    return dict(found)


def printed(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ["", "complete", "sample", "landscape"])
def test_the_page_shows_what_help_prints(command, monkeypatch, capsys):
    out = printed(command, monkeypatch, capsys)
    assert shown(blocks()[command]) == shown(out)
    # A changed text or a new option is noticed.
    assert shown(blocks()[command]) != shown(out.replace("--seed", "--rng").replace("show", "tell"))


def test_every_subcommand_is_on_the_page():
    (commands,) = (x.choices for x in _parser._parser()._actions if x.dest == "command")
    assert set(blocks()) == {"", *commands}
