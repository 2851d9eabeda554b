"""`energy-guard serve` before it listens: what it refuses to begin with."""

from __future__ import annotations

import socket
import sys
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from energy_guard.backends import Scripted
from energy_guard.cli.app import app
from energy_guard.errors import ConfigError, MissingExtraError
from energy_guard.guard import Guard
from energy_guard.server import run
from energy_guard.server.settings import ServerSettings


class Heard:
    """Stands in the place of what listens, and keeps what it was made with."""

    def __init__(self) -> None:
        self.host = ""
        self.settings: ServerSettings | None = None

    def __call__(self, guard: Guard, settings: ServerSettings, host: str, port: int) -> Heard:
        self.host, self.settings = host, settings
        return self

    def run(self) -> None:
        """Nothing is served."""


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    monkeypatch.delenv("ENERGY_GUARD_API_KEY", raising=False)
    heard = Heard()
    monkeypatch.setattr(run, "listener", heard)
    return heard


def serve(*options: str, tiny: Any, **env: str) -> BaseException | None:
    arguments = ["serve", "--model", str(tiny), "--n-threads", "1", *options]
    return CliRunner().invoke(app, arguments, env=env).exception


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "my-machine"])
def test_other_machines_are_not_served_without_a_key_or_a_flag(
    heard: Heard, tiny_path: Any, host: str
) -> None:
    refused = serve("--host", host, tiny=tiny_path)
    assert isinstance(refused, ConfigError)
    assert "ENERGY_GUARD_API_KEY" in refused.hint
    assert heard.settings is None


@pytest.mark.parametrize(
    ("options", "env"), [(["--no-key"], {}), ([], {"ENERGY_GUARD_API_KEY": "sesame"})]
)
def test_other_machines_are_served_with_either(
    heard: Heard, tiny_path: Any, options: list[str], env: dict[str, str]
) -> None:
    assert serve("--host", "0.0.0.0", *options, tiny=tiny_path, **env) is None
    assert heard.settings is not None
    assert heard.settings.api_key == env.get("ENERGY_GUARD_API_KEY")
    assert not heard.settings.loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_this_machine_is_served_without_a_key(heard: Heard, tiny_path: Any, host: str) -> None:
    assert serve("--host", host, "--stream", "live", tiny=tiny_path) is None
    assert heard.settings is not None
    assert (heard.settings.loopback, heard.settings.stream) == (True, "live")


@pytest.mark.parametrize("options", [["--stream", "later"], ["--max-tokens", "0"]])
def test_what_cannot_be_served_is_refused_at_once(
    heard: Heard, tiny_path: Any, options: list[str]
) -> None:
    assert isinstance(serve(*options, tiny=tiny_path), ConfigError)
    assert heard.settings is None


@pytest.mark.parametrize("seconds", ["inf", "nan", "0", "-1"])
def test_a_time_that_never_comes_is_no_limit(heard: Heard, tiny_path: Any, seconds: str) -> None:
    ended = serve("--timeout", seconds, tiny=tiny_path)
    assert isinstance(ended, SystemExit) and ended.code == 2
    assert heard.settings is None


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "prometheus_client"])
def test_a_missing_package_is_named_with_its_extra(
    tiny_path: Any, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for module in [package, *(m for m in sys.modules if m.split(".")[0] == package)]:
        monkeypatch.setitem(sys.modules, module, None)
    for module in [m for m in sys.modules if m.startswith("energy_guard.server")]:
        monkeypatch.delitem(sys.modules, module)
    missing = serve(tiny=tiny_path)
    assert isinstance(missing, MissingExtraError)
    assert package in missing.message
    assert "energy-guard[server]" in missing.hint


def test_clients_call_a_file_by_its_name(heard: Heard, tiny_path: Any) -> None:
    assert serve(tiny=tiny_path) is None
    assert heard.settings is not None
    assert heard.settings.model == tiny_path.stem


def test_the_embedded_model_is_called_demo(heard: Heard) -> None:
    assert CliRunner().invoke(app, ["serve", "--n-threads", "1"]).exception is None
    assert heard.settings is not None
    assert heard.settings.model == "demo"


def test_an_address_that_cannot_be_listened_on_is_refused_before_the_model_is_loaded(
    heard: Heard,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        taken = serve("--port", port, tiny="/no/model.gguf")
    assert isinstance(taken, ConfigError)
    assert f"cannot listen on 127.0.0.1, port {port}" in str(taken)
    nowhere = serve("--host", "no.such.host.invalid", "--no-key", tiny="/no/model.gguf")
    assert isinstance(nowhere, ConfigError)
    assert "--host" in nowhere.hint


def test_an_idle_connection_is_kept_longer_than_clients_keep_theirs() -> None:
    """Else a client asks on one that is being closed, and reads an error."""
    guard = Guard(Scripted.saying([("Hi", 0.9)]), profile=None)
    config = run.listener(guard, ServerSettings(), "127.0.0.1", 0).config
    theirs = httpx.Limits().keepalive_expiry
    assert theirs is not None
    assert config.timeout_keep_alive > max(theirs, 60)
