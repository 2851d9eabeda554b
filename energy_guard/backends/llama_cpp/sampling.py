"""Requests' sampling settings and constraints → arguments of `Llama.generate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from energy_guard.errors import InputError
from energy_guard.request import Grammar, JsonSchema, Request, Sampling

if TYPE_CHECKING:
    from llama_cpp import Llama


def generate_options(llm: Llama, request: Request) -> dict[str, Any]:
    """Return keyword arguments; InputError for a grammar or schema that cannot be used."""
    sampling = request.sampling
    return {
        "temp": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "typical_p": sampling.typical_p,
        "repeat_penalty": sampling.repeat_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "mirostat_mode": sampling.mirostat_mode,
        "mirostat_tau": sampling.mirostat_tau,
        "mirostat_eta": sampling.mirostat_eta,
        "logits_processor": _bias(sampling),
        "grammar": _grammar(llm, request.constraint),
    }


def _grammar(llm: Llama, constraint: Grammar | JsonSchema | None) -> Any:
    if constraint is None:
        return None
    from llama_cpp import llama_sampler_free, llama_sampler_init_grammar
    from llama_cpp.llama_grammar import LlamaGrammar

    try:
        if isinstance(constraint, JsonSchema):
            grammar = LlamaGrammar.from_json_schema(constraint.schema, verbose=False)
        else:
            grammar = LlamaGrammar.from_string(constraint.gbnf, verbose=False)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"the JSON schema cannot be used: {error}") from error
    # A grammar that does not parse would crash the process inside the sampler chain.
    parsed = llama_sampler_init_grammar(
        llm._model.vocab, grammar._grammar.encode(), grammar._root.encode()
    )
    if not parsed:
        raise InputError(
            "the grammar does not parse", "It is GBNF with a rule named root; look for typos."
        )
    llama_sampler_free(parsed)
    return grammar


def _bias(sampling: Sampling) -> Any:
    """A bias on chosen logits; it acts on the sampler's copy, the raw row stays as it is."""
    if not sampling.logit_bias:
        return None
    from llama_cpp import LogitsProcessorList

    def add_bias(_ids: Any, row: Any) -> Any:
        for token, value in sampling.logit_bias.items():
            row[token] += value
        return row

    return LogitsProcessorList([add_bias])
