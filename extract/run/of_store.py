"""The models and dictionaries that a finished store was made with, loaded once more and held to its hashes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from extract.config import RunConfig
from extract.config_sections import SaeConfig
from extract.models.loading import load_tokenizer, resolve_device, resolve_dtype, resolve_sae_dtype, tokenizer_digest
from extract.models.model_set import ModelSet
from extract.models.settings import settings_digest
from extract.pilot.layer_pilot import LayerPilot
from extract.run.inputs import plant_variants
from extract.saes.conventions import NORMS_OF_A_TOKEN
from extract.saes.dictionary import Dictionary
from extract.saes.dictionary_set import load_dictionaries
from store.errors import UserError
from store.format.manifest import Manifest, file_hash
from store.format.writer import PILOT_FILE
from store.read.store import Store


@dataclass(frozen=True)
class Loaded:
    """What a store was made with.

    Attributes:
        dictionaries: in the order of their layers.
        sinks: layer -> a token whose base norm is beyond it does not count.
        bos: token id put before each window, or None.
        pad: token id for padding, which is masked.
    """

    models: ModelSet
    dictionaries: list[Dictionary]
    sinks: Mapping[int, float]
    bos: int | None
    pad: int

    def dictionary(self, layer: int) -> Dictionary:
        """The dictionary of a layer that was asked for."""
        return next(dictionary for dictionary in self.dictionaries if dictionary.layer == layer)


def load_of_store(store: Store, config: RunConfig, variants: Sequence[str], layers: Sequence[int], twins: int = 0) -> Loaded:
    """Load the base, some variants with their twins, and the dictionaries of some layers, ready to predict.

    Args:
        config: the configuration that made the store.
        twins: of each variant, at most the store's.

    Raises:
        UserError: one of them is missing, or is another than the store was made with.
    """
    settings = {name: store.manifest.settings[name] for name in ("sink_factor", "count_sinks")}
    changes = {"variants": {name: config.variants[name] for name in variants}, "twins": twins, **settings}
    config = config.model_copy(update=changes)
    saes = [sae for layer in layers for sae in _saes_of(store.manifest, config, layer)]
    device = resolve_device(config.device)
    dtype = resolve_dtype(config.dtype, device)
    models = ModelSet(config, device, dtype, steers=True)
    of_saes = resolve_sae_dtype(config.sae_dtype, dtype)
    dictionaries = load_dictionaries(list(dict.fromkeys(saes)), models.shape, device, of_saes)
    by_layer = {dictionary.layer: dictionary for dictionary in dictionaries}
    tokenizer = load_tokenizer(config.base)
    check_same(store.manifest, models, {layer: by_layer.get(layer) for layer in layers}, tokenizer_digest(tokenizer))
    pilots = _pilots(store, layers)
    plant_variants(models, dictionaries, pilots)
    models.set_twin_factors(_twin_factors(store, models.twins))
    bos = tokenizer.bos_token_id if store.manifest.counts["bos"] else None
    pad = tokenizer.pad_token_id or 0
    return Loaded(
        models,
        [by_layer[layer] for layer in layers],
        {layer: pilot.sink_norm(config) for layer, pilot in pilots.items()},
        bos,
        pad if pad < min(models.embedding_rows.values()) else 0,
    )


def check_units(dictionary: Dictionary, what: str) -> None:
    """Refuse a dictionary whose codes of two models have no unit in common.

    Args:
        what: needs one, to end a sentence with.

    Raises:
        UserError: so it is.
    """
    if dictionary.sae.cfg.normalize_activations in NORMS_OF_A_TOKEN:
        raise UserError(
            f"The dictionary '{dictionary.name}' measures activations in units of each token's own norm, so that an activation "
            f"of the base cannot be put into the variant; {what} needs a dictionary without such a normalisation."
        )


def _saes_of(manifest: Manifest, config: RunConfig, layer: int) -> list[SaeConfig]:
    """The configuration's dictionaries that are called as the store's is at a layer: several where folders share a name."""
    name = manifest.saes[str(layer)]["name"]
    if found := [sae for sae in config.saes if sae.name == name]:
        return found
    raise UserError(
        f"The configuration has no dictionary '{name}', which the store was made with at layer {layer}; give the configuration "
        "that made the store."
    )


def check_same(manifest: Manifest, models: ModelSet, dictionaries: dict[int, Dictionary | None], tokenizer: str) -> None:
    """Compare hashes with the manifest's.

    Raises:
        UserError: the first that differs, by name.
    """
    base, *variants = models.names
    kept = {base: manifest.base, **{name: manifest.variants[name] for name in variants}}
    for name, settings in models.settings.items():
        if kept[name].get("configuration_sha256", settings_digest(settings)) != settings_digest(settings):
            raise UserError(
                f"The model '{name}' has another configuration than when the store was made, by which it computes something "
                "else from the same weights; give the one that the store was made with."
            )
    pairs = {f"base '{manifest.base['name']}'": (manifest.base["sha256"], models.digests[base])}
    pairs["tokenizer"] = (manifest.tokenizer["sha256"], tokenizer)
    for name in variants:
        pairs[f"variant '{name}'"] = (manifest.variants[name]["sha256"], models.digests[name])
    for layer, dictionary in dictionaries.items():
        pairs[f"dictionary of layer {layer}"] = (manifest.saes[str(layer)]["sha256"], dictionary and dictionary.digest())
    for what, (expected, found) in pairs.items():
        if expected != found:
            raise UserError(
                f"The {what} of the configuration is not the one that the store was made with: its hash differs from the "
                "manifest's (hashes are of the weights as loaded, so that another dtype differs too)."
            )
    for layer, dictionary in dictionaries.items():
        if dictionary.centred != manifest.saes[str(layer)].get("centred", False):
            raise UserError(
                f"The store was made before residuals were read as the dictionary of layer {layer} was trained on them, less "
                "their mean (center_writing_weights), so that its activations are others; extract it again."
            )


def _pilots(store: Store, layers: Sequence[int]) -> dict[int, LayerPilot]:
    """What the run's pilot fixed of some layers, as the store keeps it."""
    found = {}
    with _pilot_file(store) as arrays:
        for layer in layers:
            numbers = store.manifest.pilot[str(layer)]
            found[layer] = LayerPilot(
                median_norm=numbers["median_norm"],
                mean=torch.from_numpy(arrays[f"{layer}/mean"]),
                code_scale=numbers["code_scale"],
                activation_unit=numbers["activation_unit"],
                fvu=numbers["self_test_fvu"],
                l0=numbers["self_test_l0"],
            )
    return found


def _twin_factors(store: Store, twins: Sequence[str]) -> dict[str, float]:
    """How large the run's pilot made each of some twins."""
    with _pilot_file(store) as arrays:
        return {name: float(arrays[f"twins/{name}"][0]) for name in twins}


def _pilot_file(store: Store) -> np.lib.npyio.NpzFile:
    path = store.path / PILOT_FILE
    if not path.is_file() or file_hash(path) != store.manifest.files[PILOT_FILE]["sha256"]:
        raise UserError(f"The store '{store.path}' is damaged: '{PILOT_FILE}' is missing or not as written; copy it again.")
    return np.load(path)
