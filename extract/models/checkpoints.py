"""A checkpoint into memory, and what its loader reports: every tensor comes from its file, or the model is refused."""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, PretrainedConfig, PreTrainedModel
from transformers.core_model_loading import WeightConverter, WeightTransform
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.utils.peft_utils import find_adapter_config_file

from extract.models.quantization import Quantization, check_own, loader_settings, own_settings, quantization_note
from extract.models.weight_files import INDEX, SINGLE, check_index, named, read_headers
from store.errors import UserError, first_line

META = {"attn_implementation": "eager"}
"""Of a model on torch's meta device: the other ways to compute attention look at the values of the mask."""
EXACT_IN = {
    torch.float64: ("F64", "F32", "F16", "BF16"),
    torch.float32: ("F32", "F16", "BF16"),
    torch.bfloat16: ("BF16",),
    torch.float16: ("F16",),
}
"""Types of a file that a dtype holds without rounding."""
DTYPE_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
HARMLESS = re.compile(
    r"(^|\.)(inv_freq|masked_bias|attn\.bias|attention\.bias|position_ids|num_batches_tracked|k_scale|v_scale)$"
    r"|(^|\.)(v_head|value_head|reward_head|score|classifier)\."
    r"|(^|\.)(vision_tower|vision_model|visual|vision_embed_tokens|multi_modal_projector|mm_projector|audio_tower|embed_vision"
    r"|embed_audio|image_newline)(\.|$)"
    r"|(^|\.)(mtp|mtp_\w+|nextn\w*)(\.|$)"
)
"""Tensors beside a language model that reading text does without: buffers that follow from the configuration, value heads,
towers for images and sound, heads that predict further tokens."""
REMEDIES = {
    r"(^|\.)_orig_mod\.": "it was saved from a compiled model, so save the model under it (model._orig_mod)",
    r"(^|\.)base_layer\.|(^|\.)lora_|\.modules_to_save\.": "an adapter is in it unmerged, so save it again after "
    "merge_and_unload(), or give the adapter as 'adapter:'",
    r"^module\.": "it was saved from a wrapper for training on several devices, so save the model inside (model.module)",
    r"\.(qweight|qzeros|scales|g_idx|absmax|SCB|weight_scale\w*)$": "it is quantised and its config.json does not say how, so "
    "give the weights that it was made from",
}


def load_checkpoint(
    folder: str,
    what: str,
    dtype: torch.dtype,
    device_map: str | None,
    needs_head: bool = True,
    quantization: Quantization | None = None,
) -> tuple[PreTrainedModel, list[str]]:
    """Load a language model with transformers, and judge what that reports.

    Args:
        folder: hub id or folder.
        what: the model in words, to begin a sentence with.
        device_map: "meta" reads names and shapes only.
        needs_head: whether the run reads the output head; only then must its tensors be there.
        quantization: what to make of its numbers.

    Returns:
        (the model, what was converted or left out: sentences).

    Raises:
        UserError: it is not a language model that reads tokens from left to right; a tensor is missing, has another shape or
            no place; the files cannot be read; or it is to be quantised and is so already.
    """
    if find_adapter_config_file(folder) is not None:
        raise UserError(
            f"{what} holds an adapter_config.json, by which transformers would load the base that is named there with the "
            "adapter, and not these weights; give the adapter as 'adapter:', or the checkpoint without its adapter's files."
        )
    check_index(Path(folder), what)
    shape = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    kind, own = model_class(shape, what), own_settings(shape)
    check_own(own, quantization, what)
    given = {} if quantization is None else {"quantization_config": loader_settings(quantization, dtype)}
    with _warnings() as said:
        try:
            model, report = kind.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, device_map=device_map,
                output_loading_info=True, ignore_mismatched_sizes=True, **(META if device_map == "meta" else {}), **given,
            )  # fmt: skip
        except Exception as error:  # a damaged file surfaces as whatever its reader runs into
            if failed := sorted(row for text in said for row in re.findall(r"^(\S+)\s*\| CONVERSION", text, re.M)):
                raise UserError(f"{what} could not be loaded: its tensors {named(failed)} could not be converted.") from error
            raise UserError(f"{what} could not be loaded: {first_line(error)}") from error
    headers = read_headers(folder, what)
    notes = [*_of_files(folder, what), *_rounded(headers, what, dtype)]
    _check_stored(headers, model, what, own is not None)
    notes += judged(model, report, what, needs_head)
    notes += [*_converted(model, what), *quantization_note(model, own, quantization, what)]
    if any("we will NOT tie them" in text for text in said):
        notes.append(
            f"{what} holds an output head that differs from its embedding, though its config.json ties them; both are read."
        )
    return model, notes


def model_class(config: PretrainedConfig, what: str) -> type[AutoModelForCausalLM] | type[AutoModelForImageTextToText]:
    """What loads it: a causal model, or one that reads images too, of which the language model is read.

    Raises:
        UserError: it is neither.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"{what} is of the kind '{config.model_type}', an encoder with a decoder, whose two streams are not one residual "
            "stream; give a decoder-only model."
        )
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText
    raise UserError(
        f"{what} is of the kind '{config.model_type}', of which transformers has no language model that predicts the next "
        "token; give a decoder-only model."
    )


def asks_for_values(error: Exception) -> bool:
    """Whether code failed on torch's meta device only because that has shapes, and no numbers."""
    words = ("meta tensor", "meta device", "device 'meta'", "data-dependent", "register_meta", "mat_a.dtype")
    return isinstance(error, NotImplementedError) or any(word in str(error).lower() for word in words)


def _of_files(folder: str, what: str) -> list[str]:
    """A folder of two saves: transformers takes the single file without a word."""
    place = Path(folder)
    if (place / SINGLE).is_file() and (place / INDEX).is_file():
        return [f"{what} has a '{SINGLE}' and an '{INDEX}' in one folder; only the first was read."]
    return []


def _rounded(headers: Mapping[str, str], what: str, dtype: torch.dtype) -> list[str]:
    """Whether the run's dtype holds less than the file."""
    wider = sorted({DTYPE_NAMES[kind] for kind in headers.values() if kind in DTYPE_NAMES and kind not in EXACT_IN[dtype]})
    short = str(dtype).removeprefix("torch.")
    return [f"{what} holds {' and '.join(wider)} weights, which were rounded to {short}."] if wider else []


def _check_stored(headers: Mapping[str, str], model: PreTrainedModel, what: str, quantised: bool) -> None:
    """Refuse what transformers would read as numbers that they are not, or would take one of two of.

    Args:
        quantised: whether its config.json says so.

    Raises:
        UserError: something else than 16, 32 or 64-bit floats stands where weights should, without a configuration that says
            how it is scaled; or two tensors are meant for one place.
    """
    odd = sorted(name for name, kind in headers.items() if kind not in DTYPE_NAMES)
    places = {name for name, parameter in model.named_parameters() if parameter.is_floating_point()}
    prefix = f"{model.base_model_prefix}."
    if not quantised and (bad := [name for name in odd if name in places or prefix + name in places]):
        raise UserError(
            f"{what} holds {named(bad)} as {headers[bad[0]]} numbers without a quantization_config that says how they are "
            "scaled; give the weights that it was quantised from."
        )
    short = Counter(name.removeprefix(prefix) for name in headers)
    if twice := sorted(name for name, count in short.items() if count > 1):
        raise UserError(f"{what} holds {named(twice)} twice, with and without '{prefix}' before it; save it again.")


def judged(model: PreTrainedModel, report: Mapping[str, Collection], what: str, needs_head: bool) -> list[str]:
    """Notes of what was rightly left out.

    Raises:
        UserError: a tensor that counts did not come from the file, or one of the file has no place.
    """
    if mismatched := sorted(report["mismatched_keys"]):
        name, stored, wanted = mismatched[0]
        raise UserError(
            f"{what} does not fit its config.json: {named([key for key, *_ in mismatched])} has the shape {list(stored)} in "
            f"the file and {list(wanted)} by the configuration; give the config.json that it was saved with."
        )
    stack = f"{model.base_model_prefix}."
    missing = sorted(report["missing_keys"])
    of_head = [name for name in missing if not name.startswith(stack)] if hasattr(model, model.base_model_prefix) else []
    unexpected = sorted(report["unexpected_keys"])
    placeless = [name for name in unexpected if not HARMLESS.search(name)]
    if len(of_head) < len(missing) or placeless:
        raise UserError(_incomplete(what, [name for name in missing if name not in of_head], placeless))
    if of_head and needs_head:
        raise UserError(
            f"{what} has no output head in its file ({named(of_head)} missing), which promoted tokens, token_kl and steering "
            "read; give a checkpoint with its head, or set promoted_tokens: 0 and token_kl: 0."
        )
    notes = []
    if of_head:
        with torch.no_grad():  # what transformers drew at random there would differ in every process
            for name in of_head:
                model.get_parameter_or_buffer(name).zero_()
        notes.append(f"{what} has no output head in its file ({named(of_head)} missing), which nothing in this run reads.")
    if unexpected:
        notes.append(f"{what} holds tensors beside its language model, which were not read: {named(unexpected)}.")
    return notes


def _incomplete(what: str, missing: list[str], placeless: list[str]) -> str:
    """The sentence for a checkpoint whose tensors are not the model's."""
    parts = []
    if missing:
        parts.append(f"lacks {named(missing)}")
    if placeless:
        parts.append(f"holds {named(placeless)}, of which its config.json knows nothing")
    remedy = next(
        (remedy for pattern, remedy in REMEDIES.items() if any(re.search(pattern, name) for name in placeless)),
        "save it again with save_pretrained from the model that was trained" if missing and placeless
        else "fetch or save its files again" if missing else "give the config.json that it was saved with",
    )  # fmt: skip
    return f"{what} {' and '.join(parts)}; {remedy}."


def _converted(model: PreTrainedModel, what: str) -> list[str]:
    """What transformers did to names and shapes of the file's tensors."""
    rules: list[WeightTransform] = getattr(model, "_weight_conversions", None) or []
    fused = [rule for rule in rules if isinstance(rule, WeightConverter)]
    renamed = [rule for rule in rules if not isinstance(rule, WeightConverter)]
    words = []
    for done, of_kind in (("put together or split", fused), ("renamed", renamed)):
        if of_kind:
            rules_in_words = (f"{_patterns(rule.source_patterns)} to {_patterns(rule.target_patterns)}" for rule in of_kind[:3])
            words.append(f"{done} ({'; '.join(rules_in_words)})")
    if not words:
        return []
    return [f"{what} was written for another layout of its architecture: its tensors were {', and '.join(words)}."]


def _patterns(patterns: str | list[str]) -> str:
    return ", ".join([patterns] if isinstance(patterns, str) else patterns)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What transformers says while it loads, instead of saying it to the terminal."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("transformers")
    level, handlers = logger.level, logger.handlers
    logger.setLevel(logging.WARNING)
    logger.handlers = [handler]
    try:
        yield said
    finally:
        logger.handlers = handlers
        logger.setLevel(level)
