"""Known changes of the base: what a planted variant does to the residuals of its block. Definitions: docs/metrics.md."""

import torch

from extract.config_sections import PlantedEdit
from extract.hashed_random import gaussian, mix, text_key
from extract.models.sites import PlantedChange
from extract.pilot.layer_pilot import LayerPilot
from extract.saes.dictionary import Dictionary


def planted_change(edit: PlantedEdit, dictionary: Dictionary, pilot: LayerPilot, pad: int) -> PlantedChange:
    """What an edit means, given the dictionary of its layer and what the pilot fixed there.

    Args:
        pad: token id of padding.
    """
    units = torch.stack([dictionary.direction(feature) for feature in edit.features])
    unit = units[0]
    added = unit * (edit.strength * pilot.median_norm)
    turn = rotation(len(unit), edit) if edit.rotate else None

    def changed(hidden: torch.Tensor, input_ids: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        if edit.isotropic:
            noise = gaussian(noise_keys(input_ids, edit, pad).flatten(), hidden.shape[-1]).reshape(hidden.shape).to(hidden)
            noise = dictionary.prepare(noise)
            return hidden + noise * (added.to(hidden).norm() / noise.norm(dim=-1, keepdim=True))
        if edit.rescale:
            return hidden * edit.strength
        if edit.rotate:
            return hidden @ turn.to(hidden)
        along = unit.to(hidden)
        if edit.project_out:
            return hidden - ((hidden - pilot.mean.to(hidden)) @ along).unsqueeze(-1) * along
        if edit.ablate:
            written = dictionary.writes(edit.features, dictionary.prepare(seen.float(), dictionary.reads)).to(hidden)
            return hidden - edit.strength * written @ units.to(hidden)
        return hidden + added.to(hidden)

    def where_triggered(hidden: torch.Tensor, input_ids: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        input_ids = input_ids.to(hidden.device)
        triggered = (input_ids % edit.every == 0).unsqueeze(-1)
        return torch.where(triggered, changed(hidden, input_ids, seen), hidden)

    return PlantedChange(dictionary.site, where_triggered, dictionary.reads)


def rotation(d_model: int, edit: PlantedEdit) -> torch.Tensor:
    """float64 [d_model, d_model]: exp of a random antisymmetric matrix whose largest angle is the edit's strength."""
    drawn = gaussian(mix(torch.arange(d_model), text_key("rotation", str(edit.layer), str(edit.feature))), d_model).double()
    turns = drawn - drawn.T
    return torch.linalg.matrix_exp(turns * (edit.strength / torch.linalg.matrix_norm(turns, 2)))


def noise_keys(input_ids: torch.Tensor, edit: PlantedEdit, pad: int) -> torch.Tensor:
    """int64 like ``input_ids``: a key for each token, of its position and of all tokens of its window, layer and feature.

    Of all of them: documents that begin alike (with a chat template's marks, say) must not share their noise. Padding does
    not enter, so that the noise does not depend on the batch.
    """
    position = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    window = torch.where(input_ids == pad, 0, mix(input_ids, position)).sum(dim=1, keepdim=True)
    return mix(window, text_key("planted", str(edit.layer), str(edit.feature)), position)
