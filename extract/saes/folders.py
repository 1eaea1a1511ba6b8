"""Folders of dictionaries that other libraries saved, read by the loader that sae-lens has for their releases."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sae_lens.constants import SAE_CFG_FILENAME, SPARSIFY_WEIGHTS_FILENAME

from extract.saes.hub_files import npz_header
from store.errors import UserError

Json = Mapping[str, Any]

DICTIONARY_LEARNING = {
    "AutoEncoder", "AutoEncoderTopK", "GatedAutoEncoder", "JumpReluAutoEncoder", "BatchTopKSAE", "MatryoshkaBatchTopKSAE",
}  # fmt: skip
"""Classes of dictionary_learning that sae-lens reads as what they are; any other it would take for an AutoEncoder."""
GEMMA_SCOPE = re.compile(r"gemma-scope-\d+b-(?:pt|it)-(?:res|att|mlp|transcoders)")
GEMMA_SCOPE_FOLDER = re.compile(r"(?:layer_\d+|embedding)/width_\w+")
GEMMA_SCOPE_2 = {
    "self_attn.o_proj.input": "attn_out",
    "pre_feedforward_layernorm.output": "transcoder",
    "post_feedforward_layernorm.output": "mlp_out",
    "output": "resid_post",
}
"""Module and side that a config.json of Gemma Scope 2 names -> the folder that sae-lens knows such dictionaries by."""
ANOTHER = ("skip_connection", "embed_skip", "gram_lookup", "transcode")
"""Settings of sparsify that make another thing of a dictionary than sae-lens reads."""


@dataclass(frozen=True)
class Format:
    """A folder of another library, as sae-lens' loader for it takes it.

    Attributes:
        loader: which one.
        repository, folder: the names that the loader is told, which say what the files do not.
        overrides: settings that the loader gets wrong, or cannot know.
        scale: what its input is to be multiplied by, where its files say it beside its settings.
    """

    loader: str
    repository: str = ""
    folder: str = "dictionary"
    overrides: Json = field(default_factory=dict)
    scale: float | None = None


@dataclass(frozen=True)
class Library:
    """How folders of a library are known and read.

    Attributes:
        name: for people.
        files: that such a folder has; the first tells it.
        read: (folder) -> its format; KeyError where a file lacks what it is asked for.
    """

    name: str
    files: tuple[str, ...]
    read: Callable[[Path], Format]


def library_of(folder: Path) -> Library | None:
    """Whose folder it is, by its files; None for one that is not known."""
    return next((one for one in LIBRARIES if all((folder / file).is_file() for file in one.files)), None)


def format_of(folder: Path, library: Library) -> Format:
    """How sae-lens is to read it.

    Raises:
        UserError: its configuration is damaged, or says what sae-lens would not heed.
    """
    try:
        return library.read(folder)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else f"is damaged ({str(error)[:200]})"
        raise UserError(f"The folder '{folder}' looks like one of {library.name}, and {what}; fetch it again.") from error


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8-sig"))


def _dictionary_learning(folder: Path) -> Format:
    trainer = _json(folder / "config.json")["trainer"]
    if trainer["dict_class"] not in DICTIONARY_LEARNING:
        raise UserError(
            f"The dictionary '{folder}' is a {trainer['dict_class']} of dictionary_learning, which sae-lens does not read; "
            f"give one of {', '.join(sorted(DICTIONARY_LEARNING))}."
        )
    if "resid_post" not in (hook := trainer.get("submodule_name") or "resid_post"):
        raise UserError(
            f"The dictionary '{folder}' of dictionary_learning reads '{hook}', which sae-lens would take for the residual "
            "stream; save it with sae-lens, with its hook_name."
        )
    return Format("dictionary_learning_1")


def _gemma_scope(folder: Path) -> Format:
    """Model, layer and place are in the names of its repository's folders alone; sizes are those of its tensors."""
    path = folder.resolve().as_posix()
    repository, inside = GEMMA_SCOPE.search(path), GEMMA_SCOPE_FOLDER.search(path)
    if not repository or not inside:
        raise UserError(
            f"The folder '{folder}' holds a dictionary of Gemma Scope, whose model, layer and place only the names of its "
            "folders say; keep them as in its repository (gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82)."
        )
    d_in, d_sae = npz_header(folder / "params.npz")["W_enc"][0]
    kind = "gemma_2_transcoder" if repository[0].endswith("transcoders") else "gemma_2"
    sizes = {"d_in": d_in, "d_sae": d_sae} | ({"d_out": d_in} if kind == "gemma_2_transcoder" else {})
    return Format(kind, f"google/{repository[0]}", inside[0], sizes)


def _gemma_scope_2(folder: Path) -> Format:
    """Its layer and place are in its config.json; of the names of its folders sae-lens reads no more."""
    config = _json(folder / "config.json")
    hook = re.fullmatch(r"(?:\w+\.)*layers\.(\d+)\.(.+)", config["hf_hook_point_in"])
    if hook is None or hook[2] not in GEMMA_SCOPE_2:
        raise UserError(
            f"The dictionary '{folder}' of Gemma Scope 2 reads '{config['hf_hook_point_in']}', which is not known here."
        )
    if "model_name" not in config:
        raise KeyError("model_name")
    return Format("gemma_3", folder=f"{GEMMA_SCOPE_2[hook[2]]}/layer_{hook[1]}")


def _llama_scope(folder: Path) -> Format:
    config = _json(folder / "hyperparams.json")
    if (out := config.get("hook_point_out", config["hook_point_in"])) != config["hook_point_in"]:
        raise UserError(
            f"The dictionary '{folder}' of Llama Scope writes to '{out}', and sae-lens would read it as an SAE; give one that "
            "writes where it reads."
        )
    return Format("llama_scope", scale=config["d_model"] ** 0.5 / config["dataset_average_activation_norm"]["in"])


def _sparsify(folder: Path) -> Format:
    """Which module it reads is in the name of its folder alone."""
    config = _json(folder / SAE_CFG_FILENAME)
    if odd := [key for key in ANOTHER if config.get(key)] + [
        f"activation: {kind}" for kind in [config.get("activation")] if kind not in (None, "topk")
    ]:
        raise UserError(
            f"The dictionary '{folder}' of sparsify has {', '.join(odd)}, which sae-lens does not read; give one without."
        )
    name = folder.resolve().name
    hook = re.fullmatch(r"layers[._](\d+)(?:\.([\w.]+))?|embed_tokens", name)
    if hook is None:
        raise UserError(
            f"The folder '{folder}' holds a dictionary of sparsify, whose place only its name says; call it as sparsify did "
            "(layers.12)."
        )
    run = folder.resolve().parent / "config.json"
    model = _json(run).get("model") if run.is_file() else None
    # sparsify takes b_dec away from the input of every SAE; sae-lens' loader, of those without normalize_decoder alone. Where
    # num_latents is 0, the number of latents is by expansion_factor; sae-lens takes it to be 0.
    d_sae = config.get("num_latents") or int(config["d_in"] * config["expansion_factor"])
    overrides = {"apply_b_dec_to_input": True, "model_name": model, "d_sae": d_sae}
    if hook[2]:  # which sae-lens would take for the residual stream
        overrides |= {"hf_hook_name": f"model.layers.{hook[1]}.{hook[2]}.output", "hook_name": ""}
    return Format("sparsify", overrides=overrides)


LIBRARIES = (
    Library("sparsify", (SPARSIFY_WEIGHTS_FILENAME, SAE_CFG_FILENAME), _sparsify),
    Library("dictionary_learning", ("ae.pt", "config.json"), _dictionary_learning),
    Library("Gemma Scope", ("params.npz",), _gemma_scope),
    Library("Gemma Scope 2", ("params.safetensors", "config.json"), _gemma_scope_2),
    Library("Llama Scope", ("hyperparams.json", "checkpoints/final.safetensors"), _llama_scope),
)
