"""Which dictionaries a run takes: those that were named, of a folder one a layer, of a release those in the middle; and where
there are none, what sae-lens' registry has for the base."""

import difflib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import torch
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from transformers import PretrainedConfig

from extract.config_sections import SaeConfig
from extract.saes.dictionary import Dictionary
from extract.saes.dictionary_set import load_dictionaries
from extract.saes.registry import FromRegistry
from extract.saes.releases import find
from extract.setup.known_releases import layers_of, proposal, releases_for
from extract.setup.parts import Parts
from store.errors import UserError
from store.numbers import listed
from store.points import RESID_POST

META = "meta"
MISSPELT = 0.85
"""How alike (difflib) a word and a release of the registry are, where that was meant and not somebody's repository."""


@dataclass
class Chosen:
    """The dictionaries of a run.

    Attributes:
        given: what the configuration says of each, in layer order.
        read: the same without their weights.
        remarks: how they came to be these.
    """

    given: list[dict[str, str]] = field(default_factory=list)
    read: list[Dictionary] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def choose_saes(parts: Parts, shape: PretrainedConfig, base_names: Collection[str], dtype: torch.dtype) -> Chosen:
    """Read the settings of the dictionaries that were found or named, and choose.

    Args:
        shape: the base's.
        base_names: what the base goes by.

    Raises:
        UserError: one that was named does not fit or cannot be read, none of a folder does, or there are none at all.
    """
    if not parts.saes:
        return _propose(base_names, shape, dtype)
    entries = [entry for given in parts.saes for entry in _with_ids(given, shape)]
    if parts.asked_saes:
        read = load_dictionaries([SaeConfig(**entry) for entry in entries], shape, META, dtype)
        by_name = {SaeConfig(**entry).name: entry for entry in entries}
        return Chosen([by_name[one.name] for one in read], read)
    return _of_folder(parts, entries, shape, dtype)


def _with_ids(given: dict[str, str], shape: PretrainedConfig) -> list[dict[str, str]]:
    """Of a release without an id its usual dictionaries, of a few layers."""
    if "path" in given:
        return [given]
    if "id" in given:
        name, _, inside = given["id"].partition("/")
        is_repository = inside and not difflib.get_close_matches(given["release"], get_pretrained_saes_directory(), 1, MISSPELT)
        return [{"release": f"{given['release']}/{name}", "id": inside} if is_repository else given]
    try:
        by_layer = layers_of(given["release"])
    except KeyError:
        find(SaeConfig(release=given["release"], id="?"))  # which says that there is no such release, and what is near
        by_layer = {}
    if not by_layer:
        raise UserError(f"Of '{given['release']}' no layer can be chosen here; give one of its dictionaries, --sae release/id.")
    return proposal(given["release"], by_layer, shape.num_hidden_layers)


def _of_folder(parts: Parts, entries: list[dict[str, str]], shape: PretrainedConfig, dtype: torch.dtype) -> Chosen:
    """One a layer, of one point; the others are told among what is not used."""
    found: list[tuple[dict[str, str], Dictionary]] = []
    refused = []
    for entry in entries:
        try:
            found.append((entry, *load_dictionaries([SaeConfig(**entry)], shape, META, dtype)))
        except UserError as error:
            refused.append(str(error))
            parts.unused.append((entry["path"], f"it was not taken: {error}"))
    if not found:
        raise UserError(refused[0])
    points = Counter(_points(one) for _, one in found)
    taken_point = max(points, key=lambda point: (points[point], point == RESID_POST, point))
    by_layer: dict[int, tuple[dict[str, str], Dictionary]] = {}
    for entry, one in found:
        if _points(one) != taken_point:
            parts.unused.append((entry["path"], f"it is of {_points(one)}, and a store has one point, here {taken_point}"))
        elif one.layer in by_layer:
            other = by_layer[one.layer][1].name
            parts.unused.append((entry["path"], f"'{other}' reads layer {one.layer} too, and a store has one a layer"))
        else:
            by_layer[one.layer] = (entry, one)
    taken = [by_layer[layer] for layer in sorted(by_layer)]
    return Chosen([entry for entry, _ in taken], [one for _, one in taken])


def _points(one: Dictionary) -> str:
    """What a dictionary reads, and what else a transcoder writes."""
    return one.reads.point if one.reads == one.site else f"{one.reads.point} to {one.site.point}"


def _propose(base_names: Collection[str], shape: PretrainedConfig, dtype: torch.dtype) -> Chosen:
    """What the registry has for the base, by its names where the hub cannot be asked.

    Raises:
        UserError: it has nothing, or what it has is not of this base.
    """
    releases = releases_for(base_names)
    if not releases:
        raise UserError(
            "There is no dictionary, and sae-lens' registry knows none that was trained on this base; give some with --sae, "
            "release/id or a folder that sae-lens saved."
        )
    entries = proposal(releases[0], layers_of(releases[0]), shape.num_hidden_layers)
    others = f" (it also has {listed(releases[1:4])})" if releases[1:] else ""
    remarks = [f"No dictionary was given: sae-lens' registry has the release {releases[0]} for this base{others}."]
    try:
        read = load_dictionaries([SaeConfig(**entry) for entry in entries], shape, META, dtype)
    except UserError as error:
        raise UserError(f"No dictionary was given, and of sae-lens' release {releases[0]} for this base: {error}") from error
    if any(isinstance(one.settings, FromRegistry) for one in read):
        remarks.append("The hub could not be asked for them: a run fetches them, and needs a network for that.")
    return Chosen(entries, read, remarks)
