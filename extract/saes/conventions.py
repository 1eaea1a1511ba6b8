"""What a dictionary's configuration says of what it must be fed. Each setting is honoured (by sae-lens, or by
:meth:`extract.saes.dictionary.Dictionary.prepare`), told in a note, or refused in a sentence that names it, its value, a
remedy.

*Settings* are the configuration as its file or its release's loader gives it, before sae-lens drops what it does not know.
"""

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import sae_lens
from sae_lens.loading.pretrained_sae_loaders import LLM_METADATA_KEYS
from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY
from transformers import PretrainedConfig

from extract.saes.architectures import check_architecture
from extract.saes.named_sites import Settings, check_hooks, check_transcoder, folding_notes, said
from store.errors import UserError
from store.text import on_one_line

NORMS_OF_A_TOKEN = ("layer_norm", "constant_norm_rescale")
"""``normalize_activations`` that sae-lens does itself, token by token: codes are in units of each token's own norm."""
FOLDED = ("expected_average_only_in", "covariance_whitening")
"""Those whose numbers are of the training tokens: they must be folded into the weights."""
CENTRED_FAMILIES = ("gpt2", "gpt_neo", "gpt_neox", "gptj")
"""Models with LayerNorm before each sublayer, whose residual TransformerLens' center_writing_weights turns into the residual
less its mean over d_model, exactly."""
MOST_NAME = 200
"""Characters that are kept of the name of a model."""
NO_EFFECT = {
    "fold_ln", "fold_value_biases", "center_unembed", "refactor_factored_attn_matrices", "first_n_layers", "n_ctx", "n_devices",
    "device", "device_map", "max_memory", "move_to_device", "dtype", "torch_dtype", "low_cpu_mem_usage", "attn_implementation",
    "default_padding_side", "default_prepend_bos", "trust_remote_code", "cache_dir", "local_files_only", "token",
    "use_auth_token",
}  # fmt: skip
"""model_from_pretrained_kwargs that leave the residual stream as it is (tests/runs/test_dictionaries.py)."""
OF_ANOTHER_MODEL = {"revision", "checkpoint_index", "checkpoint_value", "load_in_4bit", "load_in_8bit", "quantization_config"}
"""Those that say which weights the dictionary was trained on."""
OLD_FIELDS = {
    "architecture", "metadata", "activation_fn", "activation_fn_str", "activation_fn_kwargs", "finetuning_scaling_factor",
    "hook_point", "hook_point_layer", "hook_layer", "hook_point_head_index", "dataset_trust_remote_code", "use_ghost_grads",
    "mse_loss_normalization", "normalize_sae_decoder", "noise_scale", "decoder_orthogonal_init", "decoder_heuristic_init",
    "decoder_heuristic_init_norm", "init_encoder_as_decoder_transpose", "scale_sparsity_penalty_by_decoder_norm", "lp_norm",
    "l1_coefficient", "l1_warm_up_steps", "expansion_factor", "b_dec_init_method", "training_tokens", "total_training_steps",
    "total_training_tokens", "log_to_wandb", "wandb_project", "wandb_id", "wandb_entity", "wandb_log_frequency", "run_name",
    "eval_every_n_wandb_logs", "log_activations_store_to_wandb", "log_optimizer_state_to_wandb", "log_weights_to_wandb",
    "store_batch_size", "tokens_per_buffer", "train_batch_size", "finetuning_tokens", "finetuning_method", "d_in", "d_sae",
    "use_cached_activations", "lr_scheduler", "lr_warm_up_tokens", "ghost_grads", "resume", "sparsity_targets",
    "jump_relu_threshold",
}  # fmt: skip
"""Fields of sae-lens before 6 that say nothing of what a dictionary is fed, or are looked at here."""


def trained_on(settings: Settings) -> str | None:
    """The model that it says it was trained on; of a path, which is of somebody's disk, the last part."""
    name = said(settings, "model_name")
    if not isinstance(name, str):
        return None
    name = on_one_line(name)[:MOST_NAME]
    return Path(name).name if name.startswith(("/", ".", "~")) else name


def check_settings(name: str, settings: Settings) -> list[str]:
    """Refuse what cannot be honoured.

    Args:
        name: the dictionary, as errors call it.

    Returns:
        Notes: what the dictionary's training differs in that does not make its codes wrong.

    Raises:
        UserError: the first setting that cannot be honoured.
    """
    check_architecture(name, settings)
    check_hooks(name, settings)
    _check_normalisation(name, settings)
    _check_activation(name, settings)
    if type(value := settings.get("apply_b_dec_to_input", True)) is not bool:
        raise UserError(f"The dictionary '{name}' says apply_b_dec_to_input: {value!r}; write true or false into its cfg.json.")
    check_transcoder(name, settings)
    if (bos := said(settings, "prepend_bos")) is not None and type(bos) is not bool:
        raise UserError(f"The dictionary '{name}' says prepend_bos: {bos!r}; write true or false into its cfg.json.")
    if (size := said(settings, "context_size")) is not None and type(size) is not int:
        raise UserError(f"The dictionary '{name}' says context_size: {size!r}; write a whole number or null into its cfg.json.")
    return [*_model_notes(name, settings), *_token_notes(name, settings), *_dropped(name, settings)]


def wants_centring(settings: Settings) -> bool:
    """Whether it was trained on a model with ``center_writing_weights``."""
    return bool((said(settings, "model_from_pretrained_kwargs") or {}).get("center_writing_weights"))


def is_centred(name: str, settings: Settings, shape: PretrainedConfig) -> bool:
    """Whether it reads the base's residual less its mean over d_model.

    TransformerLens subtracts the mean from all that writes to the residual stream of models with LayerNorm, which ignore it,
    and from nothing in models with RMSNorm.

    Raises:
        UserError: it wants that, and what it comes to in such a base is not known.
    """
    if not wants_centring(settings) or hasattr(shape, "rms_norm_eps"):
        return False
    if shape.model_type not in CENTRED_FAMILIES:
        raise UserError(
            f"The dictionary '{name}' was trained with center_writing_weights: true, and what that makes of the residuals of "
            f"'{shape.model_type}' is not known here, as it is of {', '.join(CENTRED_FAMILIES)}; use one trained without."
        )
    return True


def _check_normalisation(name: str, settings: Settings) -> None:
    value = settings.get("normalize_activations", "none")
    if value not in (None, True, False, "none", *NORMS_OF_A_TOKEN, *FOLDED):
        raise UserError(
            f"The dictionary '{name}' says normalize_activations: {value}, which is not done here; give one with "
            f"none, {', '.join(NORMS_OF_A_TOKEN)}, or with its normalisation folded into its weights."
        )


def _check_activation(name: str, settings: Settings) -> None:
    """sae-lens 6 takes the activation from the architecture, whatever an older file says."""
    function = settings.get("activation_fn") or settings.get("activation_fn_str") or "relu"
    given = settings.get("activation_fn_kwargs") or {}
    is_topk = settings.get("architecture") == "topk" or (function == "topk" and given.get("k") is not None)
    if function not in (("topk", "relu") if is_topk else ("relu",)):
        raise UserError(
            f"The dictionary '{name}' says activation_fn: {function}, which sae-lens {sae_lens.__version__} would replace by "
            "relu; give one with relu, or a TopK one that says its k."
        )
    _check_numbers(name, settings, given.get("k", settings.get("k")) if is_topk else None, is_topk)
    if odd := {key: value for key, value in given.items() if key != "k" and value}:
        raise UserError(f"The dictionary '{name}' has activation_fn_kwargs {odd}, which sae-lens drops; give one without.")


def _check_numbers(name: str, settings: Settings, k: Any, is_topk: bool) -> None:
    """Numbers of an architecture for which sae-lens has a default, which would not be the dictionary's own."""
    if is_topk and (type(k) is not int or not 1 <= k <= settings["d_sae"]):
        raise UserError(
            f"The dictionary '{name}' is a TopK one and says k: {k}, which is no number from 1 to its d_sae "
            f"{settings['d_sae']}; write the k that it was trained with into its cfg.json."
        )
    if settings.get("architecture") == "matching_pursuit" and type(settings.get("residual_threshold")) not in (int, float):
        raise UserError(
            f"The dictionary '{name}' is one of matching_pursuit and does not say its residual_threshold; write the one that "
            "it was trained with into its cfg.json."
        )


def _model_notes(name: str, settings: Settings) -> list[str]:
    """What the model that it was trained on was loaded with.

    Raises:
        UserError: a setting that is not known.
    """
    given = said(settings, "model_from_pretrained_kwargs") or {}
    if not isinstance(given, dict):
        raise UserError(f"The dictionary '{name}' says model_from_pretrained_kwargs: {given!r:.80}, which are no settings.")
    notes = folding_notes(name, settings, given)
    if (centred := given.get("center_writing_weights")) is not None and type(centred) is not bool:
        raise UserError(
            f"The dictionary '{name}' says center_writing_weights: {centred!r}; write true or false into its cfg.json."
        )
    for key, value in given.items():
        if not value or key in NO_EFFECT or key == "center_writing_weights":
            continue
        if key not in OF_ANOTHER_MODEL:
            raise UserError(
                f"The dictionary '{name}' says that its model was loaded with {key}: {value} (model_from_pretrained_kwargs), "
                "which is not known here; remove it from its cfg.json if it leaves the residual stream as it is."
            )
        notes.append(f"The dictionary '{name}' was trained on a model loaded with {key}: {value}, which this run does not do.")
    return notes


def _token_notes(name: str, settings: Settings) -> list[str]:
    """Which tokens it was trained on."""
    notes = []
    kept = slice(*(said(settings, "seqpos_slice") or (None,)))
    if kept.start not in (None, 0, 1) or kept.stop is not None or kept.step not in (None, 1):
        notes.append(
            f"The dictionary '{name}' was trained on positions {kept.start or 0} to {kept.stop or 'the last'} of its windows "
            "alone (seqpos_slice); here every position is read."
        )
    if said(settings, "exclude_special_tokens"):
        notes.append(
            f"The dictionary '{name}' was trained without special tokens (exclude_special_tokens), which are read here where "
            "the text has them."
        )
    return notes


def _dropped(name: str, settings: Settings) -> list[str]:
    """Fields that sae-lens drops: refused where they change the codes, else told."""
    own, cfg_class = settings.get("architecture") or "standard", SAE_CLASS_REGISTRY
    has = {field.name for field in fields(cfg_class["topk" if _is_old_topk(settings) else own][1])}
    for key, harmless in (("rescale_acts_by_decoder_norm", False), ("activation_normalization_factor", 1)):
        if key not in has and settings.get(key) not in (None, harmless):
            raise UserError(
                f"The dictionary '{name}' says {key}: {settings[key]}, which sae-lens drops for the architecture {own}; fold "
                "it into the weights, and take it out of its cfg.json."
            )
    known = LLM_METADATA_KEYS | OLD_FIELDS | _fields_of_sae_lens()
    unknown = [f"{key}: {value}" for key, value in settings.items() if key not in known and value not in (None, False, "", 0)]
    if not unknown:
        return []
    return [
        f"The dictionary '{name}' has settings that sae-lens {sae_lens.__version__} does not know and leaves out "
        f"({', '.join(unknown)[:300]}); its codes are right only if they do not depend on them."
    ]


def _is_old_topk(settings: Settings) -> bool:
    return settings.get("activation_fn", settings.get("activation_fn_str")) == "topk"


@cache
def _fields_of_sae_lens() -> set[str]:
    registered = [*SAE_CLASS_REGISTRY.values(), *SAE_TRAINING_CLASS_REGISTRY.values()]
    classes = [*(config for _, config in registered), sae_lens.LanguageModelSAERunnerConfig, sae_lens.LoggingConfig]
    return {field.name for one in classes for field in fields(one)}
