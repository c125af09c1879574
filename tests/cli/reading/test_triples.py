"""Triples of a row, a column and a value become a matrix, and come back as triples."""

import csv
import io
from itertools import product

import numpy as np
import pandas as pd
import pytest

from dlngeom.cli import main
from dlngeom.cli._reading import ReadingOptions, read

NAN = np.nan
ROWS = [("7", "30", 3.0), ("7", "20", 4.5), ("9", "30", 5.0), ("1", "20", 1.0), ("1", "10", 2.0)]
# Rows 1, 7, 9 and columns 10, 20, 30.
MATRIX = [[2, 1, NAN], [NAN, 4.5, 3], [NAN, NAN, 5]]
ANN = {"1": "Ann Lee", "7": "Bo, jr.", "9": "\u00e9"}


def lines(rows, separator=",", header=(), more=()):
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=separator)
    writer.writerows([header] * bool(header) + [[*row, *more] for row in rows])
    return stream.getvalue()


NAMED = [(ANN[a], f"film {b}", x) for a, b, x in ROWS]
FILES = {
    "names": lines(ROWS, header=("userId", "movieId", "rating")),
    "names and times": lines(ROWS, "\t", ("user_id", "item_id", "rating", "time"), ["978300760"]),
    "other names": lines(ROWS, ";", ("reviewerID", "asin", "overall")),
    "times": lines(ROWS, "\t", more=["881250949"]),
    "double colons": lines(ROWS, "|", more=["978300760"]).replace("|", "::"),
    "labels of text": lines(NAMED),
    "labels of text below a header": lines(NAMED, header=("a", "b", "c")),
    "semicolons": lines(NAMED, ";", ("user", "item", "rating")).replace(".", ","),
    "quoted": lines(NAMED, header=("user", "item", "rating")),
    "melted": pd.DataFrame(ROWS, columns=["row", "variable", "value"]).to_csv(index=False),
    "more columns": lines(ROWS, header=("user", "item", "rating", "x", "y"), more=["5", "text"]),
}


@pytest.mark.parametrize("kind", FILES)
def test_triples_are_recognised(kind, tmp_path):
    (tmp_path / "a.csv").write_text(FILES[kind])
    source = read(tmp_path / "a.csv")
    np.testing.assert_array_equal(source.values, MATRIX)
    assert "5 triples, 3 row labels" in source.notes[0]
    assert "--no-triples" in source.notes[0]


@pytest.mark.parametrize("header", [(), ("a", "b", "c")])
def test_an_option_makes_triples_of_whatever_has_three_columns(header, tmp_path):
    (tmp_path / "a.csv").write_text(lines(ROWS, header=header))
    source = read(tmp_path / "a.csv")
    assert source.values.shape == (5, 3)
    assert any("--triples" in note for note in source.notes)
    source = read(tmp_path / "a.csv", ReadingOptions(triples=True))
    np.testing.assert_array_equal(source.values, MATRIX)
    (tmp_path / "b.csv").write_text(FILES["names"])
    assert read(tmp_path / "b.csv", ReadingOptions(triples=False)).values.shape == (5, 3)


def test_labels_are_sorted_as_pandas_sorts_them(tmp_path):
    rng = np.random.default_rng(0)
    for label in (str, "user {}".format, lambda k: f"{k / 4}"):
        pairs = rng.permutation([(i, j) for i in range(12) for j in range(11)])[:90]
        rows = [(label(i), label(j), float(i * j)) for i, j in pairs.tolist()]
        (tmp_path / "a.csv").write_text(lines(rows, header=("user", "item", "rating")))
        frame = pd.read_csv(tmp_path / "a.csv").pivot(index="user", columns="item", values="rating")
        np.testing.assert_array_equal(read(tmp_path / "a.csv").values, frame.to_numpy())


def test_a_table_with_two_columns_of_labels_is_no_triples(tmp_path):
    text = "country,region,gdp,people\na,x,1.5,3\na,y,,4\nb,x,2,1\n"
    (tmp_path / "a.csv").write_text(text)
    np.testing.assert_array_equal(read(tmp_path / "a.csv").values, [[1.5, 3], [NAN, 4], [2, 1]])


def test_triples_given_twice_are_averaged_with_a_warning(tmp_path):
    (tmp_path / "a.csv").write_text(lines([*ROWS, ("7", "30", 5.0)], header=("u", "item", "score")))
    source = read(tmp_path / "a.csv")
    assert source.values[1, 2] == 4
    assert source.notes[1] == "warning: 1 of 6 triples repeat a place: averaged"


def test_a_missing_value_keeps_its_labels(tmp_path):
    text = lines([*ROWS, ("5", "40", "NA"), ("5", "30", "")], header=("user", "item", "rating"))
    (tmp_path / "a.csv").write_text(text)
    values = read(tmp_path / "a.csv").values
    assert values.shape == (4, 4)
    assert np.isnan(values[1]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,item,rating\n1,2,x\n", "row 2 is '1', '2', 'x'.*--missing-value"),
        ("user,item,rating\n1,2,inf\n", "finite number"),
        ("user,item,rating\n1,2\n2,3\n", "row 2 has 2 cells.*--no-triples"),
        ("user,item,rating\n,2,3\n", "row 2 has no label"),
    ],
)
def test_what_is_no_triple_is_refused(text, message, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "a.csv", ReadingOptions(triples=True))


def test_many_labels_are_refused_before_their_matrix_is_made(tmp_path):
    text = "".join(f"u{k},i{k},1\n" for k in range(12_000))
    (tmp_path / "a.csv").write_text("user,item,rating\n" + text)
    with pytest.raises(ValueError, match=r"12000 x 12000 and needs 1\.07 GiB"):
        read(tmp_path / "a.csv")


@pytest.mark.usefixtures("blank_figures")
def test_triples_in_triples_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dlngeom.cli._complete.MAX_ITERATIONS", 5)
    rng = np.random.default_rng(0)
    rows = [
        (f"user {i}", f"film {j}", rng.integers(1, 6))
        for i, j in product(range(9), range(7))
        if rng.random() < 0.7
    ]
    (tmp_path / "a.tsv").write_text(lines([*rows, rows[0]], "\t", ("user", "item", "rating")))
    assert main(["complete", str(tmp_path / "a.tsv"), "--output", str(tmp_path / "out")]) == 0
    assert "1 of" in (printed := capsys.readouterr()).err
    assert "triples, 9 row labels" in printed.out
    got = pd.read_csv(tmp_path / "out" / "completed.tsv", sep="\t")
    assert list(got.columns) == ["user", "item", "rating"]
    assert len(got) == 63
    assert got["rating"].notna().all()
    given = pd.DataFrame(rows, columns=got.columns)
    both = given.merge(got, on=["user", "item"], suffixes=("", "_out"))
    np.testing.assert_array_equal(both["rating"], both["rating_out"])


BLANKS = [(f"u{i}", f"film {j}", (i * j) % 5 + 1) for i in range(6) for j in range(5) if i != j]
SQUARE = np.where(np.eye(6, 5) > 0, NAN, np.multiply.outer(range(6), range(5)) % 5 + 1)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", [(), ("user", "item", "rating"), ("a", "b", "c")])
@pytest.mark.parametrize("triples", [None, True])
def test_labels_may_hold_other_separators(separator, header, triples, tmp_path):
    """A label that ends in a number looks beside a comma like a decimal one."""
    for mark in {" ", ";", "|"} - {separator}:
        rows = [(a, b.replace(" ", mark), x) for a, b, x in BLANKS]
        (tmp_path / "a.csv").write_text(lines(rows, separator, header))
        if triples or mark == " " or "user" in header:
            source = read(tmp_path / "a.csv", ReadingOptions(triples=triples))
            np.testing.assert_array_equal(source.values, SQUARE)


@pytest.mark.parametrize("name", ["shop", "shop of one"])
def test_a_table_whose_labels_end_in_numbers_is_cut_at_its_header(name, tmp_path):
    values = np.arange(12.0).reshape(6, 2)
    text = "name,sales\n" + "".join(f"{name} {k},{k + 2}\n" for k in range(6))
    (tmp_path / "one.csv").write_text(text)
    assert "cut at comma" in read(tmp_path / "one.csv").notes[0]
    text = "name,a,b\n" + "".join(
        f"{name} {k},{x:.0f},{y:.0f}\n" for k, (x, y) in enumerate(values)
    )
    (tmp_path / "two.csv").write_text(text)
    np.testing.assert_array_equal(read(tmp_path / "two.csv").values, values)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("shop 1,12\nshop 2,13\nshop 3,9\n", "--separator"),
        ("a,b,5\nc,d,6\ne,f,7\n", "--triples"),
        ("id,sales\n1,12\n2,13\n4,9\n", "--index no"),
        ("x,y\n1,12\n", "--header no"),
    ],
)
def test_a_matrix_too_narrow_is_refused_with_the_option_that_reads_it(text, cure, tmp_path, capsys):
    (tmp_path / "a.csv").write_text(text)
    assert main(["complete", str(tmp_path / "a.csv"), "--output", str(tmp_path / "out")]) == 2
    assert cure in capsys.readouterr().err
