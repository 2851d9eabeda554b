"""A tiny random llama model as a GGUF file: loads in milliseconds, writes printable text."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, TokenType

WIDTH, HIDDEN, LAYERS, HEADS, KV_HEADS = 64, 192, 2, 4, 2
HEAD_DIM = WIDTH // HEADS
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = ("▁Paris", "▁Par", "▁P", "Paris", "Par", "ar", "is", "▁is", "▁the", "the", "th", "▁t", "he")
SENTENCEPIECE = [
    *("<unk>", "<s>", "</s>", *BYTES, *WORDS, "▁"),
    *(chr(byte) for byte in range(33, 127)),
]
"""Control tokens, bytes, words with and without the mark of a space, and the letters."""

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tiny_gguf(
    path: Path,
    *,
    seed: int = 0,
    dtype: str = "f32",
    chat_template: str | None = CHATML,
    eos_bias: float = -2.0,
    original_context: int | None = None,
    sentencepiece: bool = False,
    architecture: str = "llama",
) -> Path:
    """Write a model whose vocabulary is the 256 bytes, "th" and the control tokens.

    It generates printable ASCII, "th" and the end token `<|im_end|>` only. dtype: f32, or a type
    that `gguf.quants` can write in blocks of 32 (f16, q8_0, q4_0, …). eos_bias: how likely the
    end token is; -50 means never. original_context: beyond it positions are scaled otherwise.
    sentencepiece: the vocabulary is `SENTENCEPIECE`, with a space put before every text, as in
    Llama 2; it writes words and letters, and ends with `</s>`. architecture: one with the same
    tensors, such as gemma.
    """
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    if original_context is not None:
        writer.add_rope_scaling_orig_ctx_len(original_context)
    if sentencepiece:
        _add_sentencepiece(writer)
        size, end = len(SENTENCEPIECE), 2
        written = [*range(3 + len(BYTES), size)]
    else:
        _add_vocabulary(writer)
        size = 257 + len(SPECIALS)
        written, end = [*range(32, 127), 256], size - 1
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    for name, tensor in _weights(seed, size, written, end, eos_bias).items():
        if name != "output.weight" or architecture != "gemma":  # there it is the embedding's
            _add_tensor(writer, name, tensor, dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_tiny_lora(path: Path, *, shape_a: tuple[int, ...], shape_b: tuple[int, ...]) -> Path:
    """Write a LoRA for the queries of a tiny model; (R, WIDTH) and (WIDTH, R) fit it."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    rng = np.random.default_rng(0)
    for layer in range(LAYERS):
        for part, shape in (("a", shape_a), ("b", shape_b)):
            tensor = rng.normal(size=shape).astype(np.float32)
            writer.add_tensor(f"blk.{layer}.attn_q.weight.lora_{part}", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_sentencepiece(writer: gguf.GGUFWriter) -> None:
    types = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    types += [TokenType.BYTE] * len(BYTES)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(SENTENCEPIECE)
    writer.add_token_types(types + [TokenType.NORMAL] * (len(SENTENCEPIECE) - len(types)))
    writer.add_token_scores([-float(i) for i in range(len(SENTENCEPIECE))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    tokens = [*_byte_characters(), "th", *SPECIALS]
    types = [TokenType.NORMAL] * 257 + [TokenType.CONTROL] * len(SPECIALS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["t h"])  # an empty list is not written, and the file does not load
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)


def _byte_characters() -> list[str]:
    """GPT-2's printable stand-ins, so that token id = byte."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(b if b in printable else 0x100 + others.index(b)) for b in range(256)]


def _weights(
    seed: int, vocabulary: int, written: list[int], end: int, eos_bias: float
) -> dict[str, np.ndarray]:
    """Channel 0 of the residual stream is constant, so head[:, 0] acts as a bias on the logits."""
    rng = np.random.default_rng(seed)

    def random(rows: int, columns: int, scale: float = 1.0) -> np.ndarray:
        return rng.normal(0, scale / np.sqrt(columns), (rows, columns)).astype(np.float32)

    embedding = rng.normal(0, 1, (vocabulary, WIDTH)).astype(np.float32)
    embedding[:, 0] = 4.0
    head = random(vocabulary, WIDTH, 2.5)
    head[:, 0] = -50.0  # out of reach, and yet small enough to leave the row means their meaning
    head[written, 0] = 0.0
    head[end, 0] = eos_bias
    weights = {
        "token_embd.weight": embedding,
        "output.weight": head,
        "output_norm.weight": np.ones(WIDTH, np.float32),
    }
    for layer in range(LAYERS):
        block = {
            "attn_norm": np.ones(WIDTH, np.float32),
            "attn_q": random(HEADS * HEAD_DIM, WIDTH, 1.5),
            "attn_k": random(KV_HEADS * HEAD_DIM, WIDTH, 1.5),
            "attn_v": random(KV_HEADS * HEAD_DIM, WIDTH),
            "attn_output": random(WIDTH, HEADS * HEAD_DIM, 1.5),
            "ffn_norm": np.ones(WIDTH, np.float32),
            "ffn_gate": random(HIDDEN, WIDTH, 1.5),
            "ffn_up": random(HIDDEN, WIDTH, 1.5),
            "ffn_down": random(WIDTH, HIDDEN, 1.5),
        }
        block["attn_output"][0] = block["ffn_down"][0] = 0.0
        weights |= {f"blk.{layer}.{name}.weight": tensor for name, tensor in block.items()}
    return weights


def _add_tensor(writer: gguf.GGUFWriter, name: str, tensor: np.ndarray, dtype: str) -> None:
    if dtype == "f32" or tensor.ndim == 1:
        writer.add_tensor(name, tensor)
        return
    kind = GGMLQuantizationType[dtype.upper()]
    data = gguf.quants.quantize(tensor, kind)
    if kind == GGMLQuantizationType.F16:
        writer.add_tensor(name, data)
    else:
        writer.add_tensor(name, data, raw_dtype=kind)
