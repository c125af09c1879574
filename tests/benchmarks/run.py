"""Run the benchmarks, one after the other, each as a process with one BLAS thread.

Prints the machine and the packages, the tables of the scripts, and after each its seconds and the
peak memory of its process.  Run ``python tests/benchmarks/run.py``, or name some scripts; those of
times run by default, and ``studies`` stands for those of accuracy, which take hours.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
# Everyday sizes first; the samplers take a tenth of their draws.
TIMES = (
    "floors", "everyday", "jax_everyday", "geodesics_everyday", "geomstats_metrics", "langevin",
    "flow", "iteration_cost", "scaling", "tables", "completion_quality",
    "completion_ill_conditioned", "completion_scale", "ratings", "samplers", "accelerator",
)  # fmt: skip
OPTIONS = {"samplers": ("--share", "0.1")}
STUDIES = ("auto_steps", "rank_collapse", "depth_choices")
PACKAGES = (
    "numpy", "scipy", "pymanopt", "geomstats", "torch", "jax", "mici", "blackjax", "emcee",
    "cmfrec", "scikit-surprise",
)  # fmt: skip


def processor() -> str:
    """Name of the processor, where the system tells."""
    listing = Path("/proc/cpuinfo")
    names = listing.read_text().splitlines() if listing.is_file() else []
    found = [line.partition(":")[2].strip() for line in names if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()


def versions() -> str:
    """Versions of the packages that are compared."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def run(name: str) -> int:
    """Run one script, and print what it took."""
    print(f"\n== {name}", flush=True)
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    begin = time.perf_counter()
    command = [sys.executable, HERE / f"{name}.py", *OPTIONS.get(name, ())]
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    # Kilobytes on Linux, bytes on macOS.
    peak = usage.ru_maxrss / (2**20 if sys.platform == "linux" else 2**30)
    print(f"-- {name}: {time.perf_counter() - begin:.0f} s, peak {peak:.2f} GiB", flush=True)
    return process.returncode


def main() -> int:
    """Run them; fail if one fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scripts", nargs="*", default=TIMES)
    options = parser.parse_args()
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(versions())
    scripts = STUDIES if list(options.scripts) == ["studies"] else options.scripts
    failed = [name for name in scripts if run(name) != 0]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
