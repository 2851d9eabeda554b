"""Answers that exist, read by a server that sends the numbers of whole rows: all at once.

vLLM tells the numbers of a prompt's rows as it tells those of an answer's. So the answer is made a
part of the prompt, and the row after it is the one of the single token that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from energy_guard.backends.remote.connection import Connection, Interrupted, never
from energy_guard.backends.remote.full_rows import FullRows, full_step
from energy_guard.backends.remote.models import ServedModel
from energy_guard.backends.remote.replies import PromptNumber, ServerReply
from energy_guard.backends.vllm.shared_numbers import ASKED, MARK
from energy_guard.energy import Row
from energy_guard.errors import EngineError, PromptError
from energy_guard.text import alike
from energy_guard.trace import Step

_NUMBERS: Final = ("logprobs", "top_logprobs", "return_tokens_as_token_ids", MARK)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads for one model of a server, which told its `rows`, unless `stop` says to end that."""

    connection: Connection
    model: ServedModel
    rows: FullRows
    stop: Interrupted = never

    def prompt(self, path: str, body: Mapping[str, Any]) -> list[int] | None:
        """Return the tokens that the server makes of a prompt; None if it is stopped.

        Args:
            path: where it would be asked.
            body: what would be asked.

        Raises:
            EngineError: It does not tell.

        """
        plain = {name: value for name, value in body.items() if name not in _NUMBERS}
        asked = plain | {"max_tokens": 1, "return_token_ids": True}
        found = next(self.connection.post(path, asked, self.stop), None)
        if found is None:
            return None
        reply = _reply(found)
        ids = reply.prompt_token_ids or reply.choices[0].prompt_token_ids
        if ids is None:
            raise EngineError("the server does not tell the tokens of a prompt", "Update vLLM.")
        return ids

    def answer(self, answer: str | Sequence[int]) -> list[int] | None:
        """Return an answer's tokens; those of a text write it and nothing else. None if stopped.

        Raises:
            PromptError: There are none.

        """
        if not len(answer):
            raise PromptError("the answer is empty", "Give its text or its token ids.")
        if not isinstance(answer, str):
            return list(answer)
        body = {"model": self.model.name, "prompt": answer, "add_special_tokens": False}
        ids = self.prompt("/completions", body)
        if ids is None:
            return None
        read = b"".join(map(self.rows.piece, ids)).decode(errors="replace")
        if read != answer:
            raise PromptError(
                f"the server reads another text, from character {alike(answer, read)} on",
                "Give token ids, or a text in the characters and blanks that the model knows.",
            )
        return ids

    def steps(
        self, prompt: Sequence[int], answer: Sequence[int], alternatives: int
    ) -> tuple[list[Step], Row | None]:
        """Return the steps of an answer and the row after it; none of either if it is stopped.

        Raises:
            EngineError: The server sends the rows of something else, or without their numbers.

        """
        ids = [*prompt, *answer]
        asked = dict.fromkeys(("logprobs", "prompt_logprobs"), ASKED)
        body = {"model": self.model.name, "prompt": ids, "max_tokens": 1, "temperature": 0}
        body |= asked | {"return_tokens_as_token_ids": True, MARK: True}
        found = next(self.connection.post("/completions", body, self.stop), None)
        if found is None:
            return [], None
        choice = _reply(found).choices[0]
        places = (choice.prompt_logprobs or [])[len(prompt) :]
        if len(places) != len(answer) or choice.logprobs is None:
            raise EngineError("the server does not tell the numbers of a prompt", "Update vLLM.")
        steps = [
            self._step(token, place, alternatives)
            for token, place in zip(answer, places, strict=True)
        ]
        return steps, full_step(choice.logprobs.written[0], self.rows, 0).step.row

    def _step(
        self, token: int, place: Mapping[str, PromptNumber] | None, alternatives: int
    ) -> Step:
        columns = [(int(other), number.logprob) for other, number in (place or {}).items()]
        if not columns or columns[0][0] != token:
            raise EngineError("the server tells the numbers of other tokens than it was given")
        return self.rows.step(columns, alternatives)


def _reply(found: object) -> ServerReply:
    reply = ServerReply.read(found)
    if len(reply.choices) != 1:
        raise EngineError("the server sent several answers to one question")
    return reply
