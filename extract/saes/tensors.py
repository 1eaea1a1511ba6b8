"""The tensors in a dictionary's file against those of its settings: each has its place, and is of numbers."""

from collections.abc import Mapping
from pathlib import Path

import sae_lens
import torch
from sae_lens import SAE
from sae_lens.constants import SAE_WEIGHTS_FILENAME, SPARSIFY_WEIGHTS_FILENAME
from safetensors import SafetensorError, safe_open

from extract.saes.hub_files import npz_header
from extract.saes.releases import Place
from store.errors import UserError

WEIGHTS = {
    "sae_lens": f"{{}}/{SAE_WEIGHTS_FILENAME}",
    "gemma_3": "{}/params.safetensors",
    "gemma_2": "{}/params.npz",
    "gemma_2_transcoder": "{}/params.npz",
    "llama_scope": "{}/checkpoints/final.safetensors",
    "llama_scope_r1_distill": f"{{}}/{SAE_WEIGHTS_FILENAME}",
    "dictionary_learning_1": "{}/ae.pt",
    "sparsify": f"{{}}/{SPARSIFY_WEIGHTS_FILENAME}",
    **dict.fromkeys(("connor_rob_hook_z", "deepseek_r1", "goodfire", "qwen_scope", "mwhanna_transcoder"), "{}"),
}
"""Loader -> the one file with the weights, by its folder."""
TENSORS = {
    "sae_lens": {},
    "gemma_2": {},
    "gemma_3": {"w_enc": "W_enc", "w_dec": "W_dec", "affine_skip_connection": "W_skip.T"},
    "mwhanna_transcoder": {"W_enc": "W_enc.T"},
    "sparsify": {"encoder.weight": "W_enc.T", "encoder.bias": "b_enc"},
}
"""Loader whose files hold the dictionary's tensors as they are -> what other names those have there; .T: transposed."""
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
CALLED = {name: called for called, name in DTYPES.items()}

Header = Mapping[str, tuple[tuple[int, ...], str]]
"""Tensor of a safetensors file -> (shape, dtype as the format calls it)."""


def header_of(place: Place, file: Path) -> Header:
    """Names, shapes and dtypes of the tensors in a safetensors or npz file, none of another; the weights are not read.

    Raises:
        UserError: it is cut off or damaged.
    """
    if file.suffix == ".npz":
        try:
            return {name: (shape, CALLED.get(kind, kind)) for name, (shape, kind) in npz_header(file).items()}
        except ValueError as error:
            raise UserError(f"{place} could not be loaded: '{file.name}' is cut off or damaged ({error}).") from error
    if file.suffix != ".safetensors":
        return {}
    try:
        with safe_open(file, framework="pt") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
            return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except SafetensorError as error:
        problem = f"'{file.name}' is cut off or damaged ({error})"
        raise UserError(f"{place} could not be loaded: {problem}; fetch it again.") from error


def check_tensors(place: Place, header: Header, sae: SAE, file: Path | None) -> None:
    """Every tensor of the dictionary comes from its file, and every tensor of the file is used.

    Raises:
        UserError: names those that are not.
    """
    if not header or place.loader not in TENSORS:
        return
    wanted = {name: list(tensor.shape) for name, tensor in sae.state_dict().items()}
    found, names = {}, TENSORS[place.loader]
    for name, (shape, _) in header.items():
        ours, turned, _ = names.get(name, name).partition(".T")
        found[ours if ours in wanted else name] = list(reversed(shape)) if turned else list(shape)
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


def check_values(place: Place, sae: SAE) -> None:
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
