"""One batch: the same tokens through every model, and what each dictionary makes of their residuals."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from extract.batches import Batch
from extract.dictionaries import Dictionary, SparseCodes
from extract.hooks import Residuals, capture_residuals, resume_after, run_truncated
from extract.pilot import LayerPilot
from extract.planted import PlantedChange
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
"""Per-token quantities that need the residuals themselves, in the order of :attr:`Side.metrics`' columns."""


@dataclass(frozen=True)
class Side:
    """A variant, or what stands in its place, beside the base.

    Attributes:
        residuals: float32 [n, d_model].
        codes: raw codes of the n tokens.
        metrics: float64 [n, len(RESIDUAL_METRICS)].
    """

    residuals: torch.Tensor
    codes: SparseCodes
    metrics: torch.Tensor


@dataclass(frozen=True)
class LayerBatch:
    """The base's tokens of a batch that count at one layer, ready for others to be compared with them.

    Attributes:
        rows: int64 [n], the tokens' rows in the shard.
        counts: bool [all tokens of the batch], which ones these are; the others are attention sinks.
        residuals: float32 [n, d_model].
        codes: raw codes of the n tokens.
        reconstruction: float64 [n, d_model].
    """

    dictionary: Dictionary
    pilot: LayerPilot
    rows: torch.Tensor
    counts: torch.Tensor
    residuals: torch.Tensor
    codes: SparseCodes
    reconstruction: torch.Tensor

    @classmethod
    def of(
        cls, dictionary: Dictionary, pilot: LayerPilot, rows: torch.Tensor, residuals: torch.Tensor, sink_norm: float
    ) -> "LayerBatch":
        """Leave out the sinks and encode the rest.

        Args:
            rows: int64 [tokens].
            residuals: float32 [tokens, d_model], the base's.
            sink_norm: tokens whose norm is beyond it do not count.
        """
        counts = residuals.norm(dim=1) <= sink_norm
        codes, reconstruction = dictionary.encode(residuals[counts])
        return cls(dictionary, pilot, rows[counts], counts, residuals[counts], codes, reconstruction)

    @cached_property
    def exact(self) -> torch.Tensor:
        """float64 [n, d_model], the residuals."""
        return self.residuals.double()

    @cached_property
    def centred(self) -> torch.Tensor:
        """float64 [n, d_model], the residuals less the pilot's mean."""
        return self.exact - self._mean

    @cached_property
    def own_metrics(self) -> dict[str, torch.Tensor]:
        """Those of RESIDUAL_METRICS that are the base's alone, float64 [n] each: the same beside every side."""
        return {
            "base_norm2": self.exact.square().sum(1),
            "base_centred2": self.centred.square().sum(1),
            "base_error2": (self.exact - self.reconstruction).square().sum(1),
        }

    def compare(self, residuals: torch.Tensor) -> Side:
        """Encode other residuals of the same tokens, float32 [n, d_model], and compare them token by token."""
        codes, reconstruction = self.dictionary.encode(residuals)
        variant = residuals.double()
        centred, delta = variant - self._mean, variant - self.exact
        columns = self.own_metrics | {
            "cosine": _cosine(self.exact, variant),
            "centred_cosine": _cosine(self.centred, centred),
            "variant_norm2": variant.square().sum(1),
            "variant_centred2": centred.square().sum(1),
            "delta_norm2": delta.square().sum(1),
            "variant_error2": (variant - reconstruction).square().sum(1),
            "delta_error2": (delta - (reconstruction - self.reconstruction)).square().sum(1),
        }
        return Side(residuals, codes, torch.stack([columns[name] for name in RESIDUAL_METRICS], dim=1))

    @property
    def _mean(self) -> torch.Tensor:
        return self.pilot.mean.to(self.residuals.device)

    def only(self, kept: torch.Tensor) -> "LayerBatch":
        """Some of the tokens; kept: bool [n]."""
        counts = self.counts.clone()
        counts[self.counts] = kept
        codes = self.codes.only(kept)
        return LayerBatch(
            self.dictionary, self.pilot, self.rows[kept], counts, self.residuals[kept], codes, self.reconstruction[kept]
        )


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
    base: Residuals | None = None
    for name in names:
        change = None if base is None else models.change(name)
        if change is not None and change.layer in base:
            captured = _changed(models, change, base, input_ids, attention_mask)
        else:
            with models.active(name, input_ids) as model, capture_residuals(model, layers) as captured:
                run_truncated(model, input_ids, attention_mask)
        base = captured if name == BASE else base
        # A model that is spread over devices gives each layer's residuals on that layer's.
        residuals[name] = {layer: captured[layer].to(kept.device)[kept].float() for layer in layers}
        for layer, residual in residuals[name].items():
            if not torch.isfinite(residual).all():
                raise UserError(
                    f"The model '{name}' gives NaN or infinite activations at layer {layer}; check its weights, or use a "
                    "wider dtype (float16 overflows on models with large residuals)."
                )
    return rows[kept], residuals


@torch.inference_mode()
def _changed(
    models: ModelSet, change: PlantedChange, base: Residuals, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> Residuals:
    """What a planted variant makes of the base's residuals: below its layer they stay, and only what is above it runs again."""
    found = Residuals({layer: hidden for layer, hidden in base.items() if layer < change.layer})
    found[change.layer] = change.of(base[change.layer], input_ids)
    if above := [layer for layer in base if layer > change.layer]:
        with (
            models.active(BASE, input_ids) as model,
            resume_after(models.base, change.layer, found[change.layer], base.in_tuples),
            capture_residuals(model, above) as captured,
        ):
            run_truncated(model, input_ids, attention_mask)
        found.update(captured)
    return found


def read_again(
    models: ModelSet, batch: Batch, wanted: np.ndarray, layers: Sequence[int]
) -> tuple[torch.Tensor, dict[int, torch.Tensor]] | None:
    """Run the base once more on some windows of a batch, in a batch of another shape.

    It is one column wider; where that is more positions than the model has, one row longer.

    Args:
        wanted: bool [rows of the shard]; windows with a wanted token are run, and only wanted tokens come back.

    Returns:
        (rows int64 [n], layer -> float32 [n, d_model]), or None where the batch has no such window.
    """
    chosen = ((batch.rows >= 0) & wanted[batch.rows]).any(axis=1)
    if not chosen.any():
        return None
    positions = getattr(models.shape, "max_position_embeddings", None)
    widen = ((0, 0), (0, 1))
    if positions and batch.rows.shape[1] >= positions:
        widen = ((0, 1), (0, 0))
    again = Batch(
        np.pad(batch.input_ids[chosen], widen, mode="edge"),
        np.pad(batch.attention_mask[chosen], widen, mode="edge" if widen[0][1] else "constant"),
        np.pad(batch.rows[chosen], widen, constant_values=-1),
    )
    rows, residuals = read_residuals(models, [BASE], again, layers)
    kept = torch.from_numpy(wanted)[rows.cpu()].to(rows.device)
    return rows[kept], {layer: residual[kept] for layer, residual in residuals[BASE].items()}


def _cosine(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    norms = (left.square().sum(1) * right.square().sum(1)).sqrt()
    # Two equal vectors have cosine 1 exactly, which the rounding of the square root does not always give.
    cosine = (left * right).sum(1) / norms.clamp_min(np.finfo(np.float64).tiny)
    return torch.where((left == right).all(1), 1.0, cosine.clamp(-1.0, 1.0))
