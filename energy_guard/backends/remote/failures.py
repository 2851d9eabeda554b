"""What goes wrong between us and a server, as errors that say what to do; a key is never told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from energy_guard.errors import (
    ConfigError,
    EnergyGuardError,
    EngineError,
    InputError,
    PromptTooLongError,
)

KEY_VARIABLE: Final = "ENERGY_GUARD_REMOTE_API_KEY"
"""The environment variable with the key that servers are shown."""

_LONGEST: Final = 300
"""Characters of a server's own words that are told."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and the key that it is shown; None if it wants none.

    >>> Address("http://localhost:8080/v1", "secret")
    Address(url='http://localhost:8080/v1')
    """

    url: str
    key: str | None

    def __repr__(self) -> str:
        """Without the key: addresses stand in errors and logs."""
        return f"Address(url={self.url!r})"

    def quoted(self, words: object) -> str:
        """Return a server's words, cut short and without the key, which some servers repeat."""
        text = " ".join(str(words).split())
        if self.key is not None:
            text = text.replace(self.key, "…")
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


@contextmanager
def server_failures(address: Address) -> Iterator[None]:
    """Turn whatever the client raises into one of our errors."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        said = error.body or error.message
        elsewhere = error.response.headers.get("location")
        raise _refused(address, error.status_code, said, elsewhere) from None  # it may have the key
    except openai.APITimeoutError as error:
        raise EngineError(
            f"{address.url} did not answer in time",
            "Does the server run? Ask for less, or give it longer: load(…, timeout_s=…).",
        ) from error
    except openai.APIConnectionError as error:
        raise EngineError(
            f"the connection to {address.url} failed: {address.quoted(error.__cause__ or error)}",
            "Does the server run, and is this its address? It mostly ends in /v1.",
        ) from error
    except openai.APIError as error:  # told in the middle of a stream
        raise EngineError(
            f"{address.url} failed while it answered: {address.quoted(error.message)}",
            "Ask again, and look into the server's own log.",
        ) from None
    except ValueError as error:  # no JSON
        raise EngineError(
            f"the answer of {address.url} broke off: {address.quoted(repr(error))}",
            "Ask again, and look into the server's own log.",
        ) from error


def _refused(address: Address, status: int, body: Any, elsewhere: str | None) -> EnergyGuardError:
    """The error for an HTTP status that is none of success.

    elsewhere: the address that the server sends its clients to.
    """
    said = body.get("error", body) if isinstance(body, dict) else body
    fields = said if isinstance(said, dict) else {}
    what = f"{address.url} says {status}: {address.quoted(fields.get('message') or said)}"
    if status < 400:
        return ConfigError(
            f"{address.url} sends its clients to {address.quoted(elsewhere)} ({status})",
            "Nothing is sent to another address than yours. If you trust that one, give it.",
        )
    if status in (401, 403):
        return ConfigError(what, f"Put the server's key into the variable {KEY_VARIABLE}.")
    if status == 404:
        return ConfigError(
            what, "The address mostly ends in /v1; and the server must have the model."
        )
    named = any("context" in str(fields.get(name)) for name in ("code", "type"))
    if named or "context length" in str(fields.get("message")):
        return PromptTooLongError(what, "Ask for less, or start the server with more context.")
    if status in (408, 409, 429) or status >= 500:
        return EngineError(what, "Ask again later, and look into the server's own log.")
    return InputError(what, "Leave out what this server does not take.")
