"""One layer of a batch: what its dictionary makes of the base's residuals, and of those beside them, token by token.

On a GPU nothing here waits for the device: what needs to know a number of it (how many tokens count, how many codes there are)
asks for all layers at once, before (:func:`tokens_that_count`) or after (:class:`LayerResult`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from extract.device import to_device
from extract.pilot.layer_pilot import LayerPilot
from extract.saes.codes import PaddedCodes, SparseCodes
from extract.saes.dictionary import Dictionary

DeviceCodes = SparseCodes | PaddedCodes
"""Raw codes where they were computed: as many as there are, or padded to a capacity."""


def tokens_that_count(residuals: Mapping[int, torch.Tensor], sink_norms: Mapping[int, float]) -> dict[int, torch.Tensor]:
    """Which tokens are not attention sinks.

    Args:
        residuals: layer -> float32 [n, d_model], the base's.
        sink_norms: layer -> tokens whose norm is beyond it do not count.

    Returns:
        layer -> bool [n], on the CPU.
    """
    counts = torch.stack([residual.norm(dim=1) <= sink_norms[layer] for layer, residual in residuals.items()]).cpu()
    return dict(zip(residuals, counts, strict=True))


@dataclass(frozen=True)
class Counterpart:
    """What the base is compared with, a variant, or a twin or a control in its place; n tokens.

    Attributes:
        codes: raw codes.
        metrics: the quantities that need the residuals, by their column of document_sums: float64 [n] each.
        totals: float64 [cells, d_model], sum of the residuals of each (domain, segment).
    """

    codes: DeviceCodes
    metrics: Mapping[str, torch.Tensor]
    totals: torch.Tensor


@dataclass(frozen=True)
class LayerEncoder:
    """How a layer's residuals are encoded and summed.

    Attributes:
        n_cells: of (domain, segment).
        capacity: codes a token, of :meth:`Dictionary.encode_padded`; None: as many as there are, for which the host waits.
    """

    dictionary: Dictionary
    pilot: LayerPilot
    n_cells: int
    capacity: int | None

    def base(
        self, rows: torch.Tensor, cell: torch.Tensor, residuals: torch.Tensor, seen: torch.Tensor
    ) -> tuple["LayerBatch", DeviceCodes]:
        """Encode the base's residuals.

        Args:
            rows, cell: int64 [n] on the CPU.
            residuals: float32 [n, d_model].
            seen: float32 [n, d_in], what the dictionary reads: the residuals themselves but of a transcoder.

        Returns:
            The batch, and the base's raw codes.
        """
        codes, reconstruction = self.encode(seen)
        return LayerBatch(self, rows, to_device(cell, residuals.device), residuals, reconstruction), codes

    def encode(self, residuals: torch.Tensor, dictionary: Dictionary | None = None) -> tuple[DeviceCodes, torch.Tensor]:
        """Codes and reconstruction (float64) of what is read, float32 [n, d_in]; dictionary: another than the layer's own."""
        dictionary = dictionary or self.dictionary
        if self.capacity is None:
            return dictionary.encode(residuals)
        return dictionary.encode_padded(residuals, self.capacity * len(residuals))


@dataclass(frozen=True)
class LayerBatch:
    """The base's tokens of a batch that count at one layer, ready for others to be compared with them.

    Attributes:
        rows: int64 [n] on the CPU, the tokens' rows in the shard.
        cell: int64 [n], (domain, segment) of each, below ``encoder.n_cells``.
        residuals: float32 [n, d_model].
        reconstruction: float64 [n, d_model].
    """

    encoder: LayerEncoder
    rows: torch.Tensor
    cell: torch.Tensor
    residuals: torch.Tensor
    reconstruction: torch.Tensor

    @cached_property
    def exact(self) -> torch.Tensor:
        """float64 [n, d_model], the residuals."""
        return self.residuals.double()

    @cached_property
    def centred(self) -> torch.Tensor:
        """float64 [n, d_model], the residuals less the pilot's mean."""
        return self.exact - self._mean

    @cached_property
    def totals(self) -> torch.Tensor:
        """float64 [cells, d_model], sum of the base's residuals of each cell."""
        return self._totals(self.exact)

    @cached_property
    def own_metrics(self) -> dict[str, torch.Tensor]:
        """Those of :attr:`Counterpart.metrics` that are the base's alone, float64 [n] each: the same for each of them."""
        return {
            "base_norm2": self.exact.square().sum(1),
            "base_centred2": self.centred.square().sum(1),
            "base_error2": (self.exact - self.reconstruction).square().sum(1),
        }

    def compare(self, residuals: torch.Tensor, seen: torch.Tensor) -> Counterpart:
        """Encode other residuals of the same tokens, and compare them token by token; arguments as of LayerEncoder.base."""
        codes, reconstruction = self.encoder.encode(seen)
        variant = residuals.double()
        centred, delta = variant - self._mean, variant - self.exact
        metrics = self.own_metrics | {
            "cosine": _cosine(self.exact, variant),
            "centred_cosine": _cosine(self.centred, centred),
            "variant_norm2": variant.square().sum(1),
            "variant_centred2": centred.square().sum(1),
            "delta_norm2": delta.square().sum(1),
            "variant_error2": (variant - reconstruction).square().sum(1),
            "delta_error2": (delta - (reconstruction - self.reconstruction)).square().sum(1),
        }
        return Counterpart(codes, metrics, self._totals(variant))

    def only(self, kept: torch.Tensor) -> "LayerBatch":
        """Some of the tokens; kept: int64 [m] on the CPU, which of the n."""
        on_device = to_device(kept, self.residuals.device)
        return replace(
            self,
            rows=self.rows[kept],
            cell=self.cell[on_device],
            residuals=self.residuals[on_device],
            reconstruction=self.reconstruction[on_device],
        )

    @cached_property
    def _mean(self) -> torch.Tensor:
        return to_device(self.encoder.pilot.mean, self.residuals.device)

    def _totals(self, residuals: torch.Tensor) -> torch.Tensor:
        return residuals.new_zeros(self.encoder.n_cells, residuals.shape[1]).index_add_(0, self.cell, residuals)


@dataclass(frozen=True)
class Rerun:
    """The tokens of a batch that the base read a second time.

    Attributes:
        kept: int64, which of the batch's tokens that count.
        base: those tokens, as read the first time.
    """

    kept: torch.Tensor
    base: LayerBatch


@dataclass(frozen=True)
class LayerResult:
    """All that one layer of a batch gives.

    Attributes:
        n_sinks: tokens of the batch that do not count.
        base_codes: raw codes of the base.
        residuals: variant -> float32 [n, d_model].
        counterparts: (model, control) -> what the base is compared with; the rerun, with ``rerun.base``.
        replica, replica_codes: a second dictionary of the layer, and model -> raw codes of it.
    """

    n_sinks: int
    base: LayerBatch
    base_codes: DeviceCodes
    residuals: Mapping[str, torch.Tensor]
    counterparts: Mapping[tuple[str, str], Counterpart]
    rerun: Rerun | None
    replica: Dictionary | None
    replica_codes: Mapping[str, DeviceCodes]

    def tensors(self) -> list[torch.Tensor]:
        """Everything that the host needs of it, in one order: totals [cells, d_model], metrics [n], codes [nnz]."""
        found = [self.base.totals, *_parts(self.base_codes)]
        if self.rerun:
            found.append(self.rerun.base.totals)
        for counterpart in self.counterparts.values():
            found += [*counterpart.metrics.values(), counterpart.totals, *_parts(counterpart.codes)]
        for codes in self.replica_codes.values():
            found += _parts(codes)
        return found

    def on_host(self, tensors: Sequence[torch.Tensor]) -> "HostLayer":
        """The same on the host.

        Args:
            tensors: those of :meth:`tensors`, of the same shapes, brought there.

        Raises:
            UserError: a code is negative or not finite.
        """
        given = iter(tensors)
        totals = next(given)
        needed: list[int] = []
        own = self.base.encoder.dictionary
        base_codes = self._next_codes(own, self.base_codes, given, needed)
        rerun_totals = next(given) if self.rerun else None
        counterparts = {}
        for key, counterpart in self.counterparts.items():
            metrics, totals_there = {name: next(given) for name in counterpart.metrics}, next(given)
            codes = self._next_codes(own, counterpart.codes, given, needed)
            counterparts[key] = Counterpart(codes, metrics, totals_there)
        replica_codes = {
            name: self._next_codes(self.replica, codes, given, needed) for name, codes in self.replica_codes.items()
        }
        return HostLayer(totals, rerun_totals, base_codes, counterparts, replica_codes, max(needed, default=0))

    @staticmethod
    def _next_codes(
        dictionary: Dictionary, codes: DeviceCodes, given: Iterator[torch.Tensor], needed: list[int]
    ) -> SparseCodes:
        """The next codes of what was brought; appends how many a token has of them."""
        row, feature, value = next(given), next(given), next(given)
        if isinstance(codes, SparseCodes):
            return SparseCodes(row, feature, value, codes.n_rows)
        count, is_finite, is_positive = (next(given) for _ in range(3))
        dictionary.check(bool(is_finite), bool(is_positive))
        needed.append(-(-int(count) // max(1, codes.codes.n_rows)))
        return SparseCodes(row, feature, value, codes.codes.n_rows).of(slice(0, int(count)))


@dataclass(frozen=True)
class HostLayer:
    """What a :class:`LayerResult` has for the host, there.

    Attributes:
        totals, rerun_totals: of the base, and of the tokens that it read a second time.
        needed: the capacity in codes a token that this takes; more than there was: the codes are cut off, and nothing of this
            is of use.
    """

    totals: torch.Tensor
    rerun_totals: torch.Tensor | None
    base_codes: SparseCodes
    counterparts: Mapping[tuple[str, str], Counterpart]
    replica_codes: Mapping[str, SparseCodes]
    needed: int


def _parts(codes: DeviceCodes) -> list[torch.Tensor]:
    if isinstance(codes, SparseCodes):
        return [codes.row, codes.feature, codes.value]
    return [*_parts(codes.codes), codes.count, codes.is_finite, codes.is_positive]


def _cosine(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    norms = (left.square().sum(1) * right.square().sum(1)).sqrt()
    # Two equal vectors have cosine 1 exactly, which the rounding of the square root does not always give.
    cosine = (left * right).sum(1) / norms.clamp_min(np.finfo(np.float64).tiny)
    return torch.where((left == right).all(1), 1.0, cosine.clamp(-1.0, 1.0))
