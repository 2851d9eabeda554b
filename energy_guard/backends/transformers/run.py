"""One batch, from its prompts to its traces: written by `generate`, or given and evaluated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

from energy_guard.backends.attributes import standing_in
from energy_guard.backends.transformers.constrain import Constrained
from energy_guard.backends.transformers.engine import Engine
from energy_guard.backends.transformers.fast import read_given
from energy_guard.backends.transformers.follow import Following
from energy_guard.backends.transformers.job import Job, engine_failures
from energy_guard.backends.transformers.offload import device_of
from energy_guard.backends.transformers.prefill import PromptInterruptedError, interruptible
from energy_guard.backends.transformers.prefix import Prefix
from energy_guard.backends.transformers.processors import Forced, processors
from energy_guard.backends.transformers.read_along import Choice, Watch
from energy_guard.backends.worker import Emit
from energy_guard.request import Event
from energy_guard.trace import FinishReason, Step


class BatchRun:
    """prefix: what an earlier answer left in a cache; the attribute: what this one leaves."""

    def __init__(
        self,
        engine: Engine,
        jobs: Sequence[Job],
        private: bool,
        prefix: Prefix | None = None,
    ) -> None:
        self.prefix: Prefix | None = None
        self._reused = prefix
        self._engine = engine
        self._model = engine.model
        self._private = private
        self._jobs = [job for job in jobs if not job.recorder.interrupted(job.request)]
        self._interrupted = [job for job in jobs if job.recorder.reason is not None]

    @property
    def sequences(self) -> list[int]:
        """The numbers of the answers that are worth beginning, in the order of their rows."""
        return [job.recorder.number for job in self._jobs]

    @property
    def width(self) -> int:
        """The length of the prompts, padding included."""
        return max((len(job.prompt) for job in self._jobs), default=0)

    def live(self, emit: Emit[list[Event]]) -> None:
        """Let the model write, or read given answers as if it wrote them."""
        following = self._following(emit)
        if following is None:
            return
        rows = None
        with engine_failures(), interruptible(self._model, lambda: self._over(emit)) as been_read:

            def follow(choices: list[Choice], _length: int) -> list[bool]:
                been_read()
                return following.step(choices)

            wanted = [job.request.alternatives for job in self._jobs]
            watch = Watch(self._model, follow, self._betas, alternatives=wanted)
            try:
                self._generate(watch)
                if following.waiting:
                    last = [job.recorder.last.id for job in self._jobs]
                    rows = watch.row_after(last, leave_cache=False)
                self.prefix = self._left_in(watch.cache)
            except PromptInterruptedError:  # some layers of the cache are behind others
                self._interrupt()
        following.finish(rows)

    def fast(self, emit: Emit[list[Event]]) -> None:
        """Evaluate given answers, many tokens at once."""
        following = self._following(emit)
        if following is None:
            return
        prompts = [job.prompt for job in self._jobs]
        answers = [job.given or [] for job in self._jobs]
        with engine_failures(), interruptible(self._model, lambda: self._over(emit)):
            try:
                for choices in read_given(self._model, prompts, answers, self._betas):
                    following.step(choices)
                    if not following.open:
                        break
            except PromptInterruptedError:
                self._interrupt()
        following.finish(None)

    def _following(self, emit: Emit[list[Event]]) -> Following | None:
        """What follows the jobs that are worth beginning; None if there are none."""
        ended = [event for job in self._interrupted for event in job.recorder.finish()]
        if ended:
            emit(ended)
        if not self._jobs:
            return None
        engine = self._engine
        return Following(
            [job.recorder for job in self._jobs],
            engine.vocabulary.piece,
            engine.ends,
            emit,
            self._stop,
            engine.last_row or self._given,
            [len(job.given) for job in self._jobs if job.given is not None],
        )

    def _generate(self, watch: Watch) -> None:
        import torch
        from transformers import GenerationConfig

        engine, jobs = self._engine, self._jobs
        model: Any = self._model  # modules say of every attribute that it may be a tensor
        width = self.width
        padding = [width - len(job.prompt) for job in jobs]
        fill = self._fill
        ids = [[fill] * pad + job.prompt for pad, job in zip(padding, jobs, strict=True)]
        mask = [[0] * pad + [1] * len(job.prompt) for pad, job in zip(padding, jobs, strict=True)]
        if self._given:
            chain: list[Any] = [Forced([job.given or [] for job in jobs], width)]
        else:
            chain = processors([job.request.sampling for job in jobs], width)
            if any(job.matcher is not None for job in jobs):
                chain.insert(
                    0, Constrained([job.matcher for job in jobs], sorted(engine.ends), width)
                )
        make: Any = GenerationConfig
        known = vars(make()).keys()
        options = {k: v for k, v in engine.generation.items() if k not in known}
        own = {k: v for k, v in engine.generation.items() if k in known}
        config = make(
            max_length=width + max(job.limit for job in jobs),
            eos_token_id=None if self._given else sorted(engine.ends),
            pad_token_id=fill,
            **own,
        )
        if len(jobs) == 1 and self._reused is not None:
            options["past_key_values"] = self._reused.reused_for(jobs[0].prompt)
        options["logits_processor"] = [*options.get("logits_processor", []), *chain]
        generate = model.generate
        if self._private:  # past a capture that stands in for it
            generate = getattr(generate, "uncaptured", generate)

        def settings(_before: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            """The model's own are left out: a repetition penalty there is not the request's."""
            view = copy(model)  # other threads go on with those of the model itself
            view.generation_config = config
            return type(model)._prepare_generation_config(view, *args, **kwargs)

        with watch.installed(), standing_in(model, "_prepare_generation_config", settings):
            generate(
                torch.tensor(ids, device=device_of(model)),
                attention_mask=torch.tensor(mask, device=device_of(model)),
                generation_config=config,
                **options,
            )

    def _left_in(self, cache: Any) -> Prefix | None:
        """What can be reused: a cache that grew token by token for one sequence."""
        if len(self._jobs) != 1 or type(cache).__name__ != "DynamicCache":
            return None
        tokens = [*self._jobs[0].prompt, *self._jobs[0].recorder.ids]
        return Prefix(tokens[: cache.get_seq_length()], cache)

    def _stop(self, i: int, _step: Step) -> FinishReason | None:
        return self._jobs[i].request.interrupted

    def _over(self, emit: Emit[list[Event]]) -> bool:
        """Whether nobody wants the answers any more."""
        return emit.closed or all(job.request.interrupted for job in self._jobs)

    def _interrupt(self) -> None:
        for job in self._jobs:
            if not job.recorder.interrupted(job.request):
                job.recorder.reason = "closed"

    @property
    def _betas(self) -> list[float]:
        return [job.request.inverse_temperature for job in self._jobs]

    @property
    def _given(self) -> bool:
        return self._jobs[0].given is not None

    @property
    def _fill(self) -> int:
        """A token for the places that are masked."""
        pad = self._engine.tokenizer.pad_token_id
        if pad is not None and pad < self._engine.codec.vocabulary_size:
            return int(pad)
        return min(self._engine.ends, default=0)
