"""Passages as a padded batch on the models' device, and which of their tokens are asked about."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from extract.contributions.sample import Passage

PROBABILITIES = 2**26
"""Bytes that the base's predictions of one batch may take: 64 positions of a vocabulary of 262,144 in float32."""
PROBABILITIES_READ = 2**28
"""Of one that is read forwards only."""


@dataclass(frozen=True)
class Windows:
    """Context windows of passages, padded on the right.

    Attributes:
        numbers: of the passages in the sample.
        domain: int64 [passages], number in the sample's domains.
        input_ids, mask: int64 [batch, position]; the mask is 1 where a token is real.
        passage: int64 [batch, position], the place in ``numbers`` of each document token; -1 for padding and BOS.
        slots: int64 [batch, position], place in SLOTS of what each token predicts; -1 where that is not asked about.
        predicting: bool [batch, position], the tokens after which is predicted, n in all.
        following: int64 [n], the tokens that follow, in the order of ``predicting``.
        weights: float64 [n], what each prediction counts.
    """

    numbers: list[int]
    domain: torch.Tensor
    input_ids: torch.Tensor
    mask: torch.Tensor
    passage: torch.Tensor
    slots: torch.Tensor
    predicting: torch.Tensor
    following: torch.Tensor
    weights: torch.Tensor

    @property
    def kept(self) -> torch.Tensor:
        """bool [batch, position]: document tokens, m in all."""
        return self.passage >= 0

    @classmethod
    def of(cls, passages: Sequence[Passage], numbers: list[int], bos: int | None, pad: int, device: str) -> "Windows":
        """Some of the passages of a sample, in a batch."""
        lead = [] if bos is None else [bos]
        width = len(lead) + max(len(passages[number].token_ids) for number in numbers)
        input_ids = np.full((len(numbers), width), pad, dtype=np.int64)
        passage, slots = np.full_like(input_ids, -1), np.full_like(input_ids, -1)
        mask, predicting = np.zeros_like(input_ids), np.zeros(input_ids.shape, dtype=bool)
        for row, number in enumerate(numbers):
            ids = passages[number].token_ids
            end = len(lead) + len(ids)
            input_ids[row, :end] = [*lead, *ids]
            mask[row, :end] = 1
            passage[row, len(lead) : end] = row
            slots[row, len(lead) : end] = passages[number].slots
            predicting[row, len(lead) + passages[number].predicting] = True
        following, weights = (
            np.concatenate([getattr(passages[number], name) for number in numbers]) for name in ("following", "weights")
        )
        domain = np.array([passages[number].domain for number in numbers])
        arrays = (domain, input_ids, mask, passage, slots, predicting, following, weights)
        return cls(numbers, *(torch.from_numpy(array).to(device) for array in arrays))


def in_groups(
    passages: Sequence[Passage], batch_tokens: int, words: int, probabilities: int = PROBABILITIES
) -> Iterator[list[int]]:
    """Numbers of the passages of each batch, in order: what is padded stays within ``batch_tokens``, or is one passage.

    Args:
        words: of the vocabulary; the logits of a batch's predictions stay within so many bytes of ``probabilities``.
    """
    at_most = max(1, probabilities // (4 * words))
    group: list[int] = []
    for number in range(len(passages)):
        of_group = [passages[other] for other in [*group, number]]
        width = 1 + max(len(other.token_ids) for other in of_group)
        n_predictions = sum(len(other.predicting) for other in of_group)
        if group and (width * len(of_group) > batch_tokens or n_predictions > at_most):
            yield group
            group = []
        group.append(number)
    if group:
        yield group
