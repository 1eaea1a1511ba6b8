"""Controls: what is encoded instead of a variant's residual, to see how much of its change something else would give.

Definitions: docs/metrics.md. Every draw is a hash of document, position, layer and variant.
"""

from dataclasses import dataclass

import numpy as np
import torch

from extract.corpus.token_index import POSITION_BINS, TokenIndex
from extract.device import to_device
from extract.hashed_random import below, gaussian, mix, text_key

RERUN_EVERY = 10
"""The base is run again on one document in this many."""
BORROWING = frozenset({"shuffled", "mean_shift"})
"""The controls that need what the pilot read of each variant."""
DONORS = 4096
"""Tokens of the pilot whose change is kept for other tokens to borrow, for each variant and layer, at most."""


def is_rerun(token_index: TokenIndex) -> torch.Tensor:
    """bool [n]: whether a token's document belongs to the tenth that the base reads a second time."""
    return below(mix(token_index.document_key, text_key("rerun")), RERUN_EVERY) == 0


@dataclass(frozen=True)
class Donors:
    """Changes of the pilot's tokens at one layer and variant, for other tokens to borrow.

    Attributes:
        direction: float16 [n, d_model], delta / ||delta||.
        token_index: of those tokens, in the order of ``direction``.
    """

    direction: torch.Tensor
    token_index: TokenIndex

    @classmethod
    def of(cls, delta: torch.Tensor, token_index: TokenIndex) -> "Donors":
        """Donors from float32 [n, d_model]; a token that did not change has no direction to give."""
        norm = delta.norm(dim=1, keepdim=True)
        moved = (norm > 0).squeeze(1)
        return cls((delta[moved] / norm[moved]).to(torch.float16).cpu(), token_index.at(moved.cpu().nonzero().squeeze(1)))

    def choose(self, token_index: TokenIndex, keys: torch.Tensor) -> torch.Tensor:
        """int64 [n]: a donor for each token, -1 where there is none.

        A donor stands in another document, in the same domain, segment and position bin; where the pilot has none such, in
        the same domain and segment, then in the same domain, then anywhere.
        """
        chosen = torch.full((len(token_index),), -1, dtype=torch.int64)
        for level in range(4):
            todo = (chosen < 0).nonzero().squeeze(1)
            if len(todo) and len(self.direction):
                chosen[todo] = self._choose(level, token_index.at(todo), keys[todo])
        return chosen

    def _choose(self, level: int, token_index: TokenIndex, keys: torch.Tensor) -> torch.Tensor:
        mine, wanted = _cells(self.token_index, level), _cells(token_index, level)
        documents = torch.unique(torch.cat([self.token_index.document_key, token_index.document_key]), return_inverse=True)[1]
        n = int(documents.max()) + 1
        own, other = documents[: len(mine)], documents[len(mine) :]
        # Sorted by cell, then document: a cell is a run, and what of it is the token's own document is a run inside it.
        order = np.lexsort((self.token_index.position, own, mine))
        sorted_keys = (mine * n + own)[order].contiguous()
        start, stop = (torch.searchsorted(sorted_keys, edge) for edge in (wanted * n, (wanted + 1) * n))
        own_start, own_stop = (torch.searchsorted(sorted_keys, wanted * n + edge) for edge in (other, other + 1))
        size = (stop - start) - (own_stop - own_start)
        place = start + below(keys, size.clamp_min(1))
        place = torch.where(place >= own_start, place + (own_stop - own_start), place)
        found = torch.from_numpy(order)[place.clamp_max(len(order) - 1)]
        return torch.where(size > 0, found, -1)


def _cells(token_index: TokenIndex, level: int) -> torch.Tensor:
    """Which tokens may lend to each other: equal numbers, coarser with the level."""
    if level == 3:
        return torch.zeros_like(token_index.domain)
    if level == 2:
        return token_index.domain
    return token_index.cell if level == 1 else token_index.cell * (len(POSITION_BINS) + 1) + token_index.position_bin


@dataclass(frozen=True)
class ControlInputs:
    """What the pilot fixed of one variant's change at one layer.

    Attributes:
        mean_delta: float64 [d_model], mean of delta over the pilot's tokens that count.
        donors: None where the control ``shuffled`` is not asked for.
    """

    mean_delta: torch.Tensor
    donors: Donors | None


@dataclass(frozen=True)
class Place:
    """Which tokens of a run a control is made for, by which its draws are known.

    Attributes:
        token_index: of the n tokens.
        centred: whether residuals are less their mean here, as noise must then be too.
    """

    token_index: TokenIndex
    layer: int
    variant: str
    centred: bool = False

    def keys(self, control: str) -> torch.Tensor:
        """int64 [n], on the CPU."""
        return mix(self.token_index.document_key, self.token_index.position, self.layer, text_key(control, self.variant))


def controlled(
    control: str, base: torch.Tensor, delta: torch.Tensor, place: Place, change: ControlInputs | None = None
) -> torch.Tensor:
    """The residuals that a control puts in the variant's place.

    Args:
        base, delta: float32 [n, d_model], h_a and h_b - h_a.
        change: what the pilot fixed, for the controls BORROWING.

    Returns:
        float32 [n, d_model].
    """
    if control == "rescaled":
        norm = base.norm(dim=1, keepdim=True)
        return base * torch.where(norm > 0, (base + delta).norm(dim=1, keepdim=True) / norm, 1.0)
    if control == "mean_shift":
        return base + to_device(change.mean_delta.to(base.dtype), base.device)
    size = delta.norm(dim=1, keepdim=True)
    if control == "isotropic":
        direction = gaussian(to_device(place.keys(control), base.device), base.shape[1])
        if place.centred:
            direction = direction - direction.mean(1, keepdim=True)
        return base + direction * (size / direction.norm(dim=1, keepdim=True))
    if control != "shuffled":
        raise ValueError(f"no such control: {control}")
    chosen = change.donors.choose(place.token_index, place.keys(control))
    direction = torch.zeros_like(base)
    lent = (chosen >= 0).nonzero().squeeze(1)
    borrowed = to_device(change.donors.direction[chosen[lent]], base.device).to(base.dtype)
    direction.index_copy_(0, to_device(lent, base.device), borrowed)
    # float16 directions are not quite of unit length.
    return base + direction * (size / direction.norm(dim=1, keepdim=True).clamp_min(1e-6))


def donor_rows(token_index: TokenIndex, limit: int = DONORS) -> torch.Tensor:
    """int64, ascending: the rows of the pilot whose change is kept, by a hash; all of them where they are few.

    Segments and domains keep their proportions, since the hash does not look at them.
    """
    keys = mix(token_index.document_key, token_index.position, text_key("donors"))
    return torch.argsort(keys)[:limit].sort().values
