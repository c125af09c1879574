"""An interruption ends the command with code 130 and one line, whenever it comes."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from dlngeom.cli import _start, main
from tests.helpers.parameters import slow

# As the script of the command, with a sign that it has begun.
SCRIPT = """
import sys
from dlngeom.cli import _start, main

def parsed(arguments, parse=_start._parsed):
    print("begun", flush=True)
    return parse(arguments)

_start._parsed = parsed
sys.exit(main())
"""


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 200)) + rng.normal(size=(300, 200))
    np.save(tmp_path / "data.npy", np.where(rng.random(values.shape) < 0.4, np.nan, values))
    return tmp_path / "data.npy"


def begin(*arguments, interrupts=signal.default_int_handler):
    # A new process ignores what the one that starts it ignores, as one in the background does.
    before = signal.signal(signal.SIGINT, interrupts)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stdout.readline() == "begun\n"
    return process


def ended(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("command", "delay"),
    [("complete", 0), ("complete", 0.3)]
    + [slow("complete", delay) for delay in (0.03, 0.1, 0.7, 1.5)]
    + [slow("sample", delay) for delay in (0, 0.3, 0.5, 1.0, 2.0)],
)
def test_one_line_and_code_130_at_any_time(command, delay, data, tmp_path):
    process = begin(command, data, "--output", tmp_path / "out")
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    # Progress bars return to the beginning of their line.
    last = err.split("\r")[-1].strip().splitlines()[-1]
    assert code == 130, err
    assert last.endswith("interrupted, nothing was written")
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_interruptions_in_quick_succession(data, tmp_path):
    for delay in (0.2, 2.0):
        process = begin("complete", data, "--output", tmp_path / "out")
        time.sleep(delay)
        for _ in range(5):
            process.send_signal(signal.SIGINT)
            time.sleep(0.005)
        code, _, err = ended(process)
        assert code == 130
        assert "Traceback" not in err
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_shell_that_wants_interruptions_ignored_gets_its_way(tmp_path):
    np.save(tmp_path / "a.npy", np.where(np.eye(6) > 0, np.nan, 7.0))
    process = begin(
        "complete", tmp_path / "a.npy", "--output", tmp_path / "out", "--depth", 1,
        "--compare", "none", interrupts=signal.SIG_IGN,
    )  # fmt: skip
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    assert code == 0, err


@pytest.mark.slow
def test_the_commands_load_no_backend_of_their_hosts():
    script = (
        "import sys; from dlngeom.cli import _start\n"
        "for command in ('complete', 'sample', 'landscape'): _start._loaded(command, True)\n"
        "print([x for x in _start.BACKENDS if x in sys.modules])\n"
        "import array_api_compat, numpy\n"
        "print(array_api_compat.is_torch_array(numpy.ones(2)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\nFalse\n"


def test_a_library_is_hidden_only_where_it_is_not_loaded():
    before = dict(sys.modules)
    with _start._without(("json", "no_such_module")):
        with pytest.raises(ModuleNotFoundError):
            import no_such_module  # noqa: F401
        assert sys.modules["json"] is before["json"]
    assert sys.modules == before


def test_inside_another_process_nothing_is_taken_over(monkeypatch, capsys):
    def interrupt(*arguments):
        assert signal.getsignal(signal.SIGINT) is before
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(_start, "_loaded", interrupt)
    assert main(["landscape"]) == 130
    assert capsys.readouterr().err == "dlngeom landscape: interrupted, nothing was written\n"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def _interrupts():
    """Interruptions as at a terminal; a process in the background ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interrupts")
def test_the_handler_of_the_start_is_taken_away_again(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    seen = []
    monkeypatch.setattr(os, "_exit", seen.append)
    monkeypatch.setattr(os, "write", lambda *arguments: seen.append(arguments[1]))
    with _start._ended_by_interrupts():
        signal.raise_signal(signal.SIGINT)
    assert seen == [b"dlngeom: interrupted, nothing was written\n", 130]
    assert signal.getsignal(signal.SIGINT) is before
    thread = threading.Thread(target=lambda: seen.append(main(["landscape", "--starts", "0"])))
    thread.start()
    thread.join()
    assert seen[-1] == 2
