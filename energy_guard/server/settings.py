"""What a server allows, and what it does unless a request says otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

StreamMode = Literal["hold", "live", "sentence"]
"""When the text of a stream is sent: after the verdict, as it is written, or a sentence behind, if
the answer would be shown had it ended there."""

Details = Literal["none", "summary", "shown", "full"]
"""How much a response says of a result: the levels of `Result.to_dict`; `shown` is `full` without
the words of an answer that is withheld."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """The limits of a server.

    model: the name that clients give the model, besides its own; None for its own alone.
    api_key: what a request must show; None for none, then only names of this machine are
    served if `loopback`. reveal: whether a request may ask for the words of an answer that is
    withheld. refusal_as_content: whether the text that takes the place of such an answer is
    content as well, for programs that show nothing else. max_tokens: of one answer, and its
    default. max_choices: of one request. max_waiting: requests that wait while one is answered.
    timeout_s: for waiting and answering together. max_body: bytes of a request. ping_s: how long
    a stream is silent. drain_s: how long answers may still take when the server is to end.

    >>> ServerSettings(max_tokens=64).stream
    'hold'
    """

    model: str | None = None
    api_key: str | None = field(default=None, repr=False)
    loopback: bool = True
    reveal: bool = False
    refusal_as_content: bool = False
    stream: StreamMode = "hold"
    max_tokens: int = 1024
    max_choices: int = 8
    max_waiting: int = 32
    timeout_s: float = 300.0
    max_body: int = 2_000_000
    ping_s: float = 5.0
    drain_s: float = 8.0
