"""Installs the wheel and the sdist, each into an empty environment, and runs what README shows.

The sdist is unpacked too: it has every file of the clone, and lints and tests by itself.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Those that read what lies beside the package, which is what an sdist can lack.
TESTS = ("tests/test_public_api.py", "tests/site/test_readme.py", "tests/site/test_check_site.py")


def first_block():
    return re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)[1]


def tried(distribution):
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, distribution], check=True)
        # Elsewhere than in the repository, where the package could be imported without installing.
        for arguments in (["-c", first_block()], ["-m", "dlngeom", "--version"]):
            subprocess.run([python, *arguments], check=True, cwd=folder)


def stands_alone(sdist):
    with tempfile.TemporaryDirectory() as folder, tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
        (root,) = Path(folder).iterdir()
        lacking = [x for x in files_of_the_clone() if not (root / x).exists()]
        assert not lacking, f"{sdist.name} lacks {lacking}"
        # The environment of the clone has the tools; the package is that of the sdist.
        (root / ".venv").symlink_to(sys.prefix)
        inside = {"cwd": root, "env": os.environ | {"PYTHONPATH": str(root)}, "check": True}
        subprocess.run(["make", "lint"], **inside)
        subprocess.run([sys.executable, "-m", "pytest", "-q", *TESTS], **inside)


def files_of_the_clone():
    if not (ROOT / ".git").exists():
        return []
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=True)
    return listed.stdout.decode().splitlines()


if __name__ == "__main__":
    found = sorted(Path(sys.argv[1]).resolve().glob("dlngeom-*"))
    assert len(found) == 2, found
    for path in found:
        tried(path)
        print("installs and runs:", path.name)
    stands_alone(next(x for x in found if x.suffix == ".gz"))
    print("lints and tests by itself: the sdist")
