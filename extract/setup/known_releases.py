"""Dictionaries that sae-lens' registry has for a base: of one release a few layers in the middle, the usual one of each."""

import re
from collections.abc import Collection, Mapping, Sequence

from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

from extract.config_sections import SaeConfig
from extract.models.sites import Site
from extract.saes.named_sites import read_and_written
from extract.saes.notes import is_called
from extract.saes.registry import known
from extract.saes.releases import find
from store.errors import UserError
from store.points import RESID_POST, RESID_PRE

LAYERS = 3
"""So many of a release are proposed: a third, a half and two thirds of the way through the model."""
USUAL_POINTS = (RESID_POST, RESID_PRE)
MOST_FEATURES = 65_536
"""Of a dictionary, where there is a smaller one."""
STUDY = re.compile(r"bench|sweep|ablation|splitting|[-_]all$|matryoshka|topk-|experiment", re.IGNORECASE)
"""In names of releases that hold many dictionaries of a layer, to be compared with one another."""
USUAL = (r"canonical", r"width_16k|(^|[^\d])16k|8x", r"l0_medium|medium")
"""What tells the usual dictionary of a layer, what counts most first."""


def releases_for(names: Collection[str]) -> list[str]:
    """Releases of a model that goes by some of these names, the one to propose first."""
    found = {
        release: by_layer
        for release, entry in get_pretrained_saes_directory().items()
        if any(is_called(name, entry.model or "") for name in names) and (by_layer := layers_of(release))
    }
    return sorted(
        found,
        key=lambda release: (
            _rank_of_point(release, found[release]),
            bool(STUDY.search(release)),
            _is_wide(release, found[release]),
            "canonical" not in release,
            re.search(USUAL[1], release, re.IGNORECASE) is None,
            -len(found[release]),
            release,
        ),
    )


def layers_of(release: str) -> dict[int, str]:
    """Layer -> the usual dictionary of a release there, of those of its usual point that are read here."""
    by_site: dict[str, dict[int, list[str]]] = {}
    for name in get_pretrained_saes_directory()[release].saes_map:
        if (site := _site(release, name)) is not None:
            by_site.setdefault(site.point, {}).setdefault(site.layer, []).append(name)
    if not by_site:
        return {}
    by_layer = by_site[min(by_site, key=lambda point: (_rank_of(point), -len(by_site[point]), point))]
    return {layer: min(names, key=_rank) for layer, names in sorted(by_layer.items())}


def in_the_middle(layers: Collection[int], n_layers: int) -> list[int]:
    """Those nearest to a third, a half and two thirds of the way through a model of so many layers."""
    left, chosen = sorted(layers), []
    for part in range(LAYERS):
        if left:
            wanted = n_layers * (2 + part) / (2 * LAYERS)
            chosen.append(min(left, key=lambda layer: (abs(layer - wanted), layer)))
            left.remove(chosen[-1])
    return sorted(chosen)


def proposal(release: str, by_layer: Mapping[int, str], n_layers: int) -> list[dict[str, str]]:
    """What the configuration says of the dictionaries to take."""
    return [{"release": release, "id": by_layer[layer]} for layer in in_the_middle(by_layer.keys(), n_layers)]


def _rank_of_point(release: str, by_layer: Mapping[int, str]) -> int:
    return _rank_of(_site(release, next(iter(by_layer.values()))).point)


def _is_wide(release: str, by_layer: Mapping[int, str]) -> bool:
    return (known(release, next(iter(by_layer.values()))).d_sae or 0) > MOST_FEATURES


def _rank_of(point: str) -> int:
    return int(point not in USUAL_POINTS)


def _rank(name: str) -> Sequence:
    return (*(re.search(pattern, name, re.IGNORECASE) is None for pattern in USUAL), len(name), name)


def _site(release: str, name: str) -> Site | None:
    """Where a dictionary reads, by the registry; None of one that is not read here, or writes elsewhere than it reads."""
    try:
        find(SaeConfig(release=release, id=name))
        read, written = read_and_written(name, known(release, name).settings)
    except UserError:
        return None
    return read if written is None else None
