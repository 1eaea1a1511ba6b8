"""One layer of a batch: what its dictionary makes of the base's residuals, and of those beside them, token by token.

On a GPU nothing here waits for the device: what needs to know a number of it (how many tokens count, how many codes there are)
asks for all layers at once, before (:func:`tokens_that_count`) or after (:class:`LayerFound`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from extract.corpus.token_index import Places
from extract.device import to_device
from extract.pilot.layer_pilot import LayerPilot
from extract.saes.codes import RoomyCodes, SparseCodes
from extract.saes.dictionary import Dictionary

Codes = SparseCodes | RoomyCodes


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
class Side:
    """A variant, or what stands in its place, beside the base; n tokens.

    Attributes:
        codes: raw codes.
        metrics: the quantities that need the residuals, by their column of document_sums: float64 [n] each.
        totals: float64 [cells, d_model], sum of the residuals of each (domain, segment).
    """

    codes: Codes
    metrics: Mapping[str, torch.Tensor]
    totals: torch.Tensor


@dataclass(frozen=True)
class LayerBatch:
    """The base's tokens of a batch that count at one layer, ready for others to be compared with them.

    Attributes:
        rows: int64 [n] on the CPU, the tokens' rows in the shard.
        cell: int64 [n], (domain, segment) of each, below ``n_cells``.
        residuals: float32 [n, d_model].
        reconstruction: float64 [n, d_model].
        room: how many codes a token has room for (:meth:`Dictionary.encode_into`); None: as many as there are, waiting.
    """

    dictionary: Dictionary
    pilot: LayerPilot
    rows: torch.Tensor
    cell: torch.Tensor
    n_cells: int
    residuals: torch.Tensor
    reconstruction: torch.Tensor
    room: int | None

    @classmethod
    def of(
        cls,
        dictionary: Dictionary,
        pilot: LayerPilot,
        rows: torch.Tensor,
        residuals: torch.Tensor,
        places: Places,
        n_cells: int,
        room: int | None,
    ) -> tuple["LayerBatch", Codes]:
        """Encode the base's residuals.

        Args:
            rows, residuals: of the n tokens that count.
            places: of the shard's rows.

        Returns:
            The batch, and the base's raw codes.
        """
        codes, reconstruction = encode(dictionary, residuals, room)
        cell = to_device(places.cell[rows], residuals.device)
        return cls(dictionary, pilot, rows, cell, n_cells, residuals, reconstruction, room), codes

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
        """Those of :attr:`Side.metrics` that are the base's alone, float64 [n] each: the same beside every side."""
        return {
            "base_norm2": self.exact.square().sum(1),
            "base_centred2": self.centred.square().sum(1),
            "base_error2": (self.exact - self.reconstruction).square().sum(1),
        }

    def compare(self, residuals: torch.Tensor) -> Side:
        """Encode other residuals of the same tokens, float32 [n, d_model], and compare them token by token."""
        codes, reconstruction = encode(self.dictionary, residuals, self.room)
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
        return Side(codes, metrics, self._totals(variant))

    def only(self, kept: torch.Tensor) -> "LayerBatch":
        """Some of the tokens; kept: int64 on the CPU, which of the n."""
        here = to_device(kept, self.residuals.device)
        return replace(
            self,
            rows=self.rows[kept],
            cell=self.cell[here],
            residuals=self.residuals[here],
            reconstruction=self.reconstruction[here],
        )

    @cached_property
    def _mean(self) -> torch.Tensor:
        return to_device(self.pilot.mean, self.residuals.device)

    def _totals(self, residuals: torch.Tensor) -> torch.Tensor:
        return residuals.new_zeros(self.n_cells, residuals.shape[1]).index_add_(0, self.cell, residuals)


def encode(dictionary: Dictionary, residuals: torch.Tensor, room: int | None) -> tuple[Codes, torch.Tensor]:
    """Codes and reconstruction of residuals, float32 [n, d_model]; room: as of :class:`LayerBatch`."""
    return dictionary.encode(residuals) if room is None else dictionary.encode_into(room * len(residuals), residuals)


@dataclass(frozen=True)
class Again:
    """The tokens of a batch that the base read a second time.

    Attributes:
        kept: int64, which of the batch's tokens that count.
        base: those tokens, as read the first time.
    """

    kept: torch.Tensor
    base: LayerBatch


@dataclass(frozen=True)
class LayerFound:
    """All that one layer of a batch gives.

    Attributes:
        n_sinks: tokens of the batch that do not count.
        base_codes: raw codes of the base.
        residuals: variant -> float32 [n, d_model].
        sides: (model, control) -> what stands beside the base; the rerun is beside ``again.base``.
        replica, replica_codes: a second dictionary of the layer, and model -> raw codes of it.
    """

    n_sinks: int
    base: LayerBatch
    base_codes: Codes
    residuals: Mapping[str, torch.Tensor]
    sides: Mapping[tuple[str, str], Side]
    again: Again | None
    replica: Dictionary | None
    replica_codes: Mapping[str, Codes]

    def tensors(self) -> list[torch.Tensor]:
        """Everything that the host needs of it."""
        found = [self.base.totals, *_parts(self.base_codes)]
        if self.again:
            found.append(self.again.base.totals)
        for side in self.sides.values():
            found += [*side.metrics.values(), side.totals, *_parts(side.codes)]
        for codes in self.replica_codes.values():
            found += _parts(codes)
        return found

    def on_host(self, tensors: Sequence[torch.Tensor]) -> "HostLayer":
        """The same on the host.

        Args:
            tensors: those of :meth:`tensors`, brought there.

        Raises:
            UserError: a code is negative or not finite.
        """
        given = iter(tensors)
        totals = next(given)
        needed: list[int] = []
        base_codes = self._taken(self.base.dictionary, self.base_codes, given, needed)
        again_totals = next(given) if self.again else None
        sides = {}
        for key, side in self.sides.items():
            metrics, side_totals = {name: next(given) for name in side.metrics}, next(given)
            sides[key] = Side(self._taken(self.base.dictionary, side.codes, given, needed), metrics, side_totals)
        replica_codes = {
            name: self._taken(self.replica, codes, given, needed) for name, codes in self.replica_codes.items()
        }
        return HostLayer(totals, again_totals, base_codes, sides, replica_codes, max(needed, default=0))

    @staticmethod
    def _taken(dictionary: Dictionary, codes: Codes, given: Iterator[torch.Tensor], needed: list[int]) -> SparseCodes:
        """The next codes of what was brought; appends how many a token of them wants room for."""
        row, feature, value = next(given), next(given), next(given)
        if isinstance(codes, SparseCodes):
            return SparseCodes(row, feature, value, codes.n_rows)
        count, is_finite, is_positive = (next(given) for _ in range(3))
        dictionary.check(bool(is_finite), bool(is_positive))
        needed.append(-(-int(count) // max(1, codes.codes.n_rows)))
        return SparseCodes(row, feature, value, codes.codes.n_rows).of(slice(0, int(count)))


@dataclass(frozen=True)
class HostLayer:
    """What a :class:`LayerFound` has for the host, there.

    Attributes:
        totals, again_totals: of the base, and of the tokens that it read a second time.
        room: codes a token that there would have to be room for; more than there was: the codes are cut off, and nothing of
            this is of use.
    """

    totals: torch.Tensor
    again_totals: torch.Tensor | None
    base_codes: SparseCodes
    sides: Mapping[tuple[str, str], Side]
    replica_codes: Mapping[str, SparseCodes]
    room: int


def _parts(codes: Codes) -> list[torch.Tensor]:
    if isinstance(codes, SparseCodes):
        return [codes.row, codes.feature, codes.value]
    return [*_parts(codes.codes), codes.count, codes.is_finite, codes.is_positive]


def _cosine(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    norms = (left.square().sum(1) * right.square().sum(1)).sqrt()
    # Two equal vectors have cosine 1 exactly, which the rounding of the square root does not always give.
    cosine = (left * right).sum(1) / norms.clamp_min(np.finfo(np.float64).tiny)
    return torch.where((left == right).all(1), 1.0, cosine.clamp(-1.0, 1.0))
