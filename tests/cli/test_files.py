"""Results are written all or not at all, and never over the input."""

import numpy as np
import pytest

from dlngeom.cli import _files, main


def writers(*names):
    return {name: (lambda path, name=name: path.write_text(f"new {name}")) for name in names}


def test_all_files_or_none(tmp_path):
    (tmp_path / "a").write_text("old a")
    (tmp_path / "c").mkdir()
    with pytest.raises(IsADirectoryError, match="c is a folder: move it"):
        _files.write_all(tmp_path, writers("a", "b", "c"))
    assert (tmp_path / "a").read_text() == "old a"
    assert {x.name for x in tmp_path.iterdir()} == {"a", "c"}


def test_a_writer_that_fails_changes_nothing(tmp_path):
    (tmp_path / "a").write_text("old a")

    def fail(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        _files.write_all(tmp_path, {**writers("a"), "b": fail})
    assert (tmp_path / "a").read_text() == "old a"
    assert [x.name for x in tmp_path.iterdir()] == ["a"]


def test_files_are_replaced(tmp_path):
    (tmp_path / "a").write_text("old a")
    _files.write_all(tmp_path, writers("a", "b"))
    assert {x.name: x.read_text() for x in tmp_path.iterdir()} == {"a": "new a", "b": "new b"}


@pytest.mark.parametrize(
    ("command", "name"),
    [("complete", "completed.npy"), ("sample", "mean.npy"), ("sample", "quantile-05.npy")],
)
def test_the_input_is_never_overwritten(command, name, tmp_path, capsys):
    values = np.random.default_rng(0).standard_normal((6, 5))
    values[0, 0] = np.nan
    np.save(tmp_path / name, values)
    assert main([command, str(tmp_path / name), "--output", str(tmp_path)]) == 2
    assert "is the input" in capsys.readouterr().err
    np.testing.assert_array_equal(np.load(tmp_path / name), values)


def test_the_input_of_the_landscape_is_never_overwritten(tmp_path, capsys):
    (tmp_path / "landscape.csv").write_text("1,\n,1\n")
    (tmp_path / "link").symlink_to(tmp_path)
    arguments = ["landscape", str(tmp_path / "landscape.csv"), "--output", str(tmp_path / "link")]
    assert main(arguments) == 2
    assert "is the input" in capsys.readouterr().err
    assert (tmp_path / "landscape.csv").read_text() == "1,\n,1\n"


def fail_in(folder):
    with _files.open_folder(folder):
        assert folder.is_dir()
        raise KeyboardInterrupt


def test_folders_made_for_results_go_when_the_work_fails(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(KeyboardInterrupt):
        fail_in(tmp_path / "old" / "new" / "newer")
    assert list(tmp_path.iterdir()) == [tmp_path / "old"]
    assert not list((tmp_path / "old").iterdir())
