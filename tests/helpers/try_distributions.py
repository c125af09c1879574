"""Installs the wheel and the sdist, each into an empty environment, and runs what README shows."""

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def first_block():
    return re.search(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)[1]


def tried(distribution):
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, distribution], check=True)
        # Elsewhere than in the repository, where the package could be imported without installing.
        for arguments in (["-c", first_block()], ["-m", "dlngeom", "--version"]):
            subprocess.run([python, *arguments], check=True, cwd=folder)


if __name__ == "__main__":
    found = sorted(Path(sys.argv[1]).resolve().glob("dlngeom-*"))
    assert len(found) == 2, found
    for path in found:
        tried(path)
        print("installs and runs:", path.name)
