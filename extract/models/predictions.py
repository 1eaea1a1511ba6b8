"""Predictions of the next token, as the models themselves make them: once through the blocks, then through their own last norm,
head and whatever follows it for a few positions at a time, since the logits of a whole batch would fill the memory."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from extract.models.hooks import capture_activations, run_truncated
from extract.models.layout import decoder_blocks
from extract.models.model_set import ModelSet
from extract.models.sites import Site
from store.names import BASE
from store.points import RESID_POST

LOGITS_AT_ONCE = 2**27
"""Bytes of one model's: 128 positions of a vocabulary of 262,144 in float32."""


class Predictions:
    """What one model predicts at some tokens of a batch; the blocks have run.

    Args:
        input_ids, mask: [batch, position] on the models' device, padded on the right.
        kept: bool [batch, position], the n tokens after which is predicted.
        edit: puts a change on the model, as :meth:`extract.models.sites.Site.edit`; None for none.
    """

    @torch.inference_mode()
    def __init__(
        self,
        models: ModelSet,
        name: str,
        input_ids: torch.Tensor,
        mask: torch.Tensor,
        kept: torch.Tensor,
        edit: Callable[[nn.Module], AbstractContextManager] | None = None,
    ) -> None:
        self._models = models
        # What was planted into the base is in the blocks, which are done with.
        self._owner = name if models.change(name) is None else BASE
        self._ids = input_ids[kept][:, None]
        with models.active(name, input_ids) as model, edit(model) if edit else nullcontext():
            self._last = Site(len(decoder_blocks(model)) - 1, RESID_POST)
            with capture_activations(model, [self._last]) as captured:
                run_truncated(model, input_ids, mask)
        residual = captured[self._last]
        self._residual, self._beside = residual[kept.to(residual.device)][:, None], captured.beside[self._last]

    @torch.inference_mode()
    def log_probabilities(self, chunk: slice, words: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """[chunk, words] at some of the n tokens, nats; a model with more words than another is cut to the shared ones."""
        ids = self._ids[chunk]  # each token a window of its own: past the blocks none sees another
        with self._models.active(self._owner, ids) as model, self._last.resume(model, self._residual[chunk], self._beside):
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        return logits[:, 0, :words].to(dtype).log_softmax(1)


def pieces(n: int, words: int, dtype: torch.dtype = torch.float32) -> list[slice]:
    """n positions in pieces whose logits stay within LOGITS_AT_ONCE, or of one position."""
    size = max(1, LOGITS_AT_ONCE // (words * dtype.itemsize))
    return [slice(start, start + size) for start in range(0, n, size)]


def divergence(base: torch.Tensor, variant: torch.Tensor) -> torch.Tensor:
    """float64 [positions]: KL(p_a || p_b), nats, of log-probabilities [positions, words]; ``variant`` is overwritten.

    float32 log-probabilities leave an error of about 1e-6 nats, which is why the sum is not let below 0.
    """
    terms = variant.neg_().add_(base).mul_(base.exp())
    return terms.sum(1, dtype=torch.float64).clamp_min(0)
