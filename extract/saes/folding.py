"""A dictionary's normalisation that is of its training tokens, folded into its weights, and the weights loaded so."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE
from sae_lens.constants import ACTIVATION_SCALER_CFG_FILENAME, SPARSIFY_WEIGHTS_FILENAME
from sae_lens.loading import pretrained_sae_loaders as loaders
from sae_lens.loading.pretrained_saes_directory import get_norm_scaling_factor
from sae_lens.training.activation_scaler import ActivationScaler

from extract.saes.conventions import FOLDED
from extract.saes.hub_files import from_a_folder
from extract.saes.releases import Place
from store.errors import UserError

FOLDING = {
    "expected_average_only_in": (
        "scale (sqrt(d_in) / mean norm over its training tokens)",
        "fold_activation_norm_scaling_factor",
    ),
    "covariance_whitening": ("whitening (a mean and two matrices)", "fold_activation_whitening"),
}
"""normalize_activations -> (the numbers that it needs, the method of a sae-lens SAE that folds them in)."""


@dataclass(frozen=True)
class Fold:
    """What has to be folded into the weights, so that the dictionary reads activations as they are.

    Attributes:
        wanted: its normalize_activations.
        scaler: the numbers, from the file that sae-lens' trainer keeps beside a checkpoint; None where sae-lens needs none.
        said: for people, with its value.
    """

    wanted: str
    scaler: ActivationScaler | None
    said: str

    @classmethod
    def of(cls, place: Place, wanted: str) -> "Fold":
        """Find the numbers.

        Raises:
            UserError: they are in none of its files.
        """
        if wanted not in FOLDED:
            return cls(wanted, None, "")
        if place.path is None and wanted == "expected_average_only_in":
            factor = get_norm_scaling_factor(place.release, place.id)
            if factor is not None:  # sae-lens does it itself
                return cls(wanted, None, f"{wanted}: {factor:.6g}, from the registry of sae-lens")
        scaler = ActivationScaler(place.scale)
        file = None if place.path is None else place.path / ACTIVATION_SCALER_CFG_FILENAME
        if file is not None and file.is_file():
            scaler.load(file)
        found = scaler.whitening if wanted == "covariance_whitening" else scaler.scaling_factor
        if not found:
            numbers, method = FOLDING[wanted]
            raise UserError(
                f"{place} says normalize_activations: {wanted}, and its {numbers} is in none of its files; fold it into the "
                f"weights with sae-lens' {method} and save it again, or put its training's {ACTIVATION_SCALER_CFG_FILENAME} "
                "beside it."
            )
        return cls(wanted, scaler, wanted if scaler.whitening is not None else f"{wanted}: {scaler.scaling_factor:.6g}")

    def load(self, place: Place, device: str, dtype: torch.dtype) -> SAE:
        """The dictionary with its weights."""
        name = str(dtype).removeprefix("torch.")
        if place.path is None:
            return SAE.from_pretrained(place.release, place.id, device=device, dtype=name)
        read = _loader(place)
        if self.scaler is None:
            return SAE.load_from_disk(place.path, device=device, dtype=name, converter=read)
        sae = SAE.load_from_disk(place.path, device=device, dtype="float32", converter=read)  # folded before it is rounded
        if (whitening := self.scaler.whitening) is not None:
            sae.fold_activation_whitening(whitening.mean, whitening.matrix, whitening.inverse_matrix)
        else:
            sae.fold_activation_norm_scaling_factor(self.scaler.scaling_factor)
        return sae.to(dtype=dtype)


Loaded = tuple[dict[str, Any], dict[str, torch.Tensor]]


def _loader(place: Place) -> Callable[..., Loaded]:
    """What SAE.load_from_disk is to read a folder with."""
    if place.loader == "sae_lens":
        return loaders.sae_lens_disk_loader

    def load(path: Path, device: str, cfg_overrides: dict[str, Any] | None) -> Loaded:
        overrides = {**place.overrides, **(cfg_overrides or {})}
        if place.loader == "sparsify":
            return _sparsify(path, device, overrides)
        with from_a_folder(path, place.folder):
            read = loaders.NAMED_PRETRAINED_SAE_LOADERS[place.loader]
            return read(place.repository, place.folder, device, False, overrides)[:2]

    return load


def _sparsify(path: Path, device: str, overrides: dict[str, Any]) -> Loaded:
    """As sae-lens' own loader does it, which transposes a decoder that needs no transposing."""
    settings = loaders.get_sparsify_config_from_disk(path.resolve(), device, overrides)
    found = loaders.load_safetensors_weights(path / SPARSIFY_WEIGHTS_FILENAME, device, settings["dtype"])
    weights = {"W_enc": found["encoder.weight"].T.contiguous(), "b_enc": found["encoder.bias"]}
    return settings, {**weights, "W_dec": found["W_dec"], "b_dec": found["b_dec"]}
