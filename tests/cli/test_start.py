"""The ways to start the command."""

import subprocess
import sys

import pytest

import dlngeom
from dlngeom.cli import _parser, main


@pytest.mark.parametrize(
    "command", [["-m", "dlngeom"], ["-c", "from dlngeom.cli import main; main()"]]
)
def test_the_version_is_told_however_the_command_is_started(command):
    done = subprocess.run(
        [sys.executable, *command, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"dlngeom {dlngeom.__version__}\n"


def test_the_module_hands_on_the_exit_code():
    done = subprocess.run(
        [sys.executable, "-m", "dlngeom", "complete", "none.csv"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "dlngeom complete: error: none.csv: there is no such file\n"


def test_without_a_command_there_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["complete", "sample", "landscape"])
def test_every_command_has_the_options_of_reading(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    printed = capsys.readouterr().out
    for option in ("separator", "decimal", "thousands", "header", "index", "skip", "drop",
                   "missing-value", "triples", "no-triples", "variable", "mask"):  # fmt: skip
        assert f"--{option}" in printed


@pytest.mark.parametrize(("text", "count"), [("yes", 1), ("no", 0), ("auto", None), ("3", 3)])
def test_labels_may_be_counted(text, count):
    options = _parser.parse(["complete", "a.csv", "--header", text, "--index", text])
    assert (options.header_rows, options.index_columns) == (count, count)


@pytest.mark.parametrize(
    "arguments", [("--header", "some"), ("--index", "-1"), ("--skip", "-2"), ("--skip", "x")]
)
def test_options_of_reading_that_mean_nothing_end_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["complete", "a.csv", *arguments])
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
