"""The pilot: a small first pass that fixes what the main pass needs, so that the main pass is a single one.

It reads the first context window of the first documents (hash order) of every domain, at most an eighth of the run's tokens
and ``PILOT_TOKENS``, and fixes for each layer the median norm (beyond a multiple of it a token is a sink), the base's mean
residual, and the scales of stored codes and of histograms; then, where a control asks for it, each variant's mean change and
the changes that other tokens may borrow. Last it fixes how large twins are (:mod:`extract.pilot.twin_sizes`). Nothing of it
depends on how the main pass is batched.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch

from extract import resumable as stamped
from extract.config import RunConfig
from extract.corpus.documents import Corpus, Document
from extract.corpus.records import source_order
from extract.corpus.token_index import TokenIndex
from extract.pilot.controls import ControlInputs, Donors, donor_rows
from extract.pilot.twin_sizes import TwinSize
from extract.saes.dictionary import Dictionary
from extract.saes.self_test import SelfTest, self_test
from store.errors import UserError
from store.files import whole
from store.format.manifest import file_hash
from store.format.writer import PILOT_FILE, StoreWriter
from store.metrics.feature_numbers import power_of_two

PILOT_TOKENS = 16_384
LEAST_PILOT_TOKENS = 2_048
LEAST_JUDGED_TOKENS = 64
SELF_TEST_TOKENS = 4_096
CHANCE_DIRECTIONS = 1_000
DONORS_FILE = "donors.npz"
SEEN = "*seen"
"""In the names of arrays: of what a transcoder reads. No variant is called so."""
NUMBERS = ("median_norm", "code_scale", "activation_unit", "fvu", "l0", "chance")
"""The fields of :class:`LayerPilot` that are one number each."""


@dataclass(frozen=True)
class LayerPilot:
    """What the pilot fixed for one layer.

    Attributes:
        median_norm: median ||h_a|| over the pilot's tokens.
        mean: float64 [d_model], mean h_a over those that count.
        code_scale: power of two near the median non-zero raw code; stored float16 code x code_scale = raw code.
        activation_unit: power of two near the median non-zero scaled activation; the middle of the histograms.
        fvu, l0: the dictionary's self-test.
        chance: 95th percentile of the largest |cosine| with a decoder row, over random directions drawn from the covariance
            of h_a; NaN where the run has no spectrum.
        changes: variant -> what the pilot fixed of its change; empty until :func:`fix_changes`, and where no control borrows.
        seen_changes: the same of what a transcoder reads; of an SAE empty.
    """

    median_norm: float
    mean: torch.Tensor
    code_scale: float
    activation_unit: float
    fvu: float
    l0: float
    chance: float = float("nan")
    changes: Mapping[str, ControlInputs] = field(default_factory=dict)
    seen_changes: Mapping[str, ControlInputs] = field(default_factory=dict)

    @property
    def mean_norm(self) -> float:
        """||mu||."""
        return float(self.mean.norm())

    def sink_norm(self, config: RunConfig) -> float:
        """A token whose base norm is beyond this does not count."""
        return float("inf") if config.count_sinks else config.sink_factor * self.median_norm


@dataclass(frozen=True)
class Pilot:
    """What the pilot fixed.

    Attributes:
        layers: layer -> of it.
        twins: a twin's name among the models -> how large it is.
    """

    layers: Mapping[int, LayerPilot]
    twins: Mapping[str, TwinSize] = field(default_factory=dict)


def pilot_documents(corpus: Corpus, config: RunConfig, window_tokens: int) -> list[Document]:
    """The first windows of the first documents of every domain, within the pilot's share of the tokens.

    In the order of a hash of the source, not in reading order: the first documents of that are few clusters.
    """
    by_domain: dict[str, list[Document]] = defaultdict(list)
    first = slice(0, window_tokens)
    for document in sorted(corpus.documents, key=lambda document: source_order(document.source)):
        if len(by_domain[document.domain]) < config.pilot_documents:
            window = replace(document, token_ids=document.token_ids[first], segments=document.segments[first])
            by_domain[document.domain].append(window)
    chosen: list[Document] = []
    budget = min(PILOT_TOKENS, max(LEAST_PILOT_TOKENS, config.tokens // 8))
    for turn in range(max(map(len, by_domain.values()))):
        for domain in sorted(by_domain):
            if turn < len(by_domain[domain]) and (len(by_domain[domain][turn]) <= budget or not chosen):
                chosen.append(by_domain[domain][turn])
                budget -= len(chosen[-1])
    return chosen


def fix_layer(dictionary: Dictionary, residuals: torch.Tensor, seen: torch.Tensor, config: RunConfig) -> LayerPilot:
    """Fix one layer from the pilot's base residuals.

    Args:
        residuals: float32 [n_tokens, d_model], as the dictionary reads them, sinks included.
        seen: float32 [n_tokens, d_in], what its codes are of.

    Raises:
        UserError: the dictionary fails its self-test.
    """
    norms = residuals.norm(dim=1)
    median = float(np.median(norms.cpu().numpy()))
    kept = torch.ones_like(norms, dtype=torch.bool) if config.count_sinks else norms <= config.sink_factor * median
    counts = residuals[kept]
    every = max(1, len(counts) // SELF_TEST_TOKENS)
    test = _tested(dictionary, counts[::every], seen[kept][::every])
    return LayerPilot(
        median_norm=median,
        mean=counts.double().mean(0).cpu(),  # there it is the same whether fixed now or read back
        code_scale=power_of_two(test.median_code),
        activation_unit=power_of_two(test.median_activation),
        fvu=test.fvu,
        l0=test.l0,
        chance=chance_cosine(dictionary, counts) if config.spectrum else float("nan"),
    )


def _tested(dictionary: Dictionary, residuals: torch.Tensor, seen: torch.Tensor) -> SelfTest:
    """The dictionary's self-test; where it fails on very few tokens, they may be why.

    Raises:
        UserError: it fails.
    """
    try:
        return self_test(dictionary, residuals, seen)
    except UserError as error:
        if len(residuals) >= LEAST_JUDGED_TOKENS:
            raise
        raise UserError(
            f"The pilot has only {len(residuals)} tokens that count, too few to say whether the dictionary '{dictionary.name}' "
            f"describes the base at layer {dictionary.layer}; give a larger corpus."
        ) from error


def chance_cosine(dictionary: Dictionary, residuals: torch.Tensor) -> float:
    """What the best decoder row's |cosine| with a direction is by chance: the 95th percentile over random directions.

    Args:
        residuals: float32 [n_tokens, d_model]; a normal mixture of its centred rows is a draw from its covariance.
    """
    generator = torch.Generator().manual_seed(0)
    mixture = torch.randn(CHANCE_DIRECTIONS, len(residuals), generator=generator).to(residuals)
    directions = torch.nn.functional.normalize(mixture @ (residuals - residuals.mean(0)), dim=1)
    rows = torch.nn.functional.normalize(dictionary.decoder.float(), dim=1)
    best = torch.stack([(rows @ direction).abs().max() for direction in directions])
    return float(best.quantile(0.95))


def fix_changes(
    base: torch.Tensor, variant: torch.Tensor, counts: torch.Tensor, token_index: TokenIndex, config: RunConfig
) -> ControlInputs:
    """Fix one variant's mean change and donors at one site from the pilot's residuals.

    Args:
        base, variant: float32 [n_tokens, width], as the layer's dictionary reads them, sinks included.
        counts: int64, which of the tokens are no sinks.
        token_index: of the n tokens.
    """
    delta = variant[counts] - base[counts]
    donors = None
    if "shuffled" in config.controls:
        here = token_index.at(counts.cpu())
        kept = donor_rows(here)
        donors = Donors.of(delta[kept.to(delta.device)], here.at(kept))
    return ControlInputs(delta.double().mean(0).cpu(), donors)


def save(writer: StoreWriter, pilot: Pilot, fingerprint: str) -> None:
    """Keep the pilot: in the store what notebooks and later checks need, beside it the donors while the run goes on.

    Raises:
        OSError: the disk is full.
    """
    path, donors = _paths(writer)
    _save_numbers(path, pilot)
    stamped.save(donors, _donor_arrays(pilot.layers), f"{fingerprint} {file_hash(path)}")


def digest(writer: StoreWriter) -> str:
    """SHA-256 over the saved pilot."""
    return hashlib.sha256("".join(map(file_hash, _paths(writer))).encode()).hexdigest()


def _paths(writer: StoreWriter) -> tuple[Path, Path]:
    """Where the pilot of a run is kept, and its donors."""
    return writer.partial / PILOT_FILE, writer.work / DONORS_FILE


def _save_numbers(path: Path, fixed: Pilot) -> None:
    """Numbers, the means of h_a and of each variant's delta, and the twins' sizes."""
    arrays = {f"twins/{name}": np.array([size.factor, size.ratio]) for name, size in fixed.twins.items()}
    for layer, pilot in fixed.layers.items():
        arrays[f"{layer}/mean"] = pilot.mean.cpu().numpy()
        arrays[f"{layer}/numbers"] = np.array([getattr(pilot, name) for name in NUMBERS])
        for at, changes in _both(layer, pilot):
            for variant, change in changes.items():
                arrays[f"{at}/mean_delta/{variant}"] = change.mean_delta.numpy()
    with whole(path) as file:
        np.savez(file, **arrays)


def _donor_arrays(pilots: Mapping[int, LayerPilot]) -> dict[str, np.ndarray]:
    arrays = {}
    for layer, pilot in pilots.items():
        for at, changes in _both(layer, pilot):
            for variant, change in changes.items():
                if change.donors is not None:
                    arrays[f"{at}/{variant}/direction"] = change.donors.direction.numpy()
                    for column in fields(TokenIndex):
                        arrays[f"{at}/{variant}/{column.name}"] = getattr(change.donors.token_index, column.name).numpy()
    return arrays


def _both(layer: int, pilot: LayerPilot) -> list[tuple[str, Mapping[str, ControlInputs]]]:
    """(head of the names of arrays, changes) of what a layer's dictionary writes, and of what a transcoder reads."""
    return [(str(layer), pilot.changes), (f"{layer}/{SEEN}", pilot.seen_changes)]


def is_saved(writer: StoreWriter, fingerprint: str) -> bool:
    """Whether the pilot of this run is there, every byte of it."""
    numbers, donors = _paths(writer)
    stamp = stamped.read_stamp(donors) if numbers.is_file() else None
    return stamp is not None and stamp == f"{fingerprint} {file_hash(numbers)}"


def load(writer: StoreWriter, layers: Sequence[int], variants: Sequence[str], twins: Sequence[str]) -> Pilot:
    """Read what :func:`save` wrote."""
    path, donors_path = _paths(writer)
    with np.load(path) as arrays, np.load(donors_path) as donors:
        pilots = {}
        for layer in layers:
            numbers = dict(zip(NUMBERS, arrays[f"{layer}/numbers"].tolist(), strict=True))
            both = [
                {
                    variant: ControlInputs(
                        torch.from_numpy(arrays[f"{at}/mean_delta/{variant}"]), _load_donors(donors, f"{at}/{variant}")
                    )
                    for variant in variants
                    if f"{at}/mean_delta/{variant}" in arrays
                }
                for at in (layer, f"{layer}/{SEEN}")
            ]
            changes, seen = both
            mean = torch.from_numpy(arrays[f"{layer}/mean"])
            pilots[layer] = LayerPilot(mean=mean, changes=changes, seen_changes=seen, **numbers)
        return Pilot(pilots, {name: TwinSize(*arrays[f"twins/{name}"].tolist()) for name in twins})


def _load_donors(arrays: Mapping[str, np.ndarray], place: str) -> Donors | None:
    if f"{place}/direction" not in arrays:
        return None
    columns = {column.name: torch.from_numpy(arrays[f"{place}/{column.name}"]) for column in fields(TokenIndex)}
    return Donors(torch.from_numpy(arrays[f"{place}/direction"]), TokenIndex(**columns))
