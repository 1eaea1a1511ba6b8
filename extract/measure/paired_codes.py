"""Two models' sparse codes laid over each other, and what that says of each token. On the CPU, in float64."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import sparse

from extract.saes.codes import SparseCodes

NEAR = 1.05
"""A firing up to this many times the threshold is near it."""


@dataclass(frozen=True)
class Union:
    """Scaled activations of base and variant wherever either fires, in (row, feature) order.

    Attributes:
        row, feature: int64 [nnz].
        a, b: float64 [nnz], scaled activation in base and variant, 0 where silent.
        n_rows, d_sae: extent of the shard and of the dictionary.
    """

    row: torch.Tensor
    feature: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor
    n_rows: int
    d_sae: int

    @cached_property
    def by_feature(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int64 [nnz] each: the entries in (feature, row) order, and their rows and features."""
        entries = np.arange(len(self.row))
        matrix = _matrix(entries, self.row.numpy(), self.feature.numpy(), (self.n_rows, self.d_sae)).tocsc()
        return matrix.data, matrix.indices.astype(np.int64), np.repeat(np.arange(self.d_sae), np.diff(matrix.indptr))


def scaled_union(base: SparseCodes, variant: SparseCodes, decoder_norm: torch.Tensor) -> Union:
    """Lay base and variant codes over each other.

    Args:
        base, variant: of the same tokens; a code of a feature whose decoder row is zero writes nothing, and is left out.
        decoder_norm: float64 [d_sae]; raw code x norm = scaled activation.
    """
    a, b = (_scaled(codes, decoder_norm.numpy()) for codes in (base, variant))
    # Matrices whose entries are in order are added in one pass over both; as a complex number an entry keeps its two sides.
    either = a + 1j * b
    row = np.repeat(np.arange(base.n_rows), np.diff(either.indptr))
    columns = (row, either.indices.astype(np.int64), either.data.real.copy(), either.data.imag.copy())
    return Union(*map(torch.from_numpy, columns), base.n_rows, len(decoder_norm))


def _scaled(codes: SparseCodes, decoder_norm: np.ndarray) -> sparse.csr_array:
    feature = codes.feature.numpy()
    scaled = codes.value.numpy().astype(np.float64) * decoder_norm[feature]
    return _matrix(scaled, codes.row.numpy(), feature, (codes.n_rows, len(decoder_norm)))


def _matrix(values: np.ndarray, row: np.ndarray, feature: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    """Entries in (row, feature) order as a matrix [rows, features]."""
    start = np.zeros(shape[0] + 1, dtype=np.int32)
    np.cumsum(np.bincount(row, minlength=shape[0]), out=start[1:])
    return sparse.csr_array((values, feature.astype(np.int32), start), shape=shape)


def starts_of_runs(*numbers: np.ndarray) -> np.ndarray:
    """int64 [runs]: where each run of equal entries begins, of arrays [n] side by side."""
    if not len(numbers[0]):
        return np.zeros(0, dtype=np.int64)
    new = np.ones(len(numbers[0]), dtype=bool)
    new[1:] = np.logical_or.reduce([number[1:] != number[:-1] for number in numbers])
    return np.flatnonzero(new)


def token_code_metrics(union: Union) -> dict[str, torch.Tensor]:
    """Per-token quantities that need only the codes: float64 [n_rows] each.

    The names are those of the document_sums table; ``n_latent_cosine`` is 1 where base or variant has a code.
    Tokens that do not count have no codes and must be left out by the caller.
    """
    row, a, b = union.row.numpy(), union.a.numpy(), union.b.numpy()
    start = starts_of_runs(row)
    present = row[start]

    def per_row(values: np.ndarray) -> np.ndarray:
        total = np.zeros(union.n_rows)
        total[present] = np.add.reduceat(values.astype(np.float64, copy=False), start)
        return total

    fires_a, fires_b = a > 0, b > 0
    l0_base, l0_variant, both = per_row(fires_a), per_row(fires_b), per_row(fires_a & fires_b)
    either = l0_base + l0_variant - both
    norms = np.sqrt(per_row(a * a) * per_row(b * b))
    latent_cosine = np.divide(per_row(a * b), norms, out=np.zeros(union.n_rows), where=norms > 0).clip(max=1.0)
    l1_divergence = per_row(np.abs(b - a))
    metrics = {
        "overlap": np.divide(both, either, out=np.ones(union.n_rows), where=either > 0),
        "minimum": per_row(np.minimum(a, b)),
        "maximum": per_row(np.maximum(a, b)),
        # Equal codes have cosine 1 exactly, whatever the square root rounds to.
        "latent_cosine": np.where((l1_divergence == 0) & (l0_base > 0), 1.0, latent_cosine),
        "n_latent_cosine": (either > 0).astype(np.float64),
        "l1_divergence": l1_divergence,
        "l0_base": l0_base,
        "l0_variant": l0_variant,
    }
    return {name: torch.from_numpy(values) for name, values in metrics.items()}


def near_flips(
    union: Union, base: SparseCodes, variant: SparseCodes, decoder_norm: torch.Tensor, flips_at: torch.Tensor | str | None
) -> torch.Tensor:
    """bool [nnz]: entries that fire in one model only, at most 5 % beyond where a feature begins to fire.

    Args:
        decoder_norm: float64 [d_sae].
        flips_at: see :attr:`extract.saes.dictionary.Dictionary.flips_at`; None: no entry is near.
    """
    near = torch.zeros(len(union.row), dtype=torch.bool)
    if flips_at is None:
        return near
    flips = ((union.a == 0) | (union.b == 0)).nonzero().squeeze(1)
    feature = union.feature[flips]
    raw = (union.a[flips] + union.b[flips]) / decoder_norm[feature]  # one of the two is 0
    if isinstance(flips_at, str):
        row, of_base = union.row[flips], union.b[flips] == 0
        limit = torch.where(of_base, _least_kept(base)[row], _least_kept(variant)[row])
    else:
        limit = flips_at.cpu()[feature]
    near[flips] = raw <= NEAR * limit
    return near


def _least_kept(codes: SparseCodes) -> torch.Tensor:
    """float64 [n_rows]: the smallest raw code of each token, 0 where it has none."""
    row, least = codes.row.numpy(), np.zeros(codes.n_rows)
    start = starts_of_runs(row)
    least[row[start]] = np.minimum.reduceat(codes.value.numpy(), start)
    return torch.from_numpy(least)
