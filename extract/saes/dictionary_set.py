"""The dictionaries of a run, one a layer, and replicas beside them: loaded, and held against the base and each other."""

from collections.abc import Iterable, Sequence

import torch
from transformers import PretrainedConfig

from extract.config_sections import SaeConfig
from extract.models.layout import layout_of
from extract.models.sites import Site
from extract.saes.dictionary import Dictionary
from extract.saes.notes import centring_notes, rounding_notes
from extract.saes.reading import read_sae
from store.errors import UserError
from store.points import MLP_IN_NORMALIZED


def load_dictionaries(
    configs: Sequence[SaeConfig], shape: PretrainedConfig, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> list[Dictionary]:
    """Load every dictionary, in layer order.

    Args:
        shape: the base's.
        device: "meta" reads no weights: settings, names and shapes only, for ``check``; such dictionaries cannot encode.
        dtype: of their weights. Sums of products are float32 for bfloat16 too.

    Raises:
        UserError: one is missing or damaged, wants what cannot be done for it, has another width than the model, reads another
            hook or a layer that the model does not have, or shares its layer.
    """
    return _load_each(configs, shape, device, dtype, "for sizes (relative_shift), cosines, controls and codes alike")


def _load_each(
    configs: Sequence[SaeConfig], shape: PretrainedConfig, device: str, dtype: torch.dtype, centred_for: str
) -> list[Dictionary]:
    """In layer order; the first one carries the notes about several. Arguments and errors as of :func:`load_dictionaries`."""
    loaded: dict[int, Dictionary] = {}
    for config in configs:
        dictionary = Dictionary.of(read_sae(config, device, dtype, shape), config.name, shape)
        for site, width in ((dictionary.reads, dictionary.d_in), (dictionary.site, dictionary.d_model)):
            if width != (own := layout_of(shape).width(site.layer, site.point)):
                raise UserError(
                    f"The dictionary '{config.name}' is of {site.point} of width {width}, but the base's is {own} wide; it "
                    "belongs to another model."
                )
        if dictionary.reads.point == MLP_IN_NORMALIZED and not hasattr(shape, "rms_norm_eps"):
            dictionary.notes.append(
                f"The dictionary '{config.name}' reads {dictionary.hook_name}, before the norm's gain and bias; versions of "
                "TransformerLens that gave it after them would have trained another one."
            )
        if other := loaded.get(dictionary.layer):
            raise UserError(
                f"The dictionaries '{other.name}' and '{config.name}' both read layer {dictionary.layer}; a store has one "
                "dictionary a layer, so make a second run for the other."
            )
        loaded[dictionary.layer] = dictionary
    found = [loaded[layer] for layer in sorted(loaded)]
    _check_points(found)
    if found:
        found[0].notes += centring_notes([dictionary.name for dictionary in found if dictionary.centred], centred_for)
        found[0].notes += rounding_notes([(one.name, one.stored, one.sae.W_dec.dtype) for one in found])
    return found


def _check_points(dictionaries: Sequence[Dictionary]) -> None:
    """Refuse dictionaries of several points: what is said of one layer must be comparable with the next.

    Raises:
        UserError: they are of several.
    """
    of_point: dict[tuple[str, str], str] = {}
    for dictionary in dictionaries:
        of_point.setdefault((dictionary.reads.point, dictionary.site.point), dictionary.name)
    if len(of_point) > 1:
        said = [
            f"'{name}' {reads if reads == writes else f'{reads} to {writes}'}" for (reads, writes), name in of_point.items()
        ]
        raise UserError(
            f"The dictionaries are of several points ({', '.join(said)}); a store has one, so make a run of each, and open the "
            "stores side by side."
        )


def load_replicas(
    configs: Sequence[SaeConfig],
    dictionaries: Sequence[Dictionary],
    shape: PretrainedConfig,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> list[Dictionary]:
    """Load second dictionaries, in layer order; dtype: as of :func:`load_dictionaries`.

    Raises:
        UserError: as :func:`load_dictionaries`; one reads a layer that the run has no dictionary of; it is that dictionary.
    """
    first = {dictionary.layer: dictionary for dictionary in dictionaries}
    loaded = _load_each(configs, shape, device, dtype, "for their own codes alone")
    for replica in loaded:
        if replica.layer not in first:
            raise UserError(f"The replica '{replica.name}' reads layer {replica.layer}, of which the run has no dictionary.")
        if (replica.reads, replica.site) != (first[replica.layer].reads, first[replica.layer].site):
            raise UserError(
                f"The replica '{replica.name}' is of {replica.site.point}, the dictionary of layer {replica.layer} of "
                f"{first[replica.layer].site.point}; give one of the same point."
            )
        if replica.is_same(first[replica.layer]):
            raise UserError(f"The replica '{replica.name}' is the dictionary of layer {replica.layer} itself; give another.")
    return loaded


def sites_of(dictionaries: Iterable[Dictionary]) -> list[Site]:
    """What has to be read of a model for some dictionaries, each once, in the order in which it is computed."""
    return sorted({site for dictionary in dictionaries for site in (dictionary.reads, dictionary.site)})
