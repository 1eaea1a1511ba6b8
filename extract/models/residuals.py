"""One batch through the models: what its tokens have at every site that a dictionary reads or writes.

Called residuals here and in what follows, whatever the point.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from extract.corpus.batches import Batch
from extract.device import to_device
from extract.models.hooks import Activations, capture_activations, check_shape, run_truncated
from extract.models.model_set import ModelSet
from extract.models.sites import PlantedChange, Site
from store.errors import UserError
from store.names import BASE


def read_residuals(
    models: ModelSet, names: Sequence[str], batch: Batch, sites: Sequence[Site]
) -> tuple[torch.Tensor, dict[str, dict[Site, torch.Tensor]]]:
    """Run models on a batch and keep the residuals of its document tokens.

    Returns:
        (rows int64 [n] on the CPU, model -> site -> float32 [n, width]); padding and BOS are left out.

    Raises:
        UserError: a residual is NaN or infinite (model and layer are named).
    """
    input_ids = to_device(torch.from_numpy(batch.input_ids), models.device)
    attention_mask = to_device(torch.from_numpy(batch.attention_mask), models.device)
    rows = batch.rows.ravel()
    place = torch.from_numpy(np.flatnonzero(rows >= 0))
    kept = to_device(place, models.device)
    residuals: dict[str, dict[Site, torch.Tensor]] = {}
    base: Activations | None = None
    for name in names:
        change = None if base is None else models.change(name)
        if change is not None and change.site in base and change.reads in base:
            captured = _changed(models, change, base, sites, input_ids, attention_mask)
        else:
            with models.active(name, input_ids) as model, capture_activations(model, sites) as captured:
                run_truncated(model, input_ids, attention_mask)
        base = captured if name == BASE else base
        for site in sites:
            check_shape(captured.get(site), input_ids, models.width(site), f"The model '{name}'")
        # A model that is spread over devices gives each layer's residuals on that layer's.
        residuals[name] = {site: captured[site].to(kept.device).flatten(0, 1).index_select(0, kept).float() for site in sites}
    _check_finite(residuals)
    return torch.from_numpy(rows)[place], residuals


def _check_finite(residuals: dict[str, dict[Site, torch.Tensor]]) -> None:
    """All at once, since each question makes the host wait for the device."""
    places = [(name, site) for name, of_model in residuals.items() for site in of_model]
    finite = torch.stack([torch.isfinite(residuals[name][site]).all() for name, site in places]).tolist()
    if not all(finite):
        name, site = places[finite.index(False)]
        raise UserError(
            f"The model '{name}' gives NaN or infinite activations at layer {site.layer}; check its weights, or use a wider "
            "dtype (float16 overflows on models with large residuals)."
        )


@torch.inference_mode()
def _changed(
    models: ModelSet,
    change: PlantedChange,
    base: Activations,
    sites: Sequence[Site],
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
) -> Activations:
    """What a planted variant makes of the base's residuals: below its site they stay, and only what is above it runs again."""
    edited = change.site
    found = Activations({site: hidden for site, hidden in base.items() if site < edited})
    found[edited] = change.of(base[edited], input_ids, base[change.reads])
    if above := [site for site in sites if edited < site]:
        with (
            models.active(BASE, input_ids) as model,
            edited.resume(models.base, found[edited], base.beside[edited]),
            capture_activations(model, above) as captured,
        ):
            run_truncated(model, input_ids, attention_mask)
        found.update(captured)
    return found


def read_again(
    models: ModelSet, batch: Batch, wanted: np.ndarray, sites: Sequence[Site]
) -> tuple[torch.Tensor, dict[Site, torch.Tensor]] | None:
    """Run the base once more on some windows of a batch, in a batch of another shape.

    It is one column wider; where that is more positions than the model has, one row longer.

    Args:
        wanted: bool [rows of the shard]; windows with a wanted token are run, and only wanted tokens come back.

    Returns:
        (rows int64 [n] on the CPU, site -> float32 [n, width]), or None where the batch has no such window.
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
    rows, residuals = read_residuals(models, [BASE], again, sites)
    kept = torch.from_numpy(wanted)[rows].nonzero().squeeze(1)
    place = to_device(kept, models.device)
    return rows[kept], {site: residual.index_select(0, place) for site, residual in residuals[BASE].items()}


@dataclass(frozen=True)
class ResidualReader:
    """What a run reads residuals with; another in its place can record, or change, what it reads."""

    models: ModelSet

    def read(
        self, names: Sequence[str], batch: Batch, sites: Sequence[Site]
    ) -> tuple[torch.Tensor, dict[str, dict[Site, torch.Tensor]]]:
        """As :func:`read_residuals`."""
        return read_residuals(self.models, names, batch, sites)

    def read_again(
        self, batch: Batch, wanted: np.ndarray, sites: Sequence[Site]
    ) -> tuple[torch.Tensor, dict[Site, torch.Tensor]] | None:
        """As :func:`read_again`."""
        return read_again(self.models, batch, wanted, sites)
