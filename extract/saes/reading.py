"""Reading a dictionary off the disk or the hub, through sae-lens: its settings first, then its weights, of which every tensor
comes from its file and every tensor of the file is used. On the device "meta": everything but the weights."""

import json
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from sae_lens import SAE
from sae_lens.constants import SAE_CFG_FILENAME
from sae_lens.loading import pretrained_sae_loaders as loaders
from transformers import PretrainedConfig

from extract.config_sections import SaeConfig
from extract.saes.architectures import TRANSCODERS, check_architecture
from extract.saes.conventions import check_settings
from extract.saes.folding import Fold
from extract.saes.hub_files import NO_HUB, from_a_folder, from_the_hub
from extract.saes.judging import judged, loader_notes
from extract.saes.registry import Known
from extract.saes.releases import Place, find
from extract.saes.tensors import DTYPES, WEIGHTS, check_tensors, check_values, header_of
from store.errors import UserError

# What it asks for is done (Dictionary.prepare), or refused (extract/saes/conventions.py).
warnings.filterwarnings("ignore", message=r"\s*This SAE has non-empty model_from_pretrained_kwargs")
warnings.filterwarnings("ignore", message="This loads the CLT layer as a single layer transcoder")  # told in a note


@dataclass(frozen=True)
class Read:
    """A dictionary as it was read.

    Attributes:
        sae: ready to encode; on "meta" with shapes alone.
        file: with its weights, where it is known and at hand.
        settings: of its file, before sae-lens drops what it does not know; a FromRegistry, of names alone.
        stored: the widest dtype of the weights in the file, "float32"; None where the file is not looked at.
        folded: what was folded into the weights, with its value; "" for nothing.
        notes: what the user should know of it.
    """

    sae: SAE
    file: Path | None
    settings: Mapping[str, Any]
    stored: str | None
    folded: str
    notes: list[str]


def read_sae(config: SaeConfig, device: str, dtype: torch.dtype, shape: PretrainedConfig | None = None) -> Read:
    """Read a dictionary.

    Args:
        device: "meta" reads its settings, and the names and shapes of its tensors where the file is at hand; where the settings
            are neither cached nor to be had from the hub, what the registry says of it does instead.
        shape: the base's, whose widths a dictionary is taken to have of which the registry alone is known.

    Raises:
        UserError: it is not there, is of another format, is damaged, or has a setting that cannot be honoured.
    """
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False  # it would sum in bfloat16
    place = find(config)
    try:
        with _files(place):
            try:
                settings = _settings(place)
            except NO_HUB:
                if device != "meta" or place.known is None:
                    raise
                return _by_registry(place, place.known, dtype, shape)
            notes = check_settings(place.name, settings)
            file = _weights_file(place, fetch=device != "meta")
            header = {} if file is None else header_of(place, file)
            sae = _empty(settings, dtype)
            check_tensors(place, header, sae, file)
            fold = Fold.of(place, sae.cfg.normalize_activations)
            if device != "meta":
                sae = _flat(fold.load(place, device, dtype))
                check_values(place, sae)
    except UserError:
        raise
    except Exception as error:  # sae-lens and the hub raise many kinds for a damaged or missing dictionary
        text = " ".join(str(error).split()) or type(error).__name__
        text = f"it lacks {text}" if isinstance(error, KeyError) else text
        raise UserError(f"{place} could not be loaded: {text[:400]}") from error
    if fold.scaler is not None and place.scale is None:
        notes.append(f"{place} is a training checkpoint; its normalisation ({fold.said}) was folded into its weights.")
    kinds = [getattr(torch, DTYPES[kind]) for _, kind in header.values() if kind in DTYPES]
    stored = str(reduce(torch.promote_types, kinds)).removeprefix("torch.") if kinds else None
    return Read(sae, file, settings, stored, fold.said, [*notes, *loader_notes(place.name, place.loader)])


def _files(place: Place) -> AbstractContextManager[None]:
    """Where sae-lens' loaders find the files of a dictionary."""
    return from_the_hub() if place.path is None else from_a_folder(place.path, place.folder)


def _settings(place: Place) -> dict[str, Any]:
    """The configuration of a dictionary, as its file or its release says it."""
    if place.path is not None and place.loader == "sae_lens":
        found = json.loads((place.path / SAE_CFG_FILENAME).read_text(encoding="utf-8"))
    elif place.loader == "sparsify" and place.path is not None:
        found = loaders.get_sparsify_config_from_disk(place.path.resolve(), "cpu", dict(place.overrides))
    else:
        read = loaders.NAMED_PRETRAINED_SAE_CONFIG_GETTERS[place.loader]
        found = read(place.repository, place.folder, "cpu", False, dict(place.overrides))
    if not isinstance(found, dict) or not isinstance(found.get("metadata") or {}, dict):
        raise UserError(f"{place} has a {SAE_CFG_FILENAME} that holds no settings; save it again.")
    check_architecture(place.name, found)  # before what is asked of those that are read
    for size in ("d_in", "d_sae", *(("d_out",) if found.get("architecture") in TRANSCODERS else ())):
        if type(found.get(size)) is not int or found[size] < 1:
            other = ", and looks like one of sparsify" if {"expansion_factor", "num_latents"} & set(found) else ""
            raise UserError(f"{place} does not say its {size} in {SAE_CFG_FILENAME}{other}; give one that sae-lens saved.")
    return found


def _by_registry(place: Place, known: Known, dtype: torch.dtype, shape: PretrainedConfig | None) -> Read:
    """A dictionary whose settings cannot be had, as far as the registry tells: never one with weights."""
    settings, notes = judged(place.name, known, shape)
    return Read(_empty(settings, dtype), None, settings, None, "", notes)


def _weights_file(place: Place, fetch: bool) -> Path | None:
    """The file of a dictionary's weights; None where it is not at hand, or there are several."""
    if place.loader not in WEIGHTS:
        return None
    if place.path is not None:
        return place.path / WEIGHTS[place.loader].removeprefix("{}/")
    file = WEIGHTS[place.loader].format(place.folder)
    try:
        found = hf_hub_download(place.repository, file) if fetch else try_to_load_from_cache(place.repository, file)
    except EntryNotFoundError as error:
        raise UserError(
            f"{place} could not be loaded: '{file}' is not in the repository '{place.repository}', or not in the cache of a "
            "machine without network; check release and id, or fetch it first."
        ) from error
    return Path(found) if isinstance(found, str) else None


def _empty(settings: Mapping[str, Any], dtype: torch.dtype) -> SAE:
    """The dictionary without its weights."""
    given = {**settings, "device": "meta", "dtype": str(dtype).removeprefix("torch.")}
    return _flat(SAE.from_dict(loaders.handle_config_defaulting(given)))


def _flat(sae: SAE) -> SAE:
    """It reads heads' outputs as they are read here, [..., heads x d_head]: not to be folded from [..., heads, d_head]."""
    sae.turn_off_forward_pass_hook_z_reshaping()
    sae.cfg.reshape_activations = "none"
    return sae
