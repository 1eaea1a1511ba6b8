"""Real patching: what goes of a variant's likelihood and divergence where changes at a site are taken back, on one batch."""

from collections.abc import Sequence

import torch

from extract.contributions.measure import Contributions, base_at
from extract.contributions.path import Reading, Targets
from extract.contributions.windows import Windows
from extract.saes.dictionary import Dictionary
from extract.saes.dictionary_set import sites_of
from store.names import BASE

SMALLEST_NORM = 1e-12


class Patching:
    """A variant beside the base on a batch of passages, at one dictionary's site.

    Attributes:
        whole: float64 [2, n], how much more likely the variant finds what follows, and KL(p_a || p_b), nats.
        delta: float32 [batch, position, d_model], h_b - h_a; 0 where nothing counts.
    """

    def __init__(self, shared: Contributions, dictionary: Dictionary, variant: str, windows: Windows) -> None:
        self._dictionary = dictionary
        sites = sites_of([dictionary])
        of_base = Reading(shared.models, BASE, windows, sites, shared.words)
        predicted = of_base.log_probabilities()
        self._targets = Targets.of(windows, predicted)
        base = base_at(shared, dictionary, windows, of_base)
        self._counts = base.counts
        self._model = Reading(shared.models, variant, windows, sites, shared.words)
        self._own = self._targets.measure(self._model.log_probabilities(), slice(None)).double()
        self.whole = self._own - self._targets.measure(predicted, slice(None)).double()
        self.delta, self._changes = base.change(dictionary, self._model)

    def gone(self, moved: torch.Tensor) -> torch.Tensor:
        """float64 [2, n]: what goes of ``whole`` where the variant has ``moved`` less at the site."""
        return self._own - self._model.measure_without(self._dictionary.site, moved, self._targets)

    def written(self, features: Sequence[int], along: Sequence[int] | None = None) -> torch.Tensor:
        """float32 [batch, position, d_model]: what the changes of some features write, sum over j of (b - a)_tj W_dec,j.

        Args:
            along: for each of them another feature, along whose direction the change goes instead, as far.
        """
        device, norms = self._changes.feature.device, self._dictionary.decoder_norm
        own = torch.as_tensor(features, device=device)
        place = torch.full((self._dictionary.d_sae,), -1, dtype=torch.int64, device=device)
        place[own] = torch.arange(len(own), device=device)
        directions = self._dictionary.decoder[own]
        if along is not None:
            others = torch.as_tensor(along, device=device)
            directions = self._dictionary.decoder[others] * (norms[own] / norms[others])[:, None]
        of = place[self._changes.feature]
        here = of >= 0
        sums = torch.zeros(int(self._counts.sum()), self._dictionary.d_model, dtype=torch.float64, device=of.device)
        sums.index_add_(0, self._changes.row[here], directions[of[here]] * self._changes.value[here][:, None])
        written = torch.zeros_like(self.delta)
        written[self._counts] = sums.float()
        return written

    def towards_base(self, written: torch.Tensor) -> torch.Tensor:
        """What moves each token as far as ``written`` does, straight towards the base: along -delta."""
        share = written.norm(dim=2) / self.delta.norm(dim=2).clamp_min(SMALLEST_NORM)
        return share[..., None] * self.delta
