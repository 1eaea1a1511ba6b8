"""What can be said of a dictionary of the registry by names alone: whether it is read, and where it reads and writes."""

from collections.abc import Callable

from extract.models.sites import Site
from extract.saes.conventions import Settings, check_settings, said
from extract.saes.registry import FromRegistry, Known
from store.errors import UserError

EXPANSION = 16
"""Features for each dimension of what is read, reckoned with where no name says how many there are."""

Width = Callable[[Site], int]
"""How wide the base is at a site."""


def sites_of(name: str, settings: Settings) -> tuple[Site, Site | None]:
    """Where a dictionary reads, and where it writes, if elsewhere.

    Args:
        name: the dictionary, as errors call it.

    Raises:
        UserError: it says no place that is read here.
    """
    hooks = [said(settings, f"hf_hook_name{end}") or said(settings, f"hook_name{end}") for end in ("", "_out")]
    try:
        return Site.of_hook(hooks[0] or ""), Site.of_hook(hooks[1]) if hooks[1] else None
    except UserError as error:
        raise UserError(f"The dictionary '{name}' cannot be used: {error}") from error


def judged(name: str, one: Known, width: Width | None = None) -> tuple[Settings, list[str]]:
    """Check a dictionary of the registry as far as its names tell.

    Args:
        name: as errors call it.
        width: the base's, for sizes that no name says; None: they are 1.

    Returns:
        Its settings, with all that is needed to put it together without weights, and notes.

    Raises:
        UserError: a setting that cannot be honoured.
    """
    found = one.settings
    read, written = sites_of(name, found)
    d_in, d_out = ((1 if width is None else width(site)) for site in (read, written or read))
    sizes = {"d_in": found.get("d_in") or d_in, "d_out": found.get("d_out") or d_out}
    d_sae = found.get("d_sae") or (one.expansion or EXPANSION) * sizes["d_in"]
    settings = FromRegistry({"architecture": "standard", **found, **sizes, "d_sae": d_sae})
    return settings, check_settings(name, settings)
