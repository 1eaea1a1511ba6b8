"""Where a dictionary's settings say that it reads and writes, and what they say that depends on the place."""

from collections.abc import Mapping
from typing import Any

from extract.models.sites import Site
from extract.saes.architectures import TRANSCODERS
from store.errors import UserError
from store.points import ATTN_Z, MLP_IN

Settings = Mapping[str, Any]

HEADS = "hook_z"
"""``reshape_activations`` of one that reads the heads' outputs, which are read here as the output projection is: laid flat."""
BEFORE_THE_NORM = ".hook_mlp_in"
"""So sae-lens calls an MLP's input in releases that name the module too, and TransformerLens what the norm before it reads."""
NAMES = (("hf_hook_name", "hook_name", "hook_point"), ("hf_hook_name_out", "hook_name_out"))
"""Settings that name where a dictionary reads, and where a transcoder writes; the first counts."""


def said(settings: Settings, name: str) -> Any:
    """A field that sae-lens 6 keeps in ``metadata``, and a release's overrides and older files beside it."""
    value = settings.get(name)
    return (settings.get("metadata") or {}).get(name) if value is None else value


def hooks_of(settings: Settings) -> tuple[str, str]:
    """The names of where it reads, and of where it writes, if that is said; "" for none."""
    read, written = (next(filter(None, (said(settings, key) for key in keys)), "") for keys in NAMES)
    return read, written


def read_and_written(name: str, settings: Settings) -> tuple[Site, Site | None]:
    """Where it reads, and where a transcoder writes.

    Args:
        name: the dictionary, as errors call it.

    Raises:
        UserError: it says no place that is read here.
    """
    read, written = hooks_of(settings)
    try:
        return Site.of_hook(read), Site.of_hook(written) if settings.get("architecture") in TRANSCODERS else None
    except UserError as error:
        raise UserError(f"The dictionary '{name}' cannot be used: {error}") from error


def point_read(settings: Settings) -> str | None:
    """The point that it reads; None where it says none that is known."""
    try:
        return Site.of_hook(hooks_of(settings)[0]).point
    except UserError:
        return None


def check_hooks(name: str, settings: Settings) -> None:
    """Two names of one hook must mean the same site, and only that of the heads' outputs is folded from [head, d_head].

    Raises:
        UserError: so it is not, or it reads some heads alone.
    """
    if any(said(settings, key) is not None for key in ("hook_head_index", "hook_head_index_out", "hook_point_head_index")):
        raise UserError(f"The dictionary '{name}' reads a single attention head; use one of all heads, or of another place.")
    for keys in NAMES:
        hooks = {key: said(settings, key) for key in keys if said(settings, key)}
        try:
            sites = {key: Site.of_hook(hook) for key, hook in hooks.items()}
        except UserError:
            continue  # said when the site is asked for
        of_layers = len({site.layer for site in sites.values()})
        loose = any(hook.endswith(BEFORE_THE_NORM) for hook in hooks.values())
        if (of_layers if loose else len(set(sites.values()))) > 1:
            both = " and ".join(f"{key} {hook}" for key, hook in hooks.items())
            raise UserError(f"The dictionary '{name}' names two sites, {both}; correct its cfg.json.")
    if (shape := settings.get("reshape_activations")) not in (None, "none") and (
        shape != HEADS or point_read(settings) != ATTN_Z
    ):
        raise UserError(
            f"The dictionary '{name}' reshapes its input (reshape_activations: {shape}), which is done for attn_z alone; "
            "use one without."
        )


def check_transcoder(name: str, settings: Settings) -> None:
    """What sae-lens leaves undone for a transcoder, or assumes.

    Raises:
        UserError: names it.
    """
    if settings.get("architecture") not in TRANSCODERS:
        return
    if not hooks_of(settings)[1]:
        raise UserError(f"The dictionary '{name}' is a transcoder without a hook_name_out; write it into its cfg.json.")
    if settings.get("apply_b_dec_to_input", True):
        raise UserError(
            f"The dictionary '{name}' is a transcoder with apply_b_dec_to_input: true, but its b_dec is of what it writes; "
            "write false into its cfg.json, if it was trained so."
        )
    if (value := settings.get("normalize_activations")) not in (None, False, "none"):
        raise UserError(
            f"The dictionary '{name}' is a transcoder and says normalize_activations: {value}, which sae-lens does not undo on "
            "what it writes; give one with none, or with its normalisation folded into its weights."
        )


def folding_notes(name: str, settings: Settings, given: Settings) -> list[str]:
    """What TransformerLens folded away of what a dictionary reads, if it says so.

    Args:
        given: what its model was loaded with.

    Raises:
        UserError: it reads an MLP's input without the gain of the norm before it, and names that with it.
    """
    read, point = hooks_of(settings)[0], point_read(settings)
    if given.get("fold_ln") and point == MLP_IN:
        raise UserError(
            f"The dictionary '{name}' reads {read} of a model loaded with fold_ln: true, which leaves the norm's gain out; "
            "name it ln2.hook_normalized in its cfg.json."
        )
    if given.get("fold_value_biases") and point == ATTN_Z:
        return [
            f"The dictionary '{name}' was trained on a model loaded with fold_value_biases: true, whose attn_z is without the "
            "biases of the values; a base that has such (GPT-2, Qwen 2) gives it another input."
        ]
    return []
