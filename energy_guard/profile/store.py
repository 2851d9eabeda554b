"""Where profiles are kept, and which one belongs to a model.

The user's own come first, then those that are shipped. A file is named by fingerprint and
backend, so one profile is found for a model however its file is called. Any other model has what
other models' answers say; what has no fingerprint is no model.
"""

from __future__ import annotations

import hashlib
import re
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from platformdirs import user_data_path

from energy_guard.backends.base import ModelInfo
from energy_guard.errors import ConfigError
from energy_guard.files import write_whole
from energy_guard.profile.other_models import ENGINES, other_models
from energy_guard.profile.profile import Profile

_NAME: Final = re.compile(r"[0-9a-f]{32}-[\w. -]{1,99}\.json", re.ASCII)
"""A file for a fingerprint and a backend, in this folder and not too long for any disk."""


def user_path(info: ModelInfo) -> Path:
    """Where `energy-guard calibrate` puts the profile of this model."""
    return _own_folder() / _name(info)


def find(info: ModelInfo) -> Profile | None:
    """Return the profile of this model, the user's own before a shipped one.

    A real model without any has the one from other models; None for what is no real model, and
    for one on a server, which does not give the signals that are needed.

    Raises ConfigError, naming the file, if the user's own cannot be read.
    """
    file = file_of(info)
    if file is None:
        real = info.backend in ENGINES and _is_named(info)
        return other_models().profile_of(info) if real else None
    with as_file(file) as path:
        return Profile.read(path)


def file_of(info: ModelInfo) -> Traversable | None:
    """Return the file of this very model's profile, the user's own before a shipped one."""
    if not _is_named(info):
        return None
    own = user_path(info)
    if own.exists():
        return own
    shipped = files("energy_guard.data") / "profiles" / _name(info)
    return shipped if shipped.is_file() else None


def own_digest() -> str:
    """Return a digest of all profiles of the user: it changes when one is made, edited or removed.

    Raises ConfigError, naming the file, where one cannot be read.
    """
    digest = hashlib.sha256()
    for file in sorted(_own_folder().glob("*.json")):
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read the profile {file}: {error.strerror}") from error
        digest.update(f"{file.name} {len(content)} ".encode() + content)
    return digest.hexdigest()[:32]


def store(profile: Profile, path: Path) -> None:
    """Write a profile as readable JSON, all or nothing; ConfigError if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, profile.model_dump_json(indent=1, by_alias=True) + "\n")
    except OSError as error:
        raise ConfigError(
            f"cannot write the profile {path}: {error.strerror}", "Give another place: --out FILE."
        ) from error


def _own_folder() -> Path:
    return user_data_path("energy-guard", appauthor=False) / "profiles"


def _is_named(info: ModelInfo) -> bool:
    """Whether a file can be named after it: whoever wrote a log may have put anything there."""
    return _NAME.fullmatch(_name(info)) is not None


def _name(info: ModelInfo) -> str:
    return f"{info.fingerprint}-{info.backend}.json"
