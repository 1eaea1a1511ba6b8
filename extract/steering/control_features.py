"""Control features of a causal check: other features of the layer that fire in the base about as often; needs no torch."""

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from store.errors import UserError
from store.read.store import Store

POOL = 200
"""Controls are drawn from so many features, those nearest in density."""


@dataclass(frozen=True)
class Densities:
    """How often the features of a layer fire in the base.

    Attributes:
        share: feature -> share of the counted tokens.
        n_tokens: counted tokens; a feature that never fires is taken to fire on one of them.
    """

    share: Mapping[int, float]
    n_tokens: int

    @classmethod
    def of(cls, store: Store, layer: int, features: Collection[int]) -> "Densities":
        """Of a layer that has some features.

        Raises:
            UserError: it does not have one of them.
        """
        found = store.sql("SELECT feature, density FROM features WHERE layer = ? ORDER BY feature", [layer])
        share = dict(zip(found["feature"].tolist(), found["density"].tolist(), strict=True))
        if beyond := [feature for feature in features if feature not in share]:
            raise UserError(f"Layer {layer} has no feature {beyond[0]}; they go from 0 to {len(share) - 1:,}.")
        return cls(share, int(store.sql("SELECT n_tokens FROM layers WHERE layer = ?", [layer])["n_tokens"].iloc[0]))

    def draw(self, feature: int, count: int, seed: str) -> tuple[int, ...]:
        """Features to compare one with, ascending: drawn by a seeded hash among those nearest in density."""
        near = self._nearest(feature, self._firing({feature}), max(POOL, count))
        return tuple(sorted(sorted(near, key=lambda other: _lot(seed, other))[:count]))

    def draw_sets(self, features: Sequence[int], count: int, seed: str) -> tuple[tuple[int, ...], ...]:
        """Sets to compare a set with: in the place of each feature another, drawn among those nearest in density.

        Raises:
            UserError: fewer others fire than there are features.
        """
        firing = self._firing(set(features))
        if len(firing) < len(features):
            raise UserError(
                f"Only {len(firing):,} other features of the layer fire in the base, too few to compare {len(features):,} with."
            )
        drawn: list[tuple[int, ...]] = []
        for number in range(count):
            free, taken = set(firing), []
            for feature in features:
                near = self._nearest(feature, free, POOL)
                taken.append(min(near, key=lambda other, feature=feature: _lot(seed, number, feature, other)))
                free.remove(taken[-1])
            drawn.append(tuple(taken))
        return tuple(drawn)

    def _firing(self, but: set[int]) -> set[int]:
        return {other for other, share in self.share.items() if share > 0} - but

    def _nearest(self, feature: int, among: Collection[int], count: int) -> list[int]:
        own = math.log(max(self.share[feature], 1 / self.n_tokens))
        return sorted(among, key=lambda other: (abs(math.log(self.share[other]) - own), other))[:count]


def _lot(*parts: object) -> bytes:
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()
