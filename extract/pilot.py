"""The pilot: a small first pass over the base that fixes what the main pass needs, so that the main pass is a single one.

It reads the first context window of the first documents (hash order) of every domain, at most ``PILOT_TOKENS`` tokens, and
fixes for each layer the median norm (beyond a multiple of it a token is a sink), the base's mean residual, and the scales of
stored codes and of histograms. Nothing of it depends on batching.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from extract.config import RunConfig
from extract.corpus import Corpus, Document
from extract.dictionaries import Dictionary, SelfTest, self_test
from store.metrics import power_of_two

PILOT_TOKENS = 16_384
SELF_TEST_TOKENS = 4_096


@dataclass(frozen=True)
class LayerPilot:
    """What the pilot fixed for one layer.

    Attributes:
        median_norm: median ||h_a|| over the pilot's tokens.
        mean: float64 [d_model], mean h_a over those that count.
        code_scale: power of two near the median non-zero raw code; stored float16 code x code_scale = raw code.
        activation_unit: power of two near the median non-zero scaled activation; the middle of the histograms.
        fvu, l0: the dictionary's self-test.
    """

    median_norm: float
    mean: torch.Tensor
    code_scale: float
    activation_unit: float
    fvu: float
    l0: float

    @property
    def mean_norm(self) -> float:
        """||mu||."""
        return float(self.mean.norm())

    def sink_norm(self, config: RunConfig) -> float:
        """A token whose base norm is beyond this does not count."""
        return float("inf") if config.count_sinks else config.sink_factor * self.median_norm


def pilot_documents(corpus: Corpus, per_domain: int, window_tokens: int) -> list[Document]:
    """The first windows of the first documents of every domain, in reading order, within :data:`PILOT_TOKENS`."""
    by_domain: dict[str, list[Document]] = defaultdict(list)
    for document in corpus.documents:
        if len(by_domain[document.domain]) < per_domain:
            first = slice(0, window_tokens)
            by_domain[document.domain].append(
                Document(document.source, document.domain, document.token_ids[first], document.segments[first])
            )
    chosen: list[Document] = []
    budget = PILOT_TOKENS
    for turn in range(per_domain):
        for domain in sorted(by_domain):
            if turn < len(by_domain[domain]) and (len(by_domain[domain][turn]) <= budget or not chosen):
                chosen.append(by_domain[domain][turn])
                budget -= len(chosen[-1])
    return chosen


def fix_layer(dictionary: Dictionary, residuals: torch.Tensor, config: RunConfig) -> LayerPilot:
    """Fix one layer from the pilot's base residuals.

    Args:
        residuals: float32 [n_tokens, d_model], sinks included.

    Raises:
        UserError: the dictionary fails its self-test.
    """
    norms = residuals.norm(dim=1)
    median = float(np.median(norms.cpu().numpy()))
    counts = residuals if config.count_sinks else residuals[norms <= config.sink_factor * median]
    every = max(1, len(counts) // SELF_TEST_TOKENS)
    test: SelfTest = self_test(dictionary, counts[::every])
    return LayerPilot(
        median_norm=median,
        mean=counts.double().mean(0).cpu(),  # there it is the same whether fixed now or read back
        code_scale=power_of_two(test.median_code),
        activation_unit=power_of_two(test.median_activation),
        fvu=test.fvu,
        l0=test.l0,
    )


def save(path: Path, pilots: dict[int, LayerPilot]) -> None:
    """Keep the pilot beside the parts: notebooks and later checks need the mean itself."""
    arrays = {}
    for layer, pilot in pilots.items():
        arrays[f"{layer}/mean"] = pilot.mean.cpu().numpy()
        arrays[f"{layer}/numbers"] = np.array(
            [pilot.median_norm, pilot.code_scale, pilot.activation_unit, pilot.fvu, pilot.l0]
        )
    with path.open("wb") as file:
        np.savez(file, **arrays)


def load(path: Path, layers: Sequence[int]) -> dict[int, LayerPilot]:
    """Read what :func:`save` wrote."""
    with np.load(path) as arrays:
        pilots = {}
        for layer in layers:
            median, code_scale, unit, fvu, l0 = (float(x) for x in arrays[f"{layer}/numbers"])
            mean = torch.from_numpy(arrays[f"{layer}/mean"])
            pilots[layer] = LayerPilot(median, mean, code_scale, unit, fvu, l0)
    return pilots
