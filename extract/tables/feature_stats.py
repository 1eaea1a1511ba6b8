"""The tables about features: feature_stats with its evidence, feature_segments, replicas."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pandas as pd

from extract.config import groups, twin_model, twins
from extract.corpus.render import SEGMENTS
from extract.measure import sum_tables
from extract.saes.decoder_rows import close_pairs, nearest_rows
from extract.saes.dictionary import Dictionary
from extract.tables.merged_sums import MergedSums
from store.metrics.evidence import Member, Recipe, Side
from store.metrics.feature_numbers import feature_values, firing_rates, neighbour_against
from store.metrics.verdicts import DOES_NOT_FIT, NOT_SEEN, is_counted
from store.names import ALL, GATES, OBSERVED


class LayerFeatures:
    """How the features of one layer changed in every variant, and what can be said of it.

    Args:
        gates: variant -> the layer's fit gate, all domains together.
        sizes: (variant, control) -> relative shift at the layer, of variants and of their twins.
    """

    def __init__(
        self, merged: MergedSums, dictionary: Dictionary, gates: Mapping[str, str], sizes: Mapping[tuple[str, str], float]
    ) -> None:
        self.merged, self.dictionary, self.gates, self.sizes = merged, dictionary, gates, sizes
        self.config = merged.context.config
        counts = merged.layer_counts(dictionary.layer)
        self.tokens_of_domain, self.tokens_of_segment = counts.sum(axis=1), counts.sum(axis=0)
        self.by_domain = {variant: self._by_domain(variant) for variant in self.config.variants}
        self.pooled = {name: {key: total.sum(axis=0) for key, total in sums.items()} for name, sums in self.by_domain.items()}
        self.sides = {variant: self._sides(variant) for variant in self.config.variants}

    def counts(self, variant: str) -> dict[str, dict[str, float]]:
        """'observed' or twin -> how many features lost half or doubled; of the variant, how many could be seen."""
        sums = self.sides[variant][OBSERVED].sums
        if variant in self.evidence:
            fires = sums["n11"] + sums["n10"] + sums["n01"] > 0
            seen = fires & ~np.isin(self.evidence[variant]["verdict"], (NOT_SEEN, DOES_NOT_FIT))
        else:
            seen = is_counted(sums["n11"] + np.maximum(sums["n10"], sums["n01"]), sums["n_clusters"])
        counted = {control: side.counts for control, side in self.sides[variant].items()}
        counted[OBSERVED]["n_seen"] = float(seen.sum())
        return counted

    def write(self) -> None:
        """Write feature_stats and feature_segments of every variant."""
        for variant in self.config.variants:
            self._write_domains(variant, self.evidence.get(variant, {}))
            self._write_segments(variant)

    def _by_domain(self, variant: str) -> dict[str, np.ndarray]:
        n_domains, d_sae = len(self.merged.context.domains), self.dictionary.d_sae
        return self.merged.feature_sums(self.dictionary.layer, variant, sum_tables.FEATURES, n_domains, d_sae)

    def _sides(self, variant: str) -> dict[str, Side]:
        layer, d_sae = self.dictionary.layer, self.dictionary.d_sae
        sides = {OBSERVED: Side(self.pooled[variant], self.sizes[variant, OBSERVED])}
        for twin in twins(self.config):
            if twin_model(variant, twin) in self.merged.context.models.twins:
                sums = self.merged.twin_sums(layer, variant, twin, d_sae)
                sides[twin] = Side(sums, self.sizes[variant, twin])
        return sides

    @cached_property
    def evidence(self) -> dict[str, dict[str, np.ndarray]]:
        """Variant -> columns of the groups that have twins, where the run has the control ``rescaled``."""
        if "rescaled" not in self.config.controls:
            return {}
        found: dict[str, dict[str, np.ndarray]] = {}
        for names in groups(self.config).values():
            members = {name: self._member(name) for name in names}
            if all(member.is_comparable for member in members.values()):
                found |= Recipe(members, self.config.material).columns()
        return found

    def _member(self, variant: str) -> Member:
        own, *of_twins = self.sides[variant].values()
        rescaled = self.merged.rescaled_total(self.dictionary.layer, variant, self.dictionary.d_sae)
        return Member(own, of_twins, rescaled, self.gates[variant] != GATES[-1])

    def _write_domains(self, variant: str, evidence: Mapping[str, np.ndarray]) -> None:
        key, sums = {"variant": variant, "layer": self.dictionary.layer}, self.by_domain[variant]
        values = feature_values(self.pooled[variant], int(self.tokens_of_domain.sum()), self.config.material)
        values |= self._facts(variant) | evidence
        self.merged.writer.load("feature_stats", _frame({**key, "domain": ALL}, values))
        for number in np.flatnonzero(self.tokens_of_domain):
            of_domain = {name: total[number] for name, total in sums.items()}
            values = feature_values(of_domain, int(self.tokens_of_domain[number]), self.config.material)
            del values["std_shift"], values["magnitude_ratio"]  # of the pooled domains only
            self.merged.writer.load("feature_stats", _frame({**key, "domain": self.merged.context.domains[number]}, values))

    def _facts(self, variant: str) -> dict[str, np.ndarray]:
        """What rows of all domains together have in every store."""
        sums, change = self.pooled[variant], self.sides[variant][OBSERVED].change
        flips = sums["n10"] + sums["n01"]
        near = np.full(self.dictionary.d_sae, np.nan)
        if self.dictionary.flips_at is not None:
            np.divide(sums["near"], flips, out=near, where=flips > 0)
        material = np.abs(change.value) >= self.config.material
        pairs = close_pairs(self.dictionary, np.flatnonzero(material))
        moved_to = pd.array(neighbour_against(change.value, material, pairs), dtype="Int32")
        moved_to[moved_to < 0] = pd.NA
        return {
            "change_low": change.low,
            "change_high": change.high,
            "near_threshold": near,
            "did_shift": self._did_shift(variant),
            "moved_to": moved_to,
        }

    def _did_shift(self, variant: str) -> np.ndarray:
        """float64 [d_sae]: shift on the variant's task - on neutral text; NaN where either is not given or has no token."""
        sums, domains = self.by_domain[variant], np.array(self.merged.context.domains)
        shifts = []
        for chosen in (np.isin(domains, self.config.variants[variant].task), np.isin(domains, self.config.neutral_domains)):
            n = self.tokens_of_domain[chosen].sum()
            if not n:
                return np.full(self.dictionary.d_sae, np.nan)
            shifts.append((sums["b"][chosen].sum(axis=0) - sums["a"][chosen].sum(axis=0)) / n)
        return shifts[0] - shifts[1]

    def _write_segments(self, variant: str) -> None:
        layer, d_sae = self.dictionary.layer, self.dictionary.d_sae
        sums = self.merged.feature_sums(layer, variant, sum_tables.SEGMENTS, len(SEGMENTS), d_sae)
        change = sums["b"] - sums["a"]
        whole = change.sum(axis=0)
        changed = np.abs(whole) > 1e-12 * (sums["a"] + sums["b"]).sum(axis=0)  # not by rounding only
        for number in np.flatnonzero(self.tokens_of_segment):
            values = feature_values({name: total[number] for name, total in sums.items()}, int(self.tokens_of_segment[number]))
            share = np.divide(change[number], whole, out=np.full(len(whole), np.nan), where=changed)
            columns = ("n11", "n10", "n01", "mean_base", "shift")
            key = {"variant": variant, "layer": layer, "segment": SEGMENTS[number]}
            frame = _frame(key, {**{name: values[name] for name in columns}, "share": share})
            self.merged.writer.load("feature_segments", frame)


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


def _frame(key: Mapping[str, object], values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Rows of the features that fired in base or variant."""
    fired = np.flatnonzero(values["n11"] + values["n10"] + values["n01"])
    return pd.DataFrame({**key, "feature": fired, **{name: column[fired] for name, column in values.items()}})
