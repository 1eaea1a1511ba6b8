"""The tables about features: feature_stats with its evidence, feature_segments, replicas."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from extract.corpus.render import SEGMENTS
from extract.measure import sum_tables
from extract.saes.decoder_rows import close_pairs, nearest_rows
from extract.saes.dictionary import Dictionary
from extract.tables.merged_sums import MergedSums
from store.metrics.evidence import PooledChange, feature_evidence, floors
from store.metrics.feature_numbers import feature_kind, feature_values, firing_rates
from store.names import ALL


def write_feature_stats(merged: MergedSums, dictionary: Dictionary, variant: str, gate: str) -> None:
    """Write feature_stats and feature_segments of one layer and variant; gate: of the layer, all domains."""
    layer, d_sae, domains = dictionary.layer, dictionary.d_sae, merged.context.domains
    counts = merged.layer_counts(layer)
    sums = merged.feature_sums(layer, variant, sum_tables.FEATURES, len(domains), d_sae)
    noise = None
    if "isotropic" in merged.context.config.controls:
        noise = merged.shift_totals(layer, variant, "isotropic", d_sae)
    key = {"variant": variant, "layer": layer}
    tokens = counts.sum(axis=1)
    pooled = {name: values.sum(axis=0) for name, values in sums.items()}
    values = feature_values(pooled, int(tokens.sum()))
    values["did_shift"] = _did_shift(merged, variant, sums, tokens)
    if noise is not None:
        _add_evidence(merged, dictionary, variant, gate, pooled, values, noise.sum(axis=0) / tokens.sum())
    merged.writer.load("feature_stats", _frame({**key, "domain": ALL}, values))
    for number in np.flatnonzero(tokens):
        values = feature_values({name: total[number] for name, total in sums.items()}, int(tokens[number]))
        del values["std_shift"], values["magnitude_ratio"]  # of the pooled domains only
        if noise is not None:
            _add_floor(values, noise[number] / tokens[number])
        merged.writer.load("feature_stats", _frame({**key, "domain": domains[number]}, values))
    _write_segments(merged, dictionary, variant, counts.sum(axis=0))


def write_replicas(merged: MergedSums, dictionary: Dictionary, replica: Dictionary) -> None:
    """Write what a second dictionary shows, for every feature of the first: its nearest decoder row, and how that shifted."""
    nearest, cosine = nearest_rows(dictionary.unit_decoder, replica.unit_decoder)
    n_tokens = int(merged.layer_counts(dictionary.layer).sum())
    for variant in merged.context.config.variants:
        sums = merged.feature_sums(dictionary.layer, variant, sum_tables.REPLICA, 1, replica.d_sae)
        pooled = {name: total[0] for name, total in sums.items()}
        values = feature_values(pooled, n_tokens) | firing_rates(pooled, n_tokens)
        columns = ("freq_base", "freq_variant", "log_ratio", "shift", "std_shift")
        rows = {
            "variant": variant,
            "layer": dictionary.layer,
            "feature": np.arange(dictionary.d_sae),
            "replica_feature": nearest,
            "cosine": cosine,
            **{name: values[name][nearest] for name in columns},
        }
        merged.writer.load("replicas", pd.DataFrame(rows))


def _add_evidence(
    merged: MergedSums,
    dictionary: Dictionary,
    variant: str,
    gate: str,
    sums: Mapping[str, np.ndarray],
    values: dict[str, np.ndarray],
    shift_isotropic: np.ndarray,
) -> None:
    """Put in what the pooled rows say beyond the sums."""
    differences = merged.differences(dictionary.layer, variant, dictionary.d_sae)
    labels = merged.domain_of_document[merged.counted_documents(dictionary.layer, variant)]
    flips = sums["n10"] + sums["n01"]
    near = np.full(dictionary.d_sae, np.nan)
    if dictionary.flips_at is not None:
        np.divide(sums["near"], flips, out=near, where=flips > 0)
    change = PooledChange(
        sums,
        shift=values["shift"],
        shift_isotropic=shift_isotropic,
        near_threshold=near,
        total=differences["total"],
        square=differences["square"],
        n_documents=np.array([(labels == domain).sum() for domain in merged.context.domains]),
        n_tokens=int(merged.layer_counts(dictionary.layer).sum()),
    )
    evidence = feature_evidence(change, lambda features: close_pairs(dictionary, features), gate)
    moved_to = pd.array(evidence.pop("moved_to"), dtype="Int32")
    moved_to[moved_to < 0] = pd.NA
    values |= evidence | {"shift_isotropic": shift_isotropic, "near_threshold": near, "moved_to": moved_to}
    _name_kind(values)


def _add_floor(values: dict[str, np.ndarray], shift_isotropic: np.ndarray) -> None:
    """Put in what a single domain's rows say beyond the sums."""
    freq_base = firing_rates(values, values["n_tokens"])["freq_base"]
    values |= {"shift_isotropic": shift_isotropic, "floor": floors(shift_isotropic, freq_base)}
    _name_kind(values)


def _name_kind(values: dict[str, np.ndarray]) -> None:
    """Name the change anew, now that there is a floor."""
    rates = firing_rates(values, values["n_tokens"])
    values["kind"] = feature_kind(values["shift"], rates["suppression"], rates["emergence"], values["floor"])


def _did_shift(merged: MergedSums, variant: str, sums: Mapping[str, np.ndarray], tokens: np.ndarray) -> np.ndarray:
    """float64 [d_sae]: shift on the variant's task - shift on neutral text; NaN where either is not given or has no token."""
    config, domains = merged.context.config, np.array(merged.context.domains)
    shifts = []
    for chosen in (np.isin(domains, config.variants[variant].task), np.isin(domains, config.neutral_domains)):
        n = tokens[chosen].sum()
        if not n:
            return np.full(sums["a"].shape[1], np.nan)
        shifts.append((sums["b"][chosen].sum(axis=0) - sums["a"][chosen].sum(axis=0)) / n)
    return shifts[0] - shifts[1]


def _write_segments(merged: MergedSums, dictionary: Dictionary, variant: str, tokens: np.ndarray) -> None:
    """tokens: int64 [segments], those that count."""
    sums = merged.feature_sums(dictionary.layer, variant, sum_tables.SEGMENTS, len(SEGMENTS), dictionary.d_sae)
    change = sums["b"] - sums["a"]
    whole = change.sum(axis=0)
    changed = np.abs(whole) > 1e-12 * (sums["a"] + sums["b"]).sum(axis=0)  # not by rounding only
    for number in np.flatnonzero(tokens):
        values = feature_values({name: total[number] for name, total in sums.items()}, int(tokens[number]))
        share = np.divide(change[number], whole, out=np.full(len(whole), np.nan), where=changed)
        columns = ("n11", "n10", "n01", "mean_base", "shift")
        key = {"variant": variant, "layer": dictionary.layer, "segment": SEGMENTS[number]}
        frame = _frame(key, {**{name: values[name] for name in columns}, "share": share})
        merged.writer.load("feature_segments", frame)


def _frame(key: Mapping[str, object], values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Rows of the features that fired in base or variant."""
    fired = np.flatnonzero(values["n11"] + values["n10"] + values["n01"])
    return pd.DataFrame({**key, "feature": fired, **{name: column[fired] for name, column in values.items()}})
