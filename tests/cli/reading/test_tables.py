"""Tables of text are read with their labels left out, and written with them."""

import gzip
import io

import numpy as np
import pandas as pd
import pytest

from dlngeom.cli import main
from dlngeom.cli._reading import ReadingOptions, read

NAN = np.nan
REAL = np.array([[NAN, -0.132, 0.64, 0.105], [-0.536, 0.362, NAN, 1e-7], [-0.7, 3.25, -6e20, 0.25]])
WHOLE = np.array([[NAN, 5, 3, 1], [4, NAN, 1, 2], [2, 1, 4, 5], [1, 4, 4, 2]])


def table(values, columns=None, rows=None, **how):
    """Text of a frame as pandas writes it."""
    frame = pd.DataFrame(values)
    frame = frame if columns is None else frame.set_axis(list(columns), axis=1)
    frame = frame if rows is None else frame.set_axis(list(rows)[: len(frame)])
    return frame.to_csv(**how)


def plain(values, separator=",", end="", missing=""):
    lines = [[missing if np.isnan(x) else repr(float(x)) for x in row] for row in values]
    return "\n".join(separator.join(line) + end for line in lines)


def saved(values, **how):
    stream = io.StringIO()
    np.savetxt(stream, values, **how)
    return stream.getvalue()


NAMES, FRUIT = "abcd", ["apple", "two pears", "fig", "kiwi"]
TEXTS = {
    "default labels": lambda x: table(x),
    "default columns": lambda x: table(x, index=False),
    "default rows": lambda x: table(x, header=False),
    "no labels": lambda x: table(x, header=False, index=False),
    "names": lambda x: table(x, NAMES, index=False),
    "names and default rows": lambda x: table(x, NAMES),
    "names and labels": lambda x: table(x, NAMES, FRUIT),
    "labels and default columns": lambda x: table(x, None, FRUIT),
    "labels alone": lambda x: table(x, None, FRUIT, header=False),
    "numbered labels": lambda x: table(x, None, [3, 7, 9, 11]),
    "numbers as both labels": lambda x: table(x, [3, 40, 500, 501], [7, 9, 11, 20]),
    "numbers in disorder": lambda x: table(x + 0.5, [40, 3, 501, 500], [9, 7, 20, 11]),
    "numbers beside a name": lambda x: table(x, [3, 40, 500, 501], [7, 9, 11, 20],
                                             index_label="userId"),
    "years": lambda x: table(x, range(2001, 2005), FRUIT, index_label="country"),
    "years as rows": lambda x: table(x, NAMES, range(2001, 2005), index_label="year"),
    "named index": lambda x: table(x, NAMES, [5, 3, 8, 1], index_label="patient_id"),
    "dates": lambda x: table(x, NAMES, pd.date_range("2020-02-01", periods=4)),
    "two columns of labels": lambda x: table(
        x, NAMES, pd.MultiIndex.from_tuples([(a, "z") for a in FRUIT])[: len(x)]
    ),
    "semicolons": lambda x: table(x, NAMES, sep=";"),
    "semicolons and decimal commas": lambda x: table(x, NAMES, FRUIT, sep=";", decimal=","),
    "decimal commas without labels": lambda x: table(x, sep=";", decimal=",", index=False),
    "quoted decimal commas": lambda x: table(x, NAMES, index=False, decimal=","),
    "tabs": lambda x: table(x, NAMES, FRUIT, sep="\t"),
    "tabs and decimal commas": lambda x: table(x, index=False, header=False, sep="\t", decimal=","),
    "bars": lambda x: table(x, NAMES, sep="|"),
    "blanks": lambda x: table(x, NAMES, ["a", "b b", "c", "d"], sep=" ", na_rep="NA"),
    "columns of blanks": lambda x: plain(x, "   ", " ", "?"),
    "R": lambda x: '"a" "b" "c" "d"\n'
    + "\n".join(f'"{k}" {line}' for k, line in enumerate(plain(x, " ", "", "NA").split("\n"), 1)),
    "numpy": lambda x: saved(x),
    "numpy with names": lambda x: saved(x, header="a b c d", fmt="%.17g"),
    "numpy with commas": lambda x: saved(x, delimiter=", ", fmt="%.17g"),
    "closing commas": lambda x: plain(x, ",", ","),
    "closing commas below names": lambda x: "a,b,c,d\n" + plain(x, ",", ","),
    "closing commas everywhere": lambda x: "a,b,c,d,\n" + plain(x, ",", ","),
    "comments": lambda x: f"# made by hand\n{table(x, NAMES)}\n# the end\n",
    "labels with numbers": lambda x: table(x, NAMES, [f"row {k}, b" for k in range(4)], sep="\t"),
    "labels with blanks": lambda x: table(x, NAMES, [f"row {k}" for k in range(4)]),
    "blanks and decimal commas": lambda x: plain(x, " ", "", "NA").replace(".", ","),
    "a spreadsheet's first line": lambda x: "sep=;\n" + table(x, NAMES, sep=";"),
    "units": lambda x: "a,b,c,d\nm,s,kg,kg\n" + plain(x),
    "Windows' lines": lambda x: table(x, NAMES).replace("\n", "\r\n"),
    "an old Macintosh's lines": lambda x: table(x).replace("\n", "\r"),
    "empty lines": lambda x: "\n" + table(x).replace("\n", "\n\n"),
    "minus signs": lambda x: table(x, NAMES, FRUIT).replace("-0", "\u22120"),
    "double colons": lambda x: plain(x, "::"),
    **{
        f"missing is {mark}": lambda x, mark=mark: table(x, NAMES, FRUIT, na_rep=mark)
        for mark in ("NA", "NaN", "nan", "null", "None", "?", "-", "N/A", "#N/A", " na ")
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", TEXTS)
def test_every_kind_of_table_is_read_right(kind, tmp_path):
    for number, values in enumerate((REAL, WHOLE)):
        path = tmp_path / f"{number}.csv"
        path.write_bytes(TEXTS[kind](values).encode())
        shift = 0.5 * (kind == "numbers in disorder")
        np.testing.assert_array_equal(read(path).values, values + shift)


ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".txt"])
def test_every_encoding_is_read_right(encoding, suffix, tmp_path):
    data = table(REAL, ["é", "ß", "ñ", "ø"], FRUIT).encode(encoding)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    np.testing.assert_array_equal(read(path).values, REAL)


OPTIONS = {
    "mark": ("1,-999,3\n4,5,-999.0\n", {"missing_values": ("-999",)}, [[1, NAN, 3], [4, 5, NAN]]),
    "text": ("1,x,3\n4,5,lost\n", {"missing_values": ("X", "lost")}, [[1, NAN, 3], [4, 5, NAN]]),
    "thousands": ('"1,234","2"\n"3,250",""\n', {"thousands": ","}, [[1234, 2], [3250, NAN]]),
    "grouped": ("1.234,5;2\n3;4\n", {"thousands": ".", "decimal": ","}, [[1234.5, 2], [3, 4]]),
    "decimal": ('"1,234","2"\n"3,250",""\n', {"decimal": ","}, [[1.234, 2], [3.25, NAN]]),
    "drop": ("1,2,red\n4,,blue\n", {"drop": ("3",)}, [[1, 2], [4, NAN]]),
    "named": ("a,hue,b\n1,red,2\n4,blue,\n", {"drop": ("hue",)}, [[1, 2], [4, NAN]]),
    "skip": ("A title\nand more,\n1,2\n3,\n", {"skip": 2}, [[1, 2], [3, NAN]]),
    "header": ("0,1,2\n3,,5\n6,7,8\n", {"header_rows": 1}, [[3, NAN, 5], [6, 7, 8]]),
    "no header": ("0,1\n3.5,\n6.5,8.5\n", {"header_rows": 0}, [[0, 1], [3.5, NAN], [6.5, 8.5]]),
    "index": ("0,1,2\n3,,5\n6,7,8\n", {"index_columns": 1}, [[1, 2], [NAN, 5], [7, 8]]),
    "no index": ("id,b\n1,\n2,3\n", {"index_columns": 0}, [[1, NAN], [2, 3]]),
    "mixed index": ("1,2,3\nx,4,\n2,5,6\n", {"index_columns": 1}, [[2, 3], [4, NAN], [5, 6]]),
    "own separator": ("1~2~3\n4~~6\n", {"separator": "~"}, [[1, 2, 3], [4, NAN, 6]]),
    "tab": ("1\t2\n\t3\n", {"separator": "tab"}, [[1, 2], [NAN, 3]]),
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_say_what_the_text_leaves_open(kind, tmp_path):
    text, options, expected = OPTIONS[kind]
    (tmp_path / "a.csv").write_text(text)
    got = read(tmp_path / "a.csv", ReadingOptions(**options))
    np.testing.assert_array_equal(got.values, expected)


REFUSED = {
    "--missing-value 'n.a.'": "1,2\n3,n.a.\n",
    "--drop 3": "1,2,red\n4,,blue\n",
    "--index 1": "1,2,3\nx,4,\n2,5,6\n",
    "--header 1": "1,x,2.5\n2,3,\n4,5,1\n",
    "--header 1 takes": "5,x,4\n2,3,\n4,5,1\n",
    "--skip": "A table\nof numbers\na,b,c\n1,2,3\n4,,6\n5,6,7\n",
    "--missing-value '..'": "country,2001,2002\nFrance,..,..\nSpain,3,4\n",
    "'n.d.'": "a,b\nn.d.,n.d.\n3,4\n5,6\n",
    "'[$]3'": "$3,4,5\n$6,7,8\n",
    "'3%'": "a,b,c\n3%,4,5\n6%,7,8\n",
    "--thousands": '"1,234","2,500"\n"3,250",""\n',
    "--separator": "1,2,3\n4,5\n6,7,8\n",
    "--decimal": "1.234,5;2\n3,5;4\n1;2\n",
    "it must be a finite|finite number": "1,2\n3,1e999\n",
    "'1_0'": "1,2\n3,1_0\n",
    "'1e5e5'": "1,2\n3,1e5e5\n",
    "'0x10'": "1,2\n3,0x10\n",
    "no table of text|row 1": '1,"2\n3,4\n',
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused_says_what_it_looks_like_and_what_would_read_it(message, tmp_path):
    (tmp_path / "a.csv").write_text(REFUSED[message])
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path / "a.csv")
    assert "ooks like" in str(caught.value) or "finite" in message or "row 1" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": "abc"}, "one character"),
        ({"separator": "1"}, "one character"),
        ({"decimal": ";"}, "'.' or ','"),
        ({"drop": ("z",)}, "'z'.*no such column"),
        ({"drop": ("5",)}, "a number from 1 to 4"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message, tmp_path):
    (tmp_path / "a.csv").write_text(table(WHOLE, NAMES, index=False))
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "a.csv", ReadingOptions(**options))


def test_it_is_said_what_was_taken_for_labels(tmp_path):
    (tmp_path / "a.csv").write_text(table(REAL, NAMES, FRUIT, sep=";", decimal=","))
    (note,) = read(tmp_path / "a.csv").notes
    assert "cut at semicolon, decimal ','" in note
    assert "column labels 'a', 'b', 'c', ..." in note
    assert "row labels 'apple', 'two pears', 'fig'" in note
    (tmp_path / "b.csv").write_text("1,2,3\n4,5,\n")
    first, doubt = read(tmp_path / "b.csv").notes
    assert "no column labels, no row labels" in first
    assert "--header yes" in doubt


ROUND_TRIPS = ("names and labels", "default labels", "semicolons and decimal commas", "tabs",
               "no labels", "R", "two columns of labels", "units", "blanks",
               "quoted decimal commas")  # fmt: skip


@pytest.mark.parametrize("kind", ROUND_TRIPS)
def test_labels_and_marks_are_kept_in_what_is_written(kind, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(TEXTS[kind](REAL))
    source = read(path)
    filled = np.where(np.isnan(REAL), 1 / 3, REAL)
    source.write(tmp_path / f"b{source.suffix}", filled)
    again = read(tmp_path / f"b{source.suffix}")
    np.testing.assert_array_equal(again.values, np.where(np.isnan(REAL), 0.3333333333, REAL))
    assert again.notes == tuple(x.replace("a.csv", f"b{source.suffix}") for x in source.notes)


def test_a_completed_frame_comes_back_with_its_labels(tmp_path, monkeypatch, capsys, blank_figures):
    monkeypatch.setattr("dlngeom.cli._complete.MAX_ITERATIONS", 5)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(np.add.outer(rng.normal(size=9), rng.normal(size=5)).round(3))
    frame = frame.rename(index=lambda k: f"row {k}", columns=lambda k: f"column {k}")
    gaps = frame.mask(rng.random(frame.shape) < 0.2)
    gaps.to_csv(tmp_path / "a.csv", sep=";", decimal=",")
    assert main(["complete", str(tmp_path / "a.csv"), "--output", str(tmp_path / "out")]) == 0
    got = pd.read_csv(tmp_path / "out" / "completed.csv", sep=";", decimal=",", index_col=0)
    assert list(got.index) == list(frame.index)
    assert list(got.columns) == list(frame.columns)
    assert got.notna().all(axis=None)
    seen = gaps.notna().to_numpy()
    np.testing.assert_array_equal(got.to_numpy()[seen], frame.to_numpy()[seen])
    assert "row labels 'row 0', 'row 1'" in capsys.readouterr().out
