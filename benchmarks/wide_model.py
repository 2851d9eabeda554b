"""A small random model with a large vocabulary: its rows are long, and its tokens quick.

    python -m benchmarks.wide_model FILE.gguf --vocabulary 151936
    energy-guard bench --model FILE.gguf --n-threads 1

Beside a token of a large model on a fast machine a row costs most. Here nearly all of a token is
the product with the matrix of the vocabulary: of about the same size for every vocabulary, and
smaller in transformers, where it is in float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from gguf import GGMLQuantizationType, TokenType

LAYERS: Final = 2
HEAD: Final = 64
WEIGHTS: Final = 110_000_000
"""Of the matrix of the vocabulary, about: 117 MB in a GGUF file, whose token takes 5 ms."""
SPECIALS: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def wide_transformers(vocabulary: int) -> Any:
    """Return such a model for transformers, in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    width = _width(vocabulary, WEIGHTS // 6)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=LAYERS,
        num_attention_heads=width // HEAD,
        eos_token_id=None,
        pad_token_id=0,
    )
    model: Any = LlamaForCausalLM(config)
    return model.eval()


def write_wide_model(path: Path, vocabulary: int) -> None:
    """Write such a model as a GGUF file; it never chooses an end token."""
    width = _width(vocabulary, WEIGHTS)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"random, vocabulary {vocabulary}, width {width}")
    writer.add_context_length(4096)
    writer.add_embedding_length(width)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(width // HEAD)
    writer.add_head_count_kv(width // HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(vocabulary)
    _add_tokens(writer, vocabulary)
    writer.add_chat_template(CHATML)
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((vocabulary, width), np.float32)
    embedding[-len(SPECIALS) :] = 0.0  # their logits are 0, and of so many others some are above
    _add(writer, "token_embd.weight", embedding)  # of the last matrix, too
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(width, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            _add(writer, f"blk.{layer}.{name}.weight", _random(rng, width, width))
        for name in ("ffn_gate", "ffn_up"):
            _add(writer, f"blk.{layer}.{name}.weight", _random(rng, 2 * width, width))
        _add(writer, f"blk.{layer}.ffn_down.weight", _random(rng, width, 2 * width))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _width(vocabulary: int, weights: int) -> int:
    return HEAD * max(1, round(weights / vocabulary / HEAD))


def _add_tokens(writer: gguf.GGUFWriter, vocabulary: int) -> None:
    """The bytes, as GPT-2 writes them; made-up words; control tokens at the end."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    alphabet = [chr(byte if byte in printable else next(others)) for byte in range(256)]
    words = [f"w{number}" for number in range(vocabulary - 257 - len(SPECIALS))]
    tokens = [*alphabet, "th", *words, *SPECIALS]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    kinds = [TokenType.NORMAL] * (vocabulary - len(SPECIALS)) + [TokenType.CONTROL] * len(SPECIALS)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h"])  # an empty list is not written, and the file does not load
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)


def _random(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    weights = rng.standard_normal((rows, columns), np.float32)
    weights /= np.sqrt(columns)
    return weights


def _add(writer: gguf.GGUFWriter, name: str, tensor: np.ndarray) -> None:
    kind = GGMLQuantizationType.Q8_0
    writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, metavar="FILE.gguf")
    parser.add_argument("--vocabulary", type=int, default=151_936)
    args = parser.parse_args()
    write_wide_model(args.path, args.vocabulary)


if __name__ == "__main__":
    main()
