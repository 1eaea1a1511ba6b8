"""Settings beside the weights by which a model computes something else from the same numbers."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig
from transformers.integrations.heterogeneity.configuration_utils import AmbiguousGlobalPerLayerAttributeError

from store.errors import UserError
from store.names import BASE

Settings = Mapping[str, Any]

IDLE = re.compile(
    r"architectures|dtype|transformers_version|use_cache|use_mambapy|return_dict|output_\w+|chunk_size_feed_forward|problem_type"
    r"|\w+_token_id|initializer_range|id2label|label2id|tie_word_embeddings|max_position_embeddings|n_positions|summary_\w+"
    r"|is_encoder_decoder|pretraining_tp|\w*drop(out)?|\w*_loss\w*|\w*jitter\w*|reorder_and_upcast_attn"
)
"""Fields of a transformers configuration on which nothing depends that is read here: of training, of outputs, of files."""
IDLE_OF_ADAPTERS = re.compile(
    r"base_model_name_or_path|inference_mode|revision|peft_version|auto_mapping|task_type|\w*dropout|init_\w+"
)


def computing(config: PretrainedConfig) -> Settings:
    """What of a model's configuration decides what it computes."""
    found = {field.name: _setting(config, field.name) for field in fields(config) if not IDLE.fullmatch(field.name)}
    return {"model_type": config.model_type, **found}


def _setting(config: PretrainedConfig, name: str) -> Any:
    """Its value, where layers may have others of their own too (Gemma 4)."""
    try:
        return getattr(config, name, None)
    except AmbiguousGlobalPerLayerAttributeError:
        return vars(config).get(name)


def of_adapter(folder: str) -> Settings:
    """What of an adapter's configuration does: its scale (lora_alpha) stands there and not in its tensors."""
    found = json.loads((Path(folder) / "adapter_config.json").read_text(encoding="utf-8"))
    return {name: value for name, value in found.items() if not IDLE_OF_ADAPTERS.fullmatch(name)}


def differences(name: str, theirs: Settings, base: Settings) -> list[str]:
    """A sentence about a checkpoint's settings that are not the base's."""
    found = [
        f"{field} ({theirs.get(field)}, the base's {base.get(field)})"
        for field in dict.fromkeys((*theirs, *base))
        if theirs.get(field) != base.get(field)
    ]
    return [f"The configuration of the variant '{name}' differs from the base's in {', '.join(found)}."] if found else []


def same_weights(digests: Mapping[str, str], settings: Mapping[str, Settings]) -> list[str]:
    """Models that hold the same numbers, which is rarely what was meant."""
    names = list(digests)
    notes = []
    for place, name in enumerate(names):
        alike = [other for other in names[:place] if digests[other] == digests[name]]
        twin = next((other for other in alike if settings.get(other) == settings.get(name)), None)
        if alike:
            other = twin or alike[0]
            of = "the base" if other == BASE else f"the variant '{other}'"
            then = "so nothing can differ between them" if twin else "and differs from it in its configuration alone"
            notes.append(f"The variant '{name}' has exactly the weights of {of}, {then}.")
    return notes


def check_runs(groups: Iterable[Sequence[str]], digests: Mapping[str, str], settings: Mapping[str, Settings]) -> None:
    """Refuse a run of a recipe that is another one again: what recurs in the same weights says nothing of the training.

    Args:
        groups: the runs of each recipe; those without a digest are not looked at.

    Raises:
        UserError: names the two.
    """
    for names in groups:
        seen: list[str] = []
        for name in (name for name in names if name in digests):
            for other in seen:
                if digests[name] == digests[other] and settings.get(name) == settings.get(other):
                    raise UserError(
                        f"The variant '{name}' has exactly the weights of '{other}', so that it is no second run of its "
                        "recipe; train it again with another seed, or leave it out."
                    )
            seen.append(name)


def settings_digest(settings: Settings) -> str:
    """SHA-256, to compare with what an interrupted run was begun with, or a store made with."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
