"""Checkpoints of one training: two that are the same are a file copied, or steps between which nothing was trained."""

from collections.abc import Mapping
from filecmp import cmp
from itertools import combinations
from pathlib import Path

from transformers.utils import cached_file

from extract.config import series
from extract.config_sections import VariantConfig
from extract.models.adapters import WEIGHTS
from extract.models.settings import Settings
from extract.models.weight_files import weight_files
from store.errors import UserError


def check_series(variants: Mapping[str, VariantConfig], digests: Mapping[str, str], settings: Mapping[str, Settings]) -> None:
    """Refuse a series in which two checkpoints are one.

    A checkpoint that is the base is none of these: a training begins there.

    Args:
        digests: of those without one, as on torch's meta device, the files are compared.

    Raises:
        UserError: names the two.
    """
    for name, checkpoints in series(variants).items():
        for one, other in combinations(checkpoints, 2):
            alike = (
                digests[one] == digests[other]
                if digests.keys() >= {one, other}
                else _same_files(_files(variants[one]), _files(variants[other]))
            )
            if alike and settings.get(one) == settings.get(other):
                raise UserError(
                    f"The checkpoints '{one}' and '{other}' of the series '{name}' have exactly the same weights, so that "
                    "nothing was trained between them; leave one out, or give the checkpoint that was meant."
                )


def _same_files(mine: list[Path], theirs: list[Path]) -> bool:
    """Whether two checkpoints' files are equal, read until two bytes differ; where there are none to read, they are not."""
    return 0 < len(mine) == len(theirs) and all(cmp(*pair, shallow=False) for pair in zip(mine, theirs, strict=True))


def _files(variant: VariantConfig) -> list[Path]:
    """A variant's files of weights as they lie on this machine; none of a planted one."""
    if variant.spec is None:
        return []
    place = Path(variant.spec).expanduser()
    if place.is_file():
        return [place]
    known = str(place) if place.is_dir() else variant.spec
    if variant.model is not None:
        return weight_files(known)
    file = cached_file(known, WEIGHTS, local_files_only=True, _raise_exceptions_for_missing_entries=False)
    return [Path(file)] if file else []
