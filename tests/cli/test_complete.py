import csv
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dlngeom.cli import main
from dlngeom.cli._reading import Source

# The quickest run, with nothing beside it to compare.
ALONE = ("--rank", 2, "--depth", 2, "--compare", "none")


@pytest.fixture
def quick(monkeypatch):
    from dlngeom.cli import _complete, _peers

    monkeypatch.setattr(_complete, "MAX_ITERATIONS", 8)
    monkeypatch.setattr(_peers, "MAX_ITERATIONS", 8)
    monkeypatch.setattr(_peers, "ROUNDS", 2)


@pytest.fixture
def ratings(tmp_path):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 24)) + rng.normal(size=24)
    values = np.where(rng.random(matrix.shape) < 0.3, np.nan, matrix)
    path = tmp_path / "ratings.csv"
    with path.open("w", newline="") as stream:
        rows = [["" if np.isnan(x) else repr(float(x)) for x in row] for row in values]
        csv.writer(stream).writerows(rows)
    return path, values


def run(*arguments):
    return main(["complete", *map(str, arguments)])


def test_csv_in_csv_out(quick, ratings, tmp_path, capsys):
    path, values = ratings
    assert run(path, "--output", tmp_path / "out", "--rank", 6) == 0
    completed = np.loadtxt(tmp_path / "out" / "completed.csv", delimiter=",")
    seen = ~np.isnan(values)
    np.testing.assert_allclose(completed[seen], values[seen], rtol=1e-9)
    assert np.isfinite(completed).all()
    np.testing.assert_allclose(completed, np.load(tmp_path / "out" / "completed.npy"), rtol=1e-9)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "completed.csv",
        "completed.npy",
        "figure.png",
    ]
    printed = capsys.readouterr()
    for line in ("mean", "row + column biases", "FixedRankEmbedded, rank 5", "depth 3", "chosen"):
        assert line in printed.out
    assert "depth 3" in printed.err  # the progress bar


@pytest.mark.usefixtures("blank_figures")
def test_npy_and_picture(quick, ratings, tmp_path):
    _, values = ratings
    np.save(tmp_path / "data.npy", values.astype(np.float32))
    assert run(tmp_path / "data.npy", "--output", tmp_path / "a", "--rank", 4) == 0
    rng = np.random.default_rng(1)
    picture = np.add.outer(np.linspace(0, 150, 40), np.linspace(0, 80, 30)) + 10 * rng.random(
        (40, 30)
    )
    Image.fromarray(picture.astype(np.uint8)).convert("RGB").save(tmp_path / "p.jpg")
    arguments = (tmp_path / "p.jpg", "--missing", 0.4, "--output", tmp_path / "b", "--depth", 2)
    assert run(*arguments, "--compare", "none") == 0
    with Image.open(tmp_path / "b" / "completed.png") as image:
        assert image.size == (30, 40)


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize("compare", ["none", "fast"])
def test_the_verdict_names_the_best_method_also_when_it_is_another(tmp_path, capsys, compare):
    # Rows repeat, so that neighbours tell all and no direction does.
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(6, 8))[rng.integers(6, size=60)]
    np.save(tmp_path / "a.npy", np.where(rng.random(matrix.shape) < 0.2, np.nan, matrix))
    arguments = (tmp_path / "a.npy", "--output", tmp_path / "out", "--compare", compare)
    assert run(*arguments, "--rank", 2) == 0
    text = capsys.readouterr().out
    assert "FixedRankEmbedded" not in text
    assert ("KNNImputer" in text) == (compare == "fast")
    best = "KNNImputer" if compare == "fast" else "ours (depth"
    assert re.search(rf"The least error is (that of )?{re.escape(best)}", text)
    assert "range of the observed entries" in text


@pytest.mark.usefixtures("blank_figures")
def test_same_seed_same_output(quick, ratings, tmp_path):
    path, _ = ratings
    for name in ("one", "two"):
        assert run(path, "--output", tmp_path / name, "--seed", 5, *ALONE) == 0
    one, two = (np.load(tmp_path / name / "completed.npy") for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "1,2\nn.a.,3\n", "row 2, column 1 is 'n.a.'"),
        ("a.csv", "1,2\nx,3\n", "row 2, column 1 is 'x'"),
        ("a.csv", "1,2\ninf,3\n", "row 2, column 1 is 'inf'"),
        ("a.csv", "1,2\n3\n", "row 2 has 1 cells, row 1 has 2"),
        ("a.csv", "", "is empty"),
        ("a.csv", "1,2\n3,4\n", "no missing entry"),
        ("a.csv", ",\n,\n", "fewer than two"),
        ("a.npy", "not an array", "no numpy array"),
        ("a.png", "not a picture", "no picture"),
        ("a.numbers", "1 2", "unknown kind '.numbers'"),
        ("a.csv", "1e300,2\n,4\n5,6\n", "rescale"),
        ("a.csv", "1e-200,1e-200\n,1e-200\n", "rescale"),
    ],
)
def test_bad_files_end_with_one_line_and_code_2(tmp_path, capsys, name, text, message):
    out = tmp_path / "out"
    assert run(write(tmp_path / name, text), "--output", out) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not out.exists()


def test_bad_arrays_end_with_code_2(tmp_path, capsys):
    arrays = {
        "shape (3,)": np.ones(3),
        "complex128": np.ones((3, 3), dtype=complex),
        "[1, 2] is inf": np.where(np.arange(9).reshape(3, 3) == 5, np.inf, 1.0),
    }
    for message, array in arrays.items():
        np.save(tmp_path / "a.npy", array)
        assert run(tmp_path / "a.npy", "--output", tmp_path / "out") == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--rank", 0),
        ("--rank", 25),
        ("--depth", 0),
        ("--depth", -1),
        ("--depth", 101),
        ("--seed", -1),
    ],
)
def test_values_out_of_range_end_with_code_2(ratings, tmp_path, capsys, arguments):
    assert run(ratings[0], "--output", tmp_path / "out", *arguments) == 2
    message = capsys.readouterr().err
    assert str(arguments[1]) in message
    assert len(message.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--depth", "1.5"),
        ("--rank", "many"),
        ("--missing", "0"),
        ("--missing", "1"),
        ("--missing", "half"),
        ("--solver", "newton"),
        ("--sample",),
    ],
)
def test_what_the_parser_refuses_ends_with_code_2(ratings, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        run(ratings[0], *arguments)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "error" in message
    assert len(message.strip().splitlines()) == 1


def test_missing_file_and_no_input(tmp_path, capsys):
    assert run(tmp_path / "none.csv") == 2
    assert "no such file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        run()
    assert stop.value.code == 2


def test_output_that_cannot_be_written_is_noticed_before_the_work(ratings, tmp_path, capsys):
    blocked = write(tmp_path / "file", "x")
    assert run(ratings[0], "--output", blocked) == 2
    assert run(ratings[0], "--output", blocked / "below") == 2
    printed = capsys.readouterr()
    assert "cannot write" in printed.err
    assert "RMSE" not in printed.out


def test_folder_without_permission_to_write(ratings, tmp_path, monkeypatch, capsys):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    # Root may write anywhere, so the refusal of the system is played.
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert run(ratings[0], "--output", tmp_path) == 2
    assert "cannot write there (Permission denied)" in capsys.readouterr().err


@pytest.mark.usefixtures("blank_figures")
def test_failure_while_writing_leaves_nothing_behind(quick, ratings, tmp_path, monkeypatch, capsys):
    def fail(source, path, values):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(Source, "write", fail)
    assert run(ratings[0], "--output", tmp_path / "out", *ALONE) == 2
    assert "disk full" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("blank_figures")
def test_failure_keeps_a_folder_that_was_there(quick, ratings, tmp_path, monkeypatch, capsys):
    def fail(source, path, values):
        raise OSError("disk full")

    monkeypatch.setattr(Source, "write", fail)
    (tmp_path / "out").mkdir()
    write(tmp_path / "out" / "old", "x")
    assert run(ratings[0], "--output", tmp_path / "out", *ALONE) == 2
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["old"]


@pytest.mark.filterwarnings("error")
def test_constant_matrix_is_completed_although_fixed_ranks_fail(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dlngeom.cli._complete.MAX_ITERATIONS", 30)
    rows = [["" if (i + j) % 3 == 0 else "7" for j in range(8)] for i in range(9)]
    write(tmp_path / "a.csv", "\n".join(",".join(row) for row in rows))
    assert run(tmp_path / "a.csv", "--output", tmp_path / "out") == 0
    assert "chosen" in capsys.readouterr().out
    completed = np.loadtxt(tmp_path / "out" / "completed.csv", delimiter=",")
    np.testing.assert_allclose(completed, 7, atol=1e-6)


def test_damaged_picture_is_named(tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 255, size=(64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    assert run(tmp_path / "a.png", "--output", tmp_path / "out") == 2
    assert "a.png is a damaged picture" in capsys.readouterr().err


def test_help_is_quick_to_load_and_names_every_option():
    script = (
        "import sys; from dlngeom.cli import main\n"
        "try: main(['complete', '--help'])\n"
        "except SystemExit: assert 'pymanopt' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    for option in ("--output", "--rank", "--depth", "--solver", "--missing", "--seed", "--sample"):
        assert option in done.stdout


def errors(text):
    rows = re.findall(r"^(.+?)\s+(\d\.\d{5})", text, flags=re.MULTILINE)
    return {name: float(value) for name, value in rows}


# ALL_SIZES=1 repeats it for other hidden entries, at twenty seconds each.
SEEDS = [0, 1, 2] if os.environ.get("ALL_SIZES") else [0]


@pytest.mark.slow
@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("missing", [0.5, 0.9])
def test_photograph_against_every_fixed_rank(tmp_path, capsys, missing, seed):
    assert run("--sample", "--missing", missing, "--seed", seed, "--output", tmp_path) == 0
    text = capsys.readouterr().out
    table = errors(text)
    fixed = {int(name.split()[-1]): e for name, e in table.items() if name.startswith("Fixed")}
    assert sorted(fixed) == [5, 10, 20, 50]
    chosen = next(
        e for name, e in table.items() if name in re.search(r"^.*<- chosen", text, re.M)[0]
    )
    if missing == 0.5:
        assert chosen <= 1.05 * min(fixed.values())
        assert chosen <= 0.75 * fixed[50]
    else:
        assert chosen <= 1.08 * min(fixed.values())
        assert chosen < min(fixed[10], fixed[20], fixed[50])


@pytest.mark.parametrize(
    ("error", "said"),
    [(1.0, "is as good as mean"), (1e-7, "1e-07 times that of mean"), (0.5, "0.500 times that")],
)
def test_the_verdict_boasts_of_no_tie(error, said):
    from types import SimpleNamespace

    from dlngeom.cli._complete import CompletionRow, _verdict

    result = SimpleNamespace(scale=np.ones(2), kind="none", depth=1)
    rows = [CompletionRow("mean", 1.0), CompletionRow("ours", error)]
    assert said in _verdict(rows, result)
    assert ("The least error is ours" in _verdict(rows, result)) == (error < 1)
