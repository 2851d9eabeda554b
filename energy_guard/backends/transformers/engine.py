"""One model with its tokenizer and settings: what it takes to turn a request into a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from energy_guard.backends.prompt import PromptEncoder
from energy_guard.backends.recorder import Recorder
from energy_guard.backends.transformers.check import end_tokens
from energy_guard.backends.transformers.codec import TokenizerCodec
from energy_guard.backends.transformers.constrain import Constraints
from energy_guard.backends.transformers.job import Job, batches
from energy_guard.backends.transformers.processors import check_request
from energy_guard.backends.transformers.vocabulary import Vocabulary
from energy_guard.request import Request

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Engine:
    """Settings as `Transformers` takes them.

    vocabulary: the bytes of each token. codec, prompts: requests as token ids.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    codec: TokenizerCodec
    vocabulary: Vocabulary
    prompts: PromptEncoder
    batch_size: int
    generation: Mapping[str, Any]
    last_row: bool

    @cached_property
    def ends(self) -> frozenset[int]:
        """Tokens that end an answer: those of the model's generation settings, the tokenizer's."""
        own = self.tokenizer.eos_token_id
        return frozenset([*end_tokens(self.model), *([] if own is None else [own])])

    @cached_property
    def constraints(self) -> Constraints:
        """Grammars and schemas, compiled for this vocabulary."""
        size = max(self.codec.vocabulary_size, len(self.tokenizer))
        return Constraints(self.tokenizer, self.ends, size)

    def job(self, number: int, request: Request, answer: str | Sequence[int] | None) -> Job:
        """Return what is to be run for one request: to be answered, or with an answer to read."""
        check_request(request)
        prompt = self.prompts.encode(request)
        room = self.codec.context - len(prompt)
        ids = None if answer is None else self.prompts.encode_answer(answer, room)
        limit = min(request.max_tokens, room) if ids is None else len(ids)
        recorder = Recorder(
            number,
            len(prompt),
            request.stop if ids is None else (),
            limit,
            request.inverse_temperature,
            self.prompts.opens_reasoning(prompt),
        )
        matcher = None
        if request.constraint is not None and ids is None:
            matcher = self.constraints.matcher(request.constraint)
        return Job(request, prompt, limit, ids, recorder, matcher)

    def batches(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Divide jobs into batches that fit the model's positions."""
        return batches(jobs, self.batch_size, self.codec.context)
