"""Dictionaries of the small world's base at any point of a block, exact by construction as :func:`tests.support.world.make_sae`
makes them of its residual stream; and what the base has there, by torch's plain hooks."""

from pathlib import Path

import torch
from sae_lens import SAE
from sae_lens.saes.transcoder import (
    JumpReLUTranscoder,
    JumpReLUTranscoderConfig,
    SkipTranscoder,
    SkipTranscoderConfig,
    Transcoder,
    TranscoderConfig,
)
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.support.architectures import ARCHITECTURES
from tests.support.points_by_hand import listened
from tests.support.world import sentences

GEMMA = ARCHITECTURES["gemma3_text"]
NAMES = {
    "resid_pre": "hook_resid_pre", "resid_mid": "hook_resid_mid", "resid_post": "hook_resid_post", "attn_z": "attn.hook_z",
    "attn_out": "hook_attn_out", "mlp_in": "mlp.hook_in", "mlp_out": "hook_mlp_out",
}  # fmt: skip
TRANSCODERS = {
    "transcoder": (Transcoder, TranscoderConfig),
    "skip_transcoder": (SkipTranscoder, SkipTranscoderConfig),
    "jumprelu_transcoder": (JumpReLUTranscoder, JumpReLUTranscoderConfig),
}
"""Architecture -> its class and that of its settings."""


def activations(base: Path, layer: int, *points: str) -> list[torch.Tensor]:
    """float32 [n, width] of each point, at the same tokens of some sentences; BOS left out."""
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    rows: list[list[torch.Tensor]] = [[] for _ in points]
    with torch.no_grad(), listened(GEMMA, model, [layer]) as seen:
        for text in sentences(40, seed=2):
            model(torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False)]]))
            for kept, point in zip(rows, points, strict=True):
                kept.append(seen[layer, point][0, 1:])
    return [torch.cat(kept) for kept in rows]


def make_dictionary(folder: Path, base: Path, layer: int, point: str, seed: int = 0) -> Path:
    """A JumpReLU SAE at a point: features 2i and 2i + 1 fire on the two sides of one axis about the mean."""
    [rows] = activations(base, layer, point)
    width, mean, spread = rows.shape[1], rows.mean(0), float((rows - rows.mean(0)).std())
    directions = _both_sides(width, seed)
    sae = SAE.from_dict(
        {"architecture": "jumprelu", "d_in": width, "d_sae": 2 * width, "dtype": "float32", "device": "cpu",
         "apply_b_dec_to_input": True, "normalize_activations": "none",
         "metadata": {"hook_name": f"blocks.{layer}.{NAMES[point]}", "prepend_bos": True}}
    )  # fmt: skip
    norms = torch.linspace(1, 2, 2 * width)
    with torch.no_grad():
        sae.W_dec.copy_(directions * norms[:, None])
        sae.W_enc.copy_((directions / norms[:, None]).T)
        sae.b_dec.copy_(mean)
        sae.b_enc.zero_()
        sae.threshold.copy_(0.3 * spread / norms)
    sae.save_model(folder)
    return folder


def make_transcoder(folder: Path, base: Path, layer: int, architecture: str, seed: int = 0) -> Path:
    """A transcoder from the MLP's input to its output: its features write what the best linear map makes of each axis, and of
    one that skips half of that goes past them."""
    read, written = activations(base, layer, "mlp_in", "mlp_out")
    width, mean = read.shape[1], read.mean(0)
    best = torch.linalg.lstsq(read - mean, written - written.mean(0)).solution
    directions = _both_sides(width, seed)
    kind, settings = TRANSCODERS[architecture]
    hooks = {"hook_name": f"blocks.{layer}.mlp.hook_in", "hook_name_out": f"blocks.{layer}.hook_mlp_out", "prepend_bos": True}
    sae = kind(
        settings.from_dict(
            {"d_in": width, "d_out": width, "d_sae": 2 * width, "dtype": "float32", "device": "cpu",
             "apply_b_dec_to_input": False, "normalize_activations": "none", "metadata": hooks}
        )
    )  # fmt: skip
    skipped = 0.5 * best if architecture == "skip_transcoder" else torch.zeros_like(best)
    with torch.no_grad():
        sae.W_enc.copy_(directions.T)
        sae.b_enc.copy_(-directions @ mean)
        sae.W_dec.copy_(directions @ (best - skipped))
        sae.b_dec.copy_(written.mean(0) - mean @ skipped)
        if architecture == "skip_transcoder":
            sae.W_skip.copy_(skipped.T)
        if architecture == "jumprelu_transcoder":
            sae.threshold.fill_(0.2 * float((read - mean).std()))
    sae.save_model(folder)
    return folder


def _both_sides(width: int, seed: int) -> torch.Tensor:
    """[2 width, width]: the axes of a random rotation, each with its opposite."""
    axes = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)))[0]
    return torch.stack([axes, -axes], dim=1).reshape(2 * width, width)
