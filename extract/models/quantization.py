"""Models in 4 or 8 bits: those whose files hold such numbers, and those that a run makes such as they are loaded."""

from importlib.util import find_spec
from typing import Any, Literal

import torch
import transformers
from torch import nn
from transformers import BitsAndBytesConfig, PretrainedConfig, PreTrainedModel
from transformers.quantizers import AutoHfQuantizer

from store.errors import UserError

Quantization = Literal["8bit", "4bit"]

LIBRARY = "bitsandbytes"
BITS = {"8bit": 8.0, "4bit": 4.5}
"""Bits that a weight takes: in 4 there is a scale of 32 bits for each 64 of them."""
OF_METHOD = {"fp8": 8.0, "fbgemm_fp8": 8.0, "mxfp4": 4.25, "nvfp4": 4.5, "mxfp8": 8.25, "bitnet": 2.0}
"""What a weight takes by methods whose settings give no number."""


def check_quantization(quantization: Quantization | None, device: str) -> None:
    """Refuse what cannot be done here.

    Args:
        device: of the run.

    Raises:
        UserError: the library is not installed, or there is no GPU.
    """
    if quantization is None:
        return
    if find_spec(LIBRARY) is None:
        raise UserError(
            f"'quantization: {quantization}' needs the package {LIBRARY}, which is not installed; run: pip install {LIBRARY}"
        )
    if not device.startswith("cuda"):
        raise UserError(f"'quantization: {quantization}' needs a GPU, and the run's device is '{device}'; leave it out.")


def loader_settings(quantization: Quantization, dtype: torch.dtype) -> BitsAndBytesConfig:
    """What transformers is told: 8 bit as of LLM.int8(), or 4-bit NormalFloat that is computed with in a dtype."""
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def own_settings(config: PretrainedConfig) -> dict[str, Any] | None:
    """How a checkpoint's config.json says that its numbers are quantised; None where it does not."""
    found = getattr(config, "quantization_config", None)
    return found if found is None or isinstance(found, dict) else found.to_dict()


def check_own(own: dict[str, Any] | None, asked: Quantization | None, what: str) -> None:
    """Refuse a checkpoint that says to be quantised in a way that nobody here knows, or that is to be so once more.

    Args:
        own: from :func:`own_settings`.
        asked: what the run makes of it.
        what: the model in words, to begin a sentence with.

    Raises:
        UserError: so it is.
    """
    if own is None:
        return
    method = own.get("quant_method")
    if not AutoHfQuantizer.supports_quant_method(own):  # transformers would read its numbers as if they were none such
        raise UserError(
            f"{what} could not be loaded: it is quantised by '{method}', which transformers {transformers.__version__} does "
            "not know; give the weights that it was made from."
        )
    if asked is not None:
        raise UserError(
            f"{what} is quantised already ({method}), and cannot be turned into {asked}; leave 'quantization' out, or give the "
            "weights that it was made from."
        )


def quantization_note(model: PreTrainedModel, own: dict[str, Any] | None, asked: Quantization | None, what: str) -> list[str]:
    """What was done, a sentence; nothing of a model that is not quantised.

    Args:
        own: from :func:`own_settings`, of the checkpoint as it lies there.
        asked: what the run makes of it.
        what: the model in words, to begin a sentence with.
    """
    if asked is not None:
        return [f"{what} was turned into {asked[0]}-bit numbers as it was loaded ({LIBRARY}): all that is said is of these."]
    if own is None:
        return []
    method = own.get("quant_method", "a method that is not said")
    if getattr(model.config, "quantization_config", None) is None:  # as transformers does without a GPU that reckons in them
        return [f"{what} is quantised ({method}); its numbers were turned into floats as it was loaded."]
    return [f"{what} is quantised ({method}), and was read as it is."]


def plain_floats(model: nn.Module) -> set[str]:
    """Names of the parameters that are floats of more than 8 bits; into others torch does not look."""
    return {name for name, of in model.named_parameters() if of.is_floating_point() and of.itemsize > 1}


def weight_bytes(model: nn.Module, dtype: torch.dtype, quantization: Quantization | None) -> int:
    """Bytes that a model takes in memory: of linear maps but the output head the quantised ones, of all else the dtype's.

    Args:
        model: on torch's meta device, without its weights.
    """
    bits = BITS[quantization] if quantization is not None else _bits(own_settings(model.config))
    whole = sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize
    if bits is None:
        return whole
    head = model.get_output_embeddings()
    maps = [module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear) and module is not head]
    return int(whole - sum(maps) * (dtype.itemsize - bits / 8))


def _bits(own: dict[str, Any] | None) -> float | None:
    """Bits of a weight of a quantised checkpoint; None where that is not known."""
    if own is None:
        return None
    if own.get("load_in_4bit") or own.get("load_in_8bit"):
        return BITS["4bit" if own.get("load_in_4bit") else "8bit"]
    given = own.get("bits", own.get("nbits"))
    return float(given) if isinstance(given, (int, float)) else OF_METHOD.get(str(own.get("quant_method")))
