"""Likelihood and divergence along the straight way from a variant's activation at a site to the base's.

At a site the variant has h_b, the base h_a; delta = h_b - h_a. With the variant's blocks above kept and its activation
h_b - alpha * delta, let L(alpha) be the log-likelihood of the tokens that follow, and K(alpha) the KL from the base's
prediction. L(0) - L(1) is the part of what was learned that was made at or below the site. The integrated gradient
(Sundararajan, Taly and Yan 2017) g, the mean of d/dh over the way, tells it by token and direction:
L(0) - L(1) = sum g . delta, but for what a few points leave.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from extract.contributions.windows import Windows
from extract.models.hooks import capture_activations, run_with_graph
from extract.models.layout import decoder_blocks
from extract.models.model_set import ModelSet
from extract.models.predictions import pieces
from extract.models.sites import Site
from store.names import BASE
from store.points import RESID_POST

LIKELIHOOD, DIVERGENCE = range(2)
"""Rows of what :meth:`Targets.measure` gives."""


@dataclass(frozen=True)
class Targets:
    """What is asked of n predictions.

    Attributes:
        following: int64 [n], the token that follows.
        base: float32 [n, words], the base's probabilities.
        entropy: float32 [n], of the base's, sum p_a log p_a.
        weights: float64 [n], what each counts in a gradient.
    """

    following: torch.Tensor
    base: torch.Tensor
    entropy: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def of(cls, windows: Windows, log_probabilities: torch.Tensor) -> "Targets":
        """Of the base's log-probabilities [n, words] on a batch, nats."""
        base = log_probabilities.exp()
        return cls(windows.following, base, torch.linalg.vecdot(base, log_probabilities), windows.weights)

    def measure(self, log_probabilities: torch.Tensor, chunk: slice) -> torch.Tensor:
        """float32 [2, chunk]: log-likelihood and KL(p_a || p) of some of the predictions [chunk, words], nats."""
        likelihood = log_probabilities.gather(1, self.following[chunk, None])[:, 0]
        return torch.stack([likelihood, self.entropy[chunk] - torch.linalg.vecdot(self.base[chunk], log_probabilities)])

    def gradient(self, of: int, probabilities: torch.Tensor, chunk: slice) -> torch.Tensor:
        """d/d logits [chunk, words] of the weighted log-likelihood, 1 at the token that follows less p; or of KL, p - p_a."""
        if of == DIVERGENCE:
            slope = probabilities - self.base[chunk]
        else:
            slope = torch.zeros_like(probabilities).scatter_(1, self.following[chunk, None], 1.0).sub_(probabilities)
        return slope.mul_(self.weights[chunk, None])


class Reading:
    """One model on one batch of passages.

    Args:
        sites: where its activation is kept.
        words: of the vocabulary, those that all models share.

    Attributes:
        at: site -> its activation there, [batch, position, width] in the model's dtype.
    """

    def __init__(self, models: ModelSet, name: str, windows: Windows, sites: Sequence[Site], words: int) -> None:
        self._models, self._windows, self._words = models, windows, words
        # What was planted into the base lies below the activations that are moved, or does not move them.
        self._owner = name if models.change(name) is None else BASE
        with torch.no_grad(), models.active(name, windows.input_ids) as model:
            self._last = Site(len(decoder_blocks(model)) - 1, RESID_POST)
            with capture_activations(model, sorted({*sites, self._last})) as captured:
                run_with_graph(model, windows.input_ids, windows.mask)
        self.at = {site: activation.to(models.device) for site, activation in captured.items()}  # a model may be on several
        self._beside = captured.beside
        self._end = self._predicting(captured[self._last])

    def log_probabilities(self) -> torch.Tensor:
        """float32 [n, words], nats."""
        with torch.no_grad():
            return torch.cat([self._predict(self._end[chunk], chunk).float().log_softmax(1) for chunk in self._pieces()])

    def measure_without(self, site: Site, delta: torch.Tensor, targets: Targets) -> torch.Tensor:
        """float64 [2, n]: log-likelihood and KL where the model has h_b - delta at a site.

        Args:
            delta: float32 [batch, position, d_model].
        """
        with torch.no_grad(), self._moved(site, self.at[site].float() - delta) as model:
            end = self._run_above(model)
        return self._measure(end, targets)

    def gradients(
        self, site: Site, delta: torch.Tensor, targets: Targets, alpha: float, asked: Collection[int]
    ) -> dict[int, torch.Tensor]:
        """At one point of the way d/dh of the log-likelihood, of KL, or of both: float32 [batch, position, d_model] each.

        Args:
            delta: float32 [batch, position, d_model], how far the model stands from the base; 0 where that is not asked about.
            alpha: the point is h_b - alpha * delta.
            asked: LIKELIHOOD, DIVERGENCE; the second of them takes about a third of the time.
        """
        there = (self.at[site].float() - alpha * delta).detach().requires_grad_(True)
        with torch.enable_grad(), self._moved(site, there) as model:
            end = self._run_above(model)
        at_end, last = self._through_head(end.detach(), targets, asked), max(asked)
        return {
            of: torch.autograd.grad(end, there, gradient, retain_graph=of != last)[0].float() for of, gradient in at_end.items()
        }

    def _through_head(self, end: torch.Tensor, targets: Targets, asked: Collection[int]) -> dict[int, torch.Tensor]:
        """Gradients at what the model has after its last block, as ``end`` [n, d_model], ascending; piece by piece."""
        found, last = {of: torch.empty_like(end) for of in sorted(asked)}, max(asked)
        for chunk in self._pieces():
            leaf = end[chunk].clone().requires_grad_(True)
            with torch.enable_grad():
                logits = self._predict(leaf, chunk)
            probabilities = logits.detach().float().softmax(1)
            for of, gradient in found.items():
                of_logits = targets.gradient(of, probabilities, chunk).to(logits.dtype)
                gradient[chunk] = torch.autograd.grad(logits, leaf, of_logits, retain_graph=of != last)[0]
        return found

    def _measure(self, end: torch.Tensor, targets: Targets) -> torch.Tensor:
        with torch.no_grad():
            predicted = ((self._predict(end[chunk], chunk).float().log_softmax(1), chunk) for chunk in self._pieces())
            return torch.cat([targets.measure(*of_chunk) for of_chunk in predicted], dim=1).double()

    @contextmanager
    def _moved(self, site: Site, activation: torch.Tensor) -> Iterator[nn.Module]:
        """The model, whose forward passes take an activation at a site as given, and compute only what is above."""
        there = activation.to(self.at[site].dtype)
        with (
            self._models.active(self._owner, self._windows.input_ids) as model,
            site.resume(model, there, self._beside[site]),
        ):
            yield model

    def _run_above(self, model: nn.Module) -> torch.Tensor:
        """[n, d_model], after the last block at the tokens after which is predicted."""
        with capture_activations(model, [self._last], detached=False) as captured:
            run_with_graph(model, self._windows.input_ids, self._windows.mask)
        return self._predicting(captured[self._last])

    def _predicting(self, activation: torch.Tensor) -> torch.Tensor:
        return activation[self._windows.predicting.to(activation.device)].to(self._models.device)

    def _predict(self, end: torch.Tensor, chunk: slice) -> torch.Tensor:
        """[chunk, words], logits through the model's own last norm, head and whatever follows it."""
        ids = self._windows.input_ids[self._windows.predicting][chunk, None]  # each alone: past the blocks none sees another
        with self._models.active(self._owner, ids) as model, self._last.resume(model, end[:, None], self._beside[self._last]):
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        return logits[:, 0, : self._words].to(self._models.device)

    def _pieces(self) -> list[slice]:
        return pieces(len(self._windows.following), self._words)
