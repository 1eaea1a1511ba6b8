"""Reading a dictionary off the disk or the hub, through sae-lens: its settings first, then its weights, of which every tensor
comes from its file and every tensor of the file is used. On the device "meta": everything but the weights."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import sae_lens
import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from sae_lens import SAE
from sae_lens.constants import ACTIVATION_SCALER_CFG_FILENAME, SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME
from sae_lens.loading import pretrained_sae_loaders as loaders
from sae_lens.loading.pretrained_saes_directory import get_config_overrides, get_norm_scaling_factor
from sae_lens.training.activation_scaler import ActivationScaler
from safetensors import SafetensorError, safe_open

from extract.config_sections import SaeConfig
from extract.saes.conventions import FOLDED, check_architecture, check_settings
from extract.saes.releases import Place, find
from store.errors import UserError

# What it asks for is done (Dictionary.prepare), or refused (extract/saes/conventions.py).
warnings.filterwarnings("ignore", message=r"\s*This SAE has non-empty model_from_pretrained_kwargs")

WEIGHTS = {"sae_lens": SAE_WEIGHTS_FILENAME, "gemma_3": "params.safetensors"}
"""Loader -> the safetensors file whose tensors are those of the dictionary."""
GEMMA_3_TENSORS = {"w_enc": "W_enc", "w_dec": "W_dec"}
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
FOLDING = {
    "expected_average_only_in": (
        "scale (sqrt(d_in) / mean norm over its training tokens)",
        "fold_activation_norm_scaling_factor",
    ),
    "covariance_whitening": ("whitening (a mean and two matrices)", "fold_activation_whitening"),
}
"""normalize_activations -> (the numbers that it needs, the method of a sae-lens SAE that folds them in)."""

Header = Mapping[str, tuple[tuple[int, ...], str]]
"""Tensor of a safetensors file -> (shape, dtype as the format calls it)."""


@dataclass(frozen=True)
class Read:
    """A dictionary as it was read.

    Attributes:
        sae: ready to encode; on "meta" with shapes alone.
        file: with its weights, where it is known and at hand.
        settings: of its file, before sae-lens drops what it does not know.
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


def read_sae(config: SaeConfig, device: str, dtype: torch.dtype) -> Read:
    """Read a dictionary.

    Args:
        device: "meta" reads its settings, and the names and shapes of its tensors where the file is at hand.

    Raises:
        UserError: it is not there, is of another format, is damaged, or has a setting that cannot be honoured.
    """
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False  # it would sum in bfloat16
    place = find(config)
    try:
        with _shapes_from_the_cache():
            settings = _settings(place)
            notes = check_settings(place.name, settings)
            file = _weights_file(place, fetch=device != "meta")
            header = {} if file is None else _header(place, file)
            sae = _empty(settings, dtype)
            _check_tensors(place, header, sae, file)
            fold = _Fold.of(place, sae.cfg.normalize_activations)
            if device != "meta":
                sae = fold.load(place, device, dtype)
                _check_values(place, sae)
    except UserError:
        raise
    except Exception as error:  # sae-lens and the hub raise many kinds for a damaged or missing dictionary
        said = " ".join(str(error).split()) or type(error).__name__
        said = f"it lacks {said}" if isinstance(error, KeyError) else said
        raise UserError(f"{place} could not be loaded: {said[:400]}") from error
    if fold.scaler is not None:
        notes.append(f"{place} is a training checkpoint; its normalisation ({fold.said}) was folded into its weights.")
    kinds = [getattr(torch, DTYPES[kind]) for _, kind in header.values()]
    stored = str(reduce(torch.promote_types, kinds)).removeprefix("torch.") if kinds else None
    return Read(sae, file, settings, stored, fold.said, notes)


@contextmanager
def _shapes_from_the_cache() -> Iterator[None]:
    """sae-lens asks the hub for the shapes in a file before it loads it; here a file that is cached is asked itself, so that a
    machine without network can read what it has."""
    real = loaders.get_safetensors_tensor_shapes

    def shapes(repository: str, file: str) -> dict[str, list[int]]:
        cached = try_to_load_from_cache(repository, file)
        if not isinstance(cached, str):
            return real(repository, file)
        with safe_open(cached, framework="pt") as tensors:
            return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118

    loaders.get_safetensors_tensor_shapes = shapes
    try:
        yield
    finally:
        loaders.get_safetensors_tensor_shapes = real


def _settings(place: Place) -> dict[str, Any]:
    """The configuration of a dictionary, as its file or its release says it."""
    if place.path is None:
        read = loaders.NAMED_PRETRAINED_SAE_CONFIG_GETTERS[place.loader]
        found = read(place.repository, place.folder, "cpu", False, get_config_overrides(place.release, place.id))
    else:
        found = json.loads((place.path / SAE_CFG_FILENAME).read_text(encoding="utf-8"))
    if not isinstance(found, dict) or not isinstance(found.get("metadata") or {}, dict):
        raise UserError(f"{place} has a {SAE_CFG_FILENAME} that holds no settings; save it again.")
    check_architecture(place.name, found)  # before what is asked of those that are read
    for size in ("d_in", "d_sae"):
        if type(found.get(size)) is not int or found[size] < 1:
            other = ", and looks like one of sparsify" if {"expansion_factor", "num_latents"} & set(found) else ""
            raise UserError(f"{place} does not say its {size} in {SAE_CFG_FILENAME}{other}; give one that sae-lens saved.")
    return found


def _weights_file(place: Place, fetch: bool) -> Path | None:
    """The safetensors file of a dictionary; None where it is not at hand, or its tensors have other names."""
    if place.path is not None:
        return place.path / SAE_WEIGHTS_FILENAME
    if place.loader not in WEIGHTS:
        return None
    file = f"{place.folder}/{WEIGHTS[place.loader]}"
    try:
        found = hf_hub_download(place.repository, file) if fetch else try_to_load_from_cache(place.repository, file)
    except EntryNotFoundError as error:
        raise UserError(
            f"{place} could not be loaded: '{file}' is not in the repository '{place.repository}', or not in the cache of a "
            "machine without network; check release and id, or fetch it first."
        ) from error
    return Path(found) if isinstance(found, str) else None


def _header(place: Place, file: Path) -> Header:
    """Names, shapes and dtypes of the tensors in a file; the weights are not read.

    Raises:
        UserError: it is cut off or damaged.
    """
    try:
        with safe_open(file, framework="pt") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
            return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except SafetensorError as error:
        problem = f"'{file.name}' is cut off or damaged ({error})"
        raise UserError(f"{place} could not be loaded: {problem}; fetch it again.") from error


def _empty(settings: Mapping[str, Any], dtype: torch.dtype) -> SAE:
    """The dictionary without its weights."""
    given = {**settings, "device": "meta", "dtype": str(dtype).removeprefix("torch.")}
    return SAE.from_dict(loaders.handle_config_defaulting(given))


def _check_tensors(place: Place, header: Header, sae: SAE, file: Path | None) -> None:
    """Every tensor of the dictionary comes from its file, and every tensor of the file is used.

    Raises:
        UserError: names those that are not.
    """
    if not header:
        return
    names = GEMMA_3_TENSORS if place.loader == "gemma_3" else {}
    found = {names.get(name, name): list(shape) for name, (shape, _) in header.items()}
    wanted = {name: list(tensor.shape) for name, tensor in sae.state_dict().items()}
    if "scaling_factor" in found:
        _check_scale(place, file)
        del found["scaling_factor"]
    problems = [f"{name} is of type {kind}" for name, (_, kind) in sorted(header.items()) if kind not in DTYPES]
    problems += [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    problems += [f"{name} is not used" for name in sorted(found.keys() - wanted.keys())]
    problems += [
        f"{name} is {found[name]} instead of {wanted[name]}"
        for name in sorted(wanted.keys() & found.keys())
        if found[name] != wanted[name]
    ]
    if problems:
        raise UserError(
            f"{place} could not be loaded: its tensors are not those of its settings (architecture {sae.cfg.architecture()}, "
            f"d_in {sae.cfg.d_in}, d_sae {sae.cfg.d_sae}), {', '.join(problems)}; save it again with sae-lens."
        )


def _check_scale(place: Place, file: Path) -> None:
    """sae-lens once saved a factor of each feature's code, which 6 does not know; all ones, it changes nothing."""
    with safe_open(file, framework="pt") as tensors:
        factor = tensors.get_tensor("scaling_factor")
    if not torch.equal(factor, torch.ones_like(factor)):
        raise UserError(
            f"{place} has a finetuning scaling_factor, which sae-lens {sae_lens.__version__} does not apply; multiply the rows "
            "of W_dec by it, and save it without."
        )


@dataclass(frozen=True)
class _Fold:
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
    def of(cls, place: Place, wanted: str) -> "_Fold":
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
        scaler = ActivationScaler()
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
        if self.scaler is None:
            return SAE.load_from_disk(place.path, device=device, dtype=name)
        sae = SAE.load_from_disk(place.path, device=device, dtype="float32")  # folded before it is rounded
        if (whitening := self.scaler.whitening) is not None:
            sae.fold_activation_whitening(whitening.mean, whitening.matrix, whitening.inverse_matrix)
        else:
            sae.fold_activation_norm_scaling_factor(self.scaler.scaling_factor)
        return sae.to(dtype=dtype)


def _check_values(place: Place, sae: SAE) -> None:
    """A weight that is no number lets features fire never or always. An infinite threshold is that of one that never fires.

    Raises:
        UserError: names the tensors.
    """
    odd = [
        name
        for name, tensor in sae.state_dict().items()
        if not bool((tensor.isfinite() | (tensor.isposinf() if name == "threshold" else False)).all())
    ]
    if odd:
        raise UserError(f"{place} has NaN or infinite weights ({', '.join(odd)}); fetch or train it again.")
