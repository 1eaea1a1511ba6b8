"""The shape of a change: principal directions of delta = h_b - h_a, and the decoder rows nearest to them."""

import numpy as np
import pyarrow as pa

from extract.measure.sum_tables import COUNTERPART, LAYER, OUTER, SPECTRUM_SHARDS
from extract.saes.dictionary import Dictionary
from extract.tables.merged_sums import MergedSums
from store.names import OBSERVED

NEAREST = 5
"""Decoder rows listed for each direction."""
ROUNDING = 1e-12
"""A smaller part of sum ||delta||^2 is rounding: it has no direction, and no rank."""


def write_spectrum(merged: MergedSums, dictionary: Dictionary, variant: str) -> dict[str, float]:
    """Write the spectrum of one layer and variant.

    Returns:
        ``effective_rank`` (exp of the entropy of the eigenvalues, Roy & Vetterli 2007; NaN where every token changed alike)
        and ``mean_share``, as metrics of the layer; both NaN where nothing changed, empty in a run without spectrum.
    """
    config, layer = merged.context.config, dictionary.layer
    if not config.spectrum:
        return {}
    n, total, outer = _sums(merged, layer, variant)
    size = float(np.trace(outer))
    if size <= 0:
        return {"effective_rank": float("nan"), "mean_share": float("nan")}
    mean = total / n
    values, vectors = np.linalg.eigh(outer - n * np.outer(mean, mean))
    shares, vectors = values[::-1] / size, vectors[:, ::-1].T
    shares = shares[shares > ROUNDING]
    p = shares / shares.sum()
    effective_rank = float(np.exp(-(p * np.log(p)).sum())) if len(p) else float("nan")
    mean_share = n * float(mean @ mean) / size
    shares = shares[: config.spectrum]
    directions = vectors[: len(shares)]
    if mean_share > ROUNDING:
        directions = np.vstack([mean / np.linalg.norm(mean), directions])
        shares = np.append(mean_share, shares)
    _write(merged, dictionary, variant, directions, shares, first=0 if mean_share > ROUNDING else 1)
    return {"effective_rank": effective_rank, "mean_share": mean_share}


def _sums(merged: MergedSums, layer: int, variant: str) -> tuple[int, np.ndarray, np.ndarray]:
    """Over the shards that take part: tokens that count, sum of delta [d_model], sum of delta delta^T [d_model, d_model]."""
    n, total, outer = 0, 0.0, 0.0
    first = merged.shards[:SPECTRUM_SHARDS]
    of_layer = merged.sums.columns(LAYER, layer)
    of_variant = merged.sums.columns(COUNTERPART, layer, variant, OBSERVED)
    products = merged.sums.columns(OUTER, layer, variant)
    for _, counted, totals, product in zip(first, of_layer, of_variant, products, strict=False):
        n += int(counted["counts"].sum())
        total = total + (totals["totals"] - totals["base_totals"]).sum(axis=0)
        outer = outer + product["outer"]
    return n, total, outer


def _write(
    merged: MergedSums, dictionary: Dictionary, variant: str, directions: np.ndarray, shares: np.ndarray, first: int
) -> None:
    # An eigenvector's sign is arbitrary: its largest coordinate is made positive. The mean's is not.
    signs = np.sign(np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1))
    signs[: 1 - first] = 1.0
    directions = directions * signs
    unit = dictionary.unit_decoder.cpu().numpy()
    cosines = directions @ unit.T
    nearest = np.argsort(-np.abs(cosines), axis=1, kind="stable")[:, :NEAREST]
    rows = {
        "variant": pa.repeat(variant, len(shares)),
        "layer": pa.repeat(dictionary.layer, len(shares)),
        "component": np.arange(first, first + len(shares)),
        "share": shares,
        "direction": pa.array(list(directions.astype(np.float32))),
        "features": pa.array(list(nearest)),
        "cosines": pa.array(list(np.take_along_axis(cosines, nearest, axis=1).astype(np.float32))),
        "chance": pa.repeat(merged.context.pilots[dictionary.layer].chance, len(shares)),
    }
    merged.writer.load("spectrum", pa.table(rows))
