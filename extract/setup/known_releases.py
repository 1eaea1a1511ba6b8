"""Dictionaries that sae-lens' registry has for a base: of one release a few layers in the middle, the usual size of each."""

import re
from collections.abc import Collection, Mapping, Sequence

from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

from extract.config_sections import SaeConfig
from extract.saes.notes import is_called
from extract.saes.releases import find
from store.errors import UserError

LAYERS = 3
"""So many of a release are proposed: of each a third, a half and two thirds of the way through the model."""
ELSEWHERE = re.compile(r"att(n|[-_]|$)|mlp|hook[-_]z|resid[-_]mid|transcoder|clt|crosscoder|lx[amt]|l\d+[amt]_", re.IGNORECASE)
"""In names of releases and dictionaries of another point than the residual stream, which is the usual one."""
STUDY = re.compile(r"bench|sweep|ablation|splitting|[-_]all$|matryoshka|topk-|experiment", re.IGNORECASE)
"""In names of releases that hold many dictionaries of a layer, to be compared with one another."""
USUAL = (r"canonical", r"resid_post|^(?!.*resid_pre)", r"width_16k|(^|[^\d])16k|8x", r"l0_medium|medium")
"""What tells the usual dictionary of a layer, what counts most first."""
LAYER = re.compile(r"(?:layers?[_.-]?|blocks\.|^l|[-_/]l)(\d+)", re.IGNORECASE)


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
            bool(ELSEWHERE.search(release)),
            bool(STUDY.search(release)),
            "canonical" not in release,
            re.search(USUAL[2], release, re.IGNORECASE) is None,
            -len(found[release]),
            release,
        ),
    )


def layers_of(release: str) -> dict[int, str]:
    """Layer, as the names say it -> the usual dictionary of a release there, of those that are read here."""
    by_layer: dict[int, list[str]] = {}
    for name in get_pretrained_saes_directory()[release].saes_map:
        if (layer := LAYER.search(name)) and _is_read(release, name):
            by_layer.setdefault(int(layer[1]), []).append(name)
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


def _rank(name: str) -> Sequence:
    return (*(re.search(pattern, name, re.IGNORECASE) is None for pattern in USUAL), len(name), name)


def _is_read(release: str, name: str) -> bool:
    try:
        find(SaeConfig(release=release, id=name))
    except UserError:
        return False
    return True
