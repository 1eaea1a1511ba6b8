"""What can be said of a dictionary of the registry by names alone: whether it is read, and where it reads and writes."""

from transformers import PretrainedConfig

from extract.models.layout import layout_of
from extract.models.sites import Site
from extract.saes.conventions import check_settings
from extract.saes.named_sites import Settings, read_and_written
from extract.saes.registry import FromRegistry, Known

EXPANSION = 16
"""Features for each dimension of what is read, reckoned with where no name says how many there are."""
LOADER_NOTES = {
    "connor_rob_hook_z": (
        "was trained in TransformerLens, whose models have no biases of values by default (fold_value_biases); its settings do "
        "not say, and if so, what it reads here is shifted by them"
    ),
    "mntss_clt_layer_transcoder": (
        "is one layer of a cross-layer transcoder, whose decoder sae-lens adds up over all layers that it writes to: its codes "
        "are its own, its reconstruction and its directions are of no single layer, so that a run's self-test may refuse it"
    ),
}
"""Loader -> what its dictionaries are that their settings do not say."""


def loader_notes(name: str, loader: str) -> list[str]:
    """What the dictionaries of a loader are that their settings do not say, a sentence each."""
    return [f"The dictionary '{name}' {LOADER_NOTES[loader]}."] if loader in LOADER_NOTES else []


def judged(name: str, one: Known, shape: PretrainedConfig | None = None) -> tuple[Settings, list[str]]:
    """Check a dictionary of the registry as far as its names tell.

    Args:
        name: as errors call it.
        shape: the base's, for sizes that no name says; None: they are 1.

    Returns:
        Its settings, with all that is needed to put it together without weights, and notes.

    Raises:
        UserError: a setting that cannot be honoured.
    """
    found = one.settings
    read, written = read_and_written(name, found)
    d_in, d_out = (_width(site, shape) for site in (read, written or read))
    sizes = {"d_in": found.get("d_in") or d_in, "d_out": found.get("d_out") or d_out}
    d_sae = found.get("d_sae") or (one.expansion or EXPANSION) * sizes["d_in"]
    settings = FromRegistry({"architecture": "standard", **found, **sizes, "d_sae": d_sae})
    return settings, [*check_settings(name, settings), *loader_notes(name, one.loader)]


def _width(site: Site, shape: PretrainedConfig | None) -> int:
    """Of a base at a site; of a layer that it lacks, which is told later, that of its last."""
    if shape is None:
        return 1
    layout = layout_of(shape)
    return layout.width(min(site.layer, len(layout.blocks) - 1), site.point)
