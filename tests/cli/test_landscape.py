import csv
import re
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from PIL import Image

from dlngeom.cli import main

FEW = ("--starts", 12)


def run(*arguments):
    return main(["landscape", *map(str, arguments)])


def rows(folder):
    with (folder / "landscape.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_default_has_minimisers_at_every_depth_and_temperature(tmp_path, capsys):
    assert run("--output", tmp_path, *FEW) == 0
    text = capsys.readouterr().out
    assert "unit diagonal: 2 x 2, 2 of 4 entries missing, ridge 0.1, 12 starts, seed 0" in text
    assert "no minimiser" not in text
    found = {(row["depth"], row["beta"]) for row in rows(tmp_path) if row["kind"] == "minimum"}
    assert found == set(product(("1", "2", "3", "inf"), ("1", "10", "100")))


def test_the_default_ridge_is_for_missing_entries(tmp_path, capsys):
    for text, ridge in (("1,2\n3,\n", "0.1"), ("1,2\n3,4\n", "0")):
        (tmp_path / "a.csv").write_text(text)
        arguments = ("--depths", 1, "--betas", 1, *FEW, "--output", tmp_path / "out")
        assert run(tmp_path / "a.csv", *arguments) == 0
        assert f"ridge {ridge}, 12 starts" in capsys.readouterr().out


def test_without_a_ridge_there_is_no_minimiser_but_saddles(tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ("--depths", 1, 2, "inf", "--betas", 2, "--ridge", 0, "--saddles", *FEW)
    assert run(*arguments, "--output", out) == 0
    text = capsys.readouterr().out
    assert "unit diagonal: 2 x 2, 2 of 4 entries missing, ridge 0, 12 starts, seed 0" in text
    assert len(re.findall("no minimiser: F falls without bound", text)) == 2
    table = rows(out)
    assert sorted(p.name for p in out.iterdir()) == ["figure.png", "landscape.csv"]
    assert {row["depth"] for row in table if row["kind"] == "minimum"} == {"1"}
    saddles = [row for row in table if row["kind"] == "saddle"]
    assert {row["depth"] for row in saddles} == {"2", "inf"}
    assert {row["index"] for row in saddles} == {"1"}
    assert sum(int(row["searches"]) for row in table if row["depth"] == "1") == 12
    with Image.open(out / "figure.png") as image:
        assert min(image.size) > 300


def test_ridge_makes_the_minimisers_known_in_closed_form(tmp_path, capsys):
    arguments = ("--depths", 2, "--betas", 1, 50, "--ridge", 0.1, *FEW)
    assert run(*arguments, "--output", tmp_path) == 0
    assert "no minimiser" not in capsys.readouterr().out
    low, high = (
        next(row for row in rows(tmp_path) if row["beta"] == beta and row["kind"] == "minimum")
        for beta in ("1", "50")
    )
    # x^2 = (1 - 1/N) / (2 alpha beta) - 1, two copies; then a multiple of the identity.
    assert abs(float(low["W12"])) == pytest.approx(np.sqrt(1.5))
    assert (low["points"], low["index"], high["points"]) == ("2", "0", "1")
    w = (1 + np.sqrt(1 + 1.1 / 50)) / 2.2
    assert [float(high[x]) for x in ("W11", "W22")] == pytest.approx([w, w])
    assert float(high["W12"]) == pytest.approx(0, abs=1e-6)


def test_a_file_with_all_entries_has_minimisers_at_every_temperature(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("1,2,0.5\n0,1,-1\n")
    arguments = ("--depths", 1, 3, "--betas", 1, *FEW)
    assert run(tmp_path / "a.csv", *arguments, "--output", tmp_path / "out") == 0
    assert "a.csv: 2 x 3, 0 of 6 entries missing" in capsys.readouterr().out
    one, *three = rows(tmp_path / "out")
    data = np.array([float(one[f"W{i}{j}"]) for i in (1, 2) for j in (1, 2, 3)])
    np.testing.assert_allclose(data, [1, 2, 0.5, 0, 1, -1], atol=1e-8)
    assert {row["kind"] for row in three} == {"minimum"}


def test_same_seed_same_table(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1.0, np.nan], [0.5, 1.0]]))
    arguments = ("--depths", 2, "--betas", 3, "--ridge", 0.2, "--seed", 4, *FEW)
    for name in ("one", "two"):
        assert run(tmp_path / "a.npy", *arguments, "--output", tmp_path / name) == 0
    assert rows(tmp_path / "one") == rows(tmp_path / "two")


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("1,2\n3,\n", ("--starts", 0), "starts=0"),
        ("1,2\n3,\n", ("--starts", 1001), "starts=1001"),
        ("1,2\n3,\n", ("--depths", 0), "depth=0"),
        ("1,2\n3,\n", ("--depths", 21), "depth=21"),
        ("1,2\n3,\n", ("--seed", -1), "seed=-1"),
        ("1,2\n3,\n", ("--betas", *range(1, 102), "--depths", 2), "101 pairs"),
        ("1,2,3\n3,,1\n", ("--depths", "inf"), "depth=inf needs a square matrix"),
        ("1,2,3,4,5,6,7\n" * 2, (), "at most 6 x 6"),
        ("1,2\nx,\n", (), "row 2, column 1 is 'x'"),
        ("1,\n,\n", (), "fewer than two"),
        ("1,2\n5000,\n", (), "rescale"),
    ],
)
def test_bad_input_ends_with_one_line_and_code_2(tmp_path, capsys, text, arguments, message):
    (tmp_path / "a.csv").write_text(text)
    assert run(tmp_path / "a.csv", *arguments, "--output", tmp_path / "out") == 2
    printed = capsys.readouterr().err.strip()
    assert message in printed
    assert len(printed.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [("--depths", "1.5"), ("--betas", "0"), ("--ridge", "-1"), ("--depths", "nan"), ("--betas",)],
)
def test_what_the_parser_refuses_ends_with_code_2(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_missing_file_and_blocked_output(tmp_path, capsys):
    assert run(tmp_path / "none.csv") == 2
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "file").write_text("x")
    assert run("--output", tmp_path / "file") == 2
    assert "cannot write" in capsys.readouterr().err


def test_failure_while_writing_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    from dlngeom.cli import _files

    def fail(folder, writers):
        raise OSError("disk full")

    monkeypatch.setattr(_files, "write_all", fail)
    arguments = ("--depths", 1, "--betas", 1, *FEW, "--output", tmp_path / "out")
    assert run(*arguments) == 2
    assert "disk full" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help_names_every_option():
    script = "from dlngeom.cli import main; main(['landscape', '--help'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    for option in ("depths", "betas", "ridge", "starts", "saddles", "seed", "output"):
        assert f"--{option}" in done.stdout
    assert "no minimiser" in " ".join(done.stdout.split())


def test_size_is_told_first(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.full((30, 8), 1e6))
    assert run(tmp_path / "a.npy", "--output", tmp_path / "out") == 2
    assert "at most 6 x 6" in capsys.readouterr().err


def test_without_a_minimum_there_is_advice(tmp_path, capsys):
    arguments = ("--depths", 2, "--betas", 1, "--ridge", 0, "--starts", 4)
    assert run(*arguments, "--output", tmp_path / "out") == 0
    assert "No minimum was found" in capsys.readouterr().out
