"""One batch: the same tokens through every model, and what each dictionary makes of their residuals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from extract.batches import Batch
from extract.dictionaries import Dictionary, SparseCodes
from extract.hooks import capture_residuals, run_truncated
from extract.pilot import LayerPilot
from extract.variants import ModelSet
from store.errors import UserError
from store.names import BASE

RESIDUAL_METRICS = (
    "cosine",
    "centred_cosine",
    "base_norm2",
    "variant_norm2",
    "base_centred2",
    "variant_centred2",
    "delta_norm2",
    "base_error2",
    "variant_error2",
    "delta_error2",
)
"""Per-token quantities that need the residuals themselves, in the order of :attr:`LayerLatents.metrics`' columns."""


@dataclass(frozen=True)
class LayerLatents:
    """What a batch gives at one layer, for its tokens that count.

    Attributes:
        rows: int64 [n], the tokens' rows in the shard.
        codes: model -> raw codes of the n tokens.
        metrics: variant -> float64 [n, len(RESIDUAL_METRICS)].
        residuals: model -> float32 [n, d_model].
        sinks: int64 [m], rows left out as attention sinks.
    """

    rows: torch.Tensor
    codes: Mapping[str, SparseCodes]
    metrics: Mapping[str, torch.Tensor]
    residuals: Mapping[str, torch.Tensor]
    sinks: torch.Tensor


def read_residuals(
    models: ModelSet, names: Sequence[str], batch: Batch, layers: Sequence[int]
) -> tuple[torch.Tensor, dict[str, dict[int, torch.Tensor]]]:
    """Run models on a batch and keep the residuals of its document tokens.

    Returns:
        (rows int64 [n], model -> layer -> float32 [n, d_model]); padding and BOS are left out.

    Raises:
        UserError: a residual is NaN or infinite (model and layer are named).
    """
    input_ids = torch.from_numpy(batch.input_ids).to(models.device)
    attention_mask = torch.from_numpy(batch.attention_mask).to(models.device)
    rows = torch.from_numpy(batch.rows).to(models.device)
    kept = rows >= 0
    residuals: dict[str, dict[int, torch.Tensor]] = {}
    for name in names:
        with models.active(name, input_ids) as model, capture_residuals(model, layers) as captured:
            run_truncated(model, input_ids, attention_mask)
            residuals[name] = {layer: captured[layer][kept].float() for layer in layers}
        for layer, residual in residuals[name].items():
            if not torch.isfinite(residual).all():
                raise UserError(
                    f"The model '{name}' gives NaN or infinite activations at layer {layer}; check its weights, or use a "
                    "wider dtype (float16 overflows on models with large residuals)."
                )
    return rows[kept], residuals


def layer_latents(
    dictionary: Dictionary,
    pilot: LayerPilot,
    rows: torch.Tensor,
    residuals: Mapping[str, torch.Tensor],
    sink_norm: float,
) -> LayerLatents:
    """Encode one layer's residuals of every model and compare each variant's with the base's, token by token.

    Args:
        rows: int64 [n], the tokens' rows in the shard.
        residuals: model -> float32 [n, d_model].
        sink_norm: tokens whose base norm is beyond it do not count.
    """
    counts = residuals[BASE].norm(dim=1) <= sink_norm
    residuals = {name: residual[counts] for name, residual in residuals.items()}
    encoded = {name: dictionary.encode(residual) for name, residual in residuals.items()}
    mean = pilot.mean.to(residuals[BASE].device)
    base = residuals[BASE].double()
    base_reconstruction = encoded[BASE][1]
    metrics = {
        name: _compare(base, residuals[name].double(), base_reconstruction, encoded[name][1], mean)
        for name in residuals
        if name != BASE
    }
    codes = {name: code for name, (code, _) in encoded.items()}
    return LayerLatents(rows[counts], codes, metrics, residuals, rows[~counts])


def _compare(
    base: torch.Tensor,
    variant: torch.Tensor,
    base_reconstruction: torch.Tensor,
    variant_reconstruction: torch.Tensor,
    mean: torch.Tensor,
) -> torch.Tensor:
    """float64 [n, len(RESIDUAL_METRICS)], all arguments float64."""
    delta = variant - base
    columns = {
        "cosine": _cosine(base, variant),
        "centred_cosine": _cosine(base - mean, variant - mean),
        "base_norm2": base.square().sum(1),
        "variant_norm2": variant.square().sum(1),
        "base_centred2": (base - mean).square().sum(1),
        "variant_centred2": (variant - mean).square().sum(1),
        "delta_norm2": delta.square().sum(1),
        "base_error2": (base - base_reconstruction).square().sum(1),
        "variant_error2": (variant - variant_reconstruction).square().sum(1),
        "delta_error2": (delta - (variant_reconstruction - base_reconstruction)).square().sum(1),
    }
    return torch.stack([columns[name] for name in RESIDUAL_METRICS], dim=1)


def _cosine(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    norms = (left.square().sum(1) * right.square().sum(1)).sqrt()
    # Two equal vectors have cosine 1 exactly, which the rounding of the square root does not always give.
    cosine = (left * right).sum(1) / norms.clamp_min(np.finfo(np.float64).tiny)
    return torch.where((left == right).all(1), 1.0, cosine.clamp(-1.0, 1.0))
