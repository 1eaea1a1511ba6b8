"""The look of every progress bar."""

from tqdm import tqdm


def progress_bar(total: int, what: str, unit: str, disable: bool = False) -> tqdm:
    """A bar that counts to ``total``; call its ``update``."""
    return tqdm(total=total, desc=f"{what:>14}", unit=unit, unit_scale=True, dynamic_ncols=True, disable=disable)
