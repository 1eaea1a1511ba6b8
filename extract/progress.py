"""The look of every progress bar, and where the time of a run goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm


class Phases(dict[str, float]):
    """Seconds that each phase of a run took, in the order in which they began."""

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Count what is done inside the context for a phase."""
        start = time.perf_counter()
        self.setdefault(name, 0.0)
        try:
            yield
        finally:
            self[name] += time.perf_counter() - start

    def in_words(self) -> str:
        """One line: every phase and all together."""
        return f"{sum(self.values()):,.0f} s: " + ", ".join(f"{name} {seconds:,.0f} s" for name, seconds in self.items())


def progress_bar(total: int, what: str, unit: str, disable: bool = False) -> tqdm:
    """A bar that counts to ``total``; call its ``update``."""
    return tqdm(total=total, desc=f"{what:>14}", unit=unit, unit_scale=True, dynamic_ncols=True, disable=disable)
