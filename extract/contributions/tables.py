"""The tables of contributions.sql, from the files of all batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from extract.config import twin_model
from extract.contributions import sums
from extract.contributions.merged import MergedFiles
from store.metrics.contributions import (
    KEPT,
    LEAST_CLUSTERS,
    ClusterSums,
    Ratios,
    carrying_half,
    completeness,
    correlation,
    false_shares,
)
from store.metrics.thresholds import LEVEL
from store.names import ALL, BASE, NEUTRAL, OBSERVED, SLOTS, TASK

ACTING = 50
"""Features of each variant and layer whose tokens are kept, by the largest |gain| over all domains or over the task."""
ACTS_A_FEATURE = 40

Load = Callable[[str, pd.DataFrame], None]


@dataclass(frozen=True)
class Group:
    """A variant, the twins of it that are measured, and what it was trained for.

    Attributes:
        runs: the variant first, then the other runs of its recipe.
        twins: what they are called in the column ``control``.
        task: numbers of the domains that it was trained for, in the sample.
        others: the first runs of other recipes (:func:`extract.config.other_recipes`).
    """

    variant: str
    runs: Sequence[str]
    twins: Sequence[str]
    task: Sequence[int]
    others: Sequence[str]

    @property
    def models(self) -> Mapping[str, str]:
        """Control -> the model's name."""
        return {OBSERVED: self.variant} | {twin: twin_model(self.variant, twin) for twin in self.twins}


class Tables:
    """Writes all tables but those of words read through the head.

    Args:
        read: of which the likelihoods were read.
        apart: of which they were taken apart.
        load: appends rows to a table.
        sizes: layer -> d_sae.
        neutral: numbers of the domains that no variant was trained for.
    """

    def __init__(
        self,
        read: MergedFiles,
        apart: MergedFiles,
        load: Load,
        groups: Sequence[Group],
        sizes: Mapping[int, int],
        neutral: Sequence[int],
    ) -> None:
        self._read, self._apart, self._load = read, apart, load
        self._groups, self._sizes, self._neutral = groups, sizes, neutral
        self._gains: dict[tuple[str, int, str], np.ndarray] = {}  # by model, layer and domain

    def write(self) -> None:
        """Every table."""
        base = self._read.likelihood(BASE)
        self._write_taken_apart()
        for group in self._groups:
            self._write_predictions(group, base)
            self._write_learned(group, base)
            for layer in self._sizes:
                for control, model in group.models.items():
                    self._write_layer(group, layer, control, model)
        for group in self._groups:
            for layer in self._sizes:
                self._write_features(group, layer)
            self._write_agreement(group)

    def _domains(self, group: Group, merged: MergedFiles) -> Iterator[tuple[str, np.ndarray]]:
        """What the column ``domain`` says -> bool [passages]; what has no passage is left out."""
        domain = merged.domain
        chosen = {ALL: domain >= 0, TASK: np.isin(domain, group.task), NEUTRAL: np.isin(domain, self._neutral)}
        chosen |= {name: domain == number for number, name in enumerate(merged.sample.domains)}
        yield from ((name, of) for name, of in chosen.items() if of.any())

    def _clusters(self, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(place of each passage's cluster among those of a domain [passages], -1 elsewhere; their weights [clusters])."""
        place = np.full(len(of), -1)
        _, place[of] = np.unique(self._apart.cluster[of], return_inverse=True)
        return place, np.bincount(place[of], self._apart.weight[of])

    def _write_predictions(self, group: Group, base: np.ndarray) -> None:
        found = self._read.predictions
        rows = {
            "variant": group.variant,
            "document": found["document"],
            "position": found["position"],
            "slot": np.array(SLOTS)[found["slot"]],
            "weight": found["weight"],
            "base_logprob": base,
            "variant_logprob": self._read.likelihood(group.variant),
            "kl": self._read.kl(group.variant),
        }
        self._load("predictions", pd.DataFrame(rows))

    def _write_learned(self, group: Group, base: np.ndarray) -> None:
        found = self._read.predictions
        passage = np.repeat(np.arange(len(self._read.domain)), self._read.n_predictions)
        rows = []
        for control, model in group.models.items():
            gain, kl = self._read.likelihood(model) - base, self._read.kl(model)
            margins = [(name, ALL, of[passage]) for name, of in self._domains(group, self._read)]
            margins += [(ALL, slot, found["slot"] == number) for number, slot in enumerate(SLOTS)]
            for domain, slot, chosen in margins:
                clusters, place = np.unique(found["cluster"][chosen], return_inverse=True)
                weight = found["weight"][chosen]
                n = np.bincount(place, weight)
                x = np.stack([np.bincount(place, weight * values[chosen]) for values in (gain, kl)], axis=1)
                mean = Ratios.of(ClusterSums.of(x, n))
                row = {"gain": mean.value[0], "low": mean.low[0], "high": mean.high[0], "kl": mean.value[1]}
                where = {"variant": group.variant, "control": control, "domain": domain, "slot": slot}
                rows.append(where | row | {"n_predictions": int(chosen.sum()), "n_clusters": len(clusters)})
        self._load("learned", pd.DataFrame(rows))

    def _write_taken_apart(self) -> None:
        found = self._apart.predictions
        rows = {name: found[name] for name in ("document", "position", "weight")}
        self._load("taken_apart", pd.DataFrame(rows | {"slot": np.array(SLOTS)[found["slot"]]}))

    def _write_layer(self, group: Group, layer: int, control: str, model: str) -> None:
        """The rows of the table layers of one model; what each feature contributes is kept for the table features."""
        through = self._apart.table(sums.THROUGH, layer, model)
        order = np.argsort(through["passage"])
        through = {name: values[order] for name, values in through.items()}
        of_features = self._feature_sums(group, layer, control, model)
        likelihoods = self._apart.predictions["weight"] * (self._apart.likelihood(model) - self._apart.likelihood(BASE))
        passage = np.repeat(np.arange(len(self._apart.domain)), self._apart.n_predictions)
        whole = np.bincount(passage, likelihoods, minlength=len(self._apart.domain))
        rows = []
        for domain, of in self._domains(group, self._apart):
            place, n = self._clusters(of)
            mean = Ratios.of(ClusterSums.of(np.bincount(place[of], through["gain"][of])[:, None], n))
            total = {name: float(values[of].sum()) / n.sum() for name, values in through.items() if name != "passage"}
            gains = of_features[domain]
            rows.append(
                {
                    "variant": group.variant, "control": control, "layer": layer, "domain": domain,
                    "whole": whole[of].sum() / n.sum(),
                    "gain": mean.value[0], "low": mean.low[0], "high": mean.high[0],
                    "features": total["features_gain"], "rest": total["path_gain"] - total["features_gain"],
                    "kl": total["kl"], "features_kl": total["features_kl"],
                    "rest_kl": total["path_kl"] - total["features_kl"],
                    "completeness": completeness(through["path_gain"][of], through["gain"][of]),
                    "completeness_kl": completeness(through["path_kl"][of], through["kl"][of]),
                    "largest": gains.max(initial=0.0), "smallest": gains.min(initial=0.0),
                    "carrying_half": carrying_half(gains), "n_predictions": int(self._apart.n_predictions[of].sum()),
                    "n_clusters": len(n),
                }
            )  # fmt: skip
        self._load("layers", pd.DataFrame(rows).astype({"carrying_half": "Int32"}))

    def _feature_sums(self, group: Group, layer: int, control: str, model: str) -> dict[str, np.ndarray]:
        """What the column ``domain`` says -> gain of each feature a predicted token [d_sae]."""
        table = sums.FEATURES if control == OBSERVED else sums.TWIN_FEATURES
        found = self._apart.table(table, layer, model)
        domain = self._apart.domain[found["passage"]] if control == OBSERVED else found["domain"]
        by_domain = {}
        for name, of in self._domains(group, self._apart):
            inside = np.isin(domain, np.unique(self._apart.domain[of]))
            sums_ = np.bincount(found["feature"][inside], found["gain"][inside], minlength=self._sizes[layer])
            by_domain[name] = sums_ / self._apart.weight[of].sum()
            self._gains[model, layer, name] = by_domain[name]
        return by_domain

    def _write_features(self, group: Group, layer: int) -> None:
        found = self._apart.table(sums.FEATURES, layer, group.variant)
        acting: set[int] = set()
        for domain, of in self._domains(group, self._apart):
            place, n = self._clusters(of)
            inside = of[found["passage"]]
            cluster, feature = place[found["passage"][inside]], found["feature"][inside]
            gain, kl = (
                Ratios.of(ClusterSums.of_pairs(cluster, feature, found[name][inside], n, self._sizes[layer]))
                for name in ("gain", "kl")
            )
            n_clusters = np.bincount(np.unique(np.stack([cluster, feature]), axis=1)[1], minlength=self._sizes[layer])
            q = false_shares(gain.p, n_clusters >= LEAST_CLUSTERS)
            by_gain = np.argsort(-gain.value, kind="stable")
            rank = np.empty(len(by_gain), dtype=np.int64)
            rank[by_gain] = np.arange(1, len(rank) + 1)
            some = np.concatenate([by_gain[:KEPT], by_gain[-KEPT:], np.argsort(-np.abs(kl.value))[:KEPT]])
            kept = np.union1d(some, np.flatnonzero(q < 1 - LEVEL))
            kept = kept[n_clusters[kept] > 0]
            of_runs = np.array([self._gains[run, layer, domain][kept] for run in group.runs])
            several = len(group.runs) > 1
            rows = {
                "variant": group.variant, "layer": layer, "domain": domain, "feature": kept,
                "gain": gain.value[kept], "low": gain.low[kept], "high": gain.high[kept], "q": q[kept],
                "rank": rank[kept], "kl": kl.value[kept],
                "replicate_low": of_runs.min(0) if several else np.nan,
                "replicate_high": of_runs.max(0) if several else np.nan,
                "n_clusters": n_clusters[kept],
            }  # fmt: skip
            self._load("features", pd.DataFrame(rows))
            if domain in (ALL, TASK):
                acting.update(kept[np.argsort(-np.abs(gain.value[kept]))[:ACTING]].tolist())
        self._write_acts(group.variant, layer, acting)

    def _write_agreement(self, group: Group) -> None:
        others = {run: run for run in group.runs if run != group.variant}
        others |= {control: model for control, model in group.models.items() if control != OBSERVED}
        rows = [
            {
                "variant": group.variant, "layer": layer, "domain": domain, "other": other,
                "correlation": correlation(self._gains[group.variant, layer, domain], self._gains[model, layer, domain]),
            }
            for layer in self._sizes
            for domain, _ in self._domains(group, self._apart)
            for other, model in others.items()
        ]  # fmt: skip
        if rows:
            self._load("agreement", pd.DataFrame(rows))

    def _write_acts(self, variant: str, layer: int, features: set[int]) -> None:
        acts = pd.DataFrame(self._apart.table(sums.ACTS, layer, variant))
        acts = acts[acts["feature"].isin(features)]
        acts = acts.assign(size=acts["gain"].abs()).sort_values(["feature", "size"], ascending=[True, False], kind="stable")
        acts = acts[acts.groupby("feature").cumcount() < ACTS_A_FEATURE]
        passages = [self._apart.sample.passages[number] for number in acts["passage"]]
        rows = {
            "variant": variant,
            "layer": layer,
            "feature": acts["feature"],
            "document": [passage.document for passage in passages],
            "position": [passage.first + place for passage, place in zip(passages, acts["place"], strict=True)],
            "gain": acts["gain"],
        }
        self._load("acts", pd.DataFrame(rows))
