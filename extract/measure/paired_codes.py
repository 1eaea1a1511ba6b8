"""Two models' sparse codes laid over each other, and what that says of each token. torch, float64, on any device."""

from dataclasses import dataclass

import torch

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


def scaled_union(base: SparseCodes, variant: SparseCodes, decoder_norm: torch.Tensor) -> Union:
    """Lay base and variant codes over each other.

    Args:
        decoder_norm: float64 [d_sae]; raw code x norm = scaled activation.
    """
    d_sae = len(decoder_norm)
    keys, entry = torch.unique(
        torch.cat([base.row * d_sae + base.feature, variant.row * d_sae + variant.feature]), return_inverse=True
    )
    row, feature = torch.div(keys, d_sae, rounding_mode="floor"), keys % d_sae
    n_base = len(base.value)
    scaled = torch.zeros(2, len(keys), dtype=torch.float64, device=keys.device)
    for of_model, entries, codes in zip(scaled, (entry[:n_base], entry[n_base:]), (base, variant), strict=True):
        of_model[entries] = codes.value.double() * decoder_norm[codes.feature]
    return Union(row, feature, *scaled, base.n_rows, d_sae)


def token_code_metrics(union: Union) -> dict[str, torch.Tensor]:
    """Per-token quantities that need only the codes: float64 [n_rows] each.

    The names are those of the document_sums table; ``n_latent_cosine`` is 1 where base or variant has a code.
    Tokens that do not count have no codes and must be left out by the caller.
    """

    def per_row(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros(union.n_rows, dtype=torch.float64, device=values.device).index_add_(0, union.row, values)

    a, b = union.a, union.b
    fires_a, fires_b = (a > 0).double(), (b > 0).double()
    l0_base, l0_variant, both = per_row(fires_a), per_row(fires_b), per_row(fires_a * fires_b)
    either = l0_base + l0_variant - both
    dot, norm_a2, norm_b2 = per_row(a * b), per_row(a * a), per_row(b * b)
    norms = (norm_a2 * norm_b2).sqrt()
    difference = b - a
    code_delta_norm2 = per_row(difference * difference)
    latent_cosine = torch.where(norms > 0, (dot / norms.clamp_min(1e-300)).clamp(max=1.0), 0.0)
    return {
        "overlap": torch.where(either > 0, both / either.clamp_min(1), 1.0),
        "minimum": per_row(torch.minimum(a, b)),
        "maximum": per_row(torch.maximum(a, b)),
        # Equal codes have cosine 1 exactly, whatever the square root rounds to.
        "latent_cosine": torch.where((code_delta_norm2 == 0) & (norm_a2 > 0), 1.0, latent_cosine),
        "n_latent_cosine": (either > 0).double(),
        "l1_divergence": per_row(difference.abs()),
        "code_delta_norm2": code_delta_norm2,
        "l0_base": l0_base,
        "l0_variant": l0_variant,
    }


def near_flips(
    union: Union, base: SparseCodes, variant: SparseCodes, decoder_norm: torch.Tensor, flips_at: torch.Tensor | str | None
) -> torch.Tensor:
    """bool [nnz]: entries that fire in one model only, at most 5 % beyond where a feature begins to fire.

    Args:
        decoder_norm: float64 [d_sae].
        flips_at: see :attr:`extract.saes.dictionary.Dictionary.flips_at`; None: no entry is near.
    """
    a, b = union.a / decoder_norm[union.feature], union.b / decoder_norm[union.feature]
    if flips_at is None:
        return torch.zeros_like(a, dtype=torch.bool)
    if isinstance(flips_at, str):
        limit_a, limit_b = (_least_kept(codes)[union.row] for codes in (base, variant))
    else:
        limit_a = limit_b = flips_at.to(a.device)[union.feature]
    return ((b == 0) & (a <= NEAR * limit_a)) | ((a == 0) & (b <= NEAR * limit_b))


def _least_kept(codes: SparseCodes) -> torch.Tensor:
    """float64 [n_rows]: the smallest raw code of each token, 0 where it has none."""
    least = torch.zeros(codes.n_rows, dtype=torch.float64, device=codes.row.device)
    return least.scatter_reduce(0, codes.row, codes.value.double(), "amin", include_self=False)
