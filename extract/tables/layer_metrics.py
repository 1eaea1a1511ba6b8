"""The tables layer_metrics and fit: each variant beside its controls and twins, with intervals over clusters of documents."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from extract.corpus.render import SEGMENTS
from extract.saes.dictionary import Dictionary
from extract.tables.merged_sums import MergedSums
from store.format.document_sums import DOCUMENT_SUMS
from store.metrics.feature_numbers import fit_gate
from store.metrics.intervals import excess_intervals, intervals
from store.metrics.layer_metrics import METRICS, layer_values
from store.names import ALL, BASE, OBSERVED

Margin = tuple[str, str]
"""(domain, segment), one of the two ``all``."""


@dataclass(frozen=True)
class Group:
    """The tokens of one margin of one counterpart, document by document.

    Attributes:
        document: int64 [documents], numbers in the run.
        domain: [documents], labels.
        cluster: int64 [documents], numbers in the run.
        sums: an array [documents] for each of DOCUMENT_SUMS, the document's segments added up.
        base_norm2, norm2: ||sum of residuals||^2 of the base and of the counterpart.
    """

    document: np.ndarray
    domain: np.ndarray
    cluster: np.ndarray
    sums: Mapping[str, np.ndarray]
    base_norm2: float
    norm2: float

    def of_documents(self, document: np.ndarray) -> "Group":
        """Some of its documents, int64 [n]; the norms stay those of all of them."""
        kept = np.isin(self.document, document)
        places = {name: getattr(self, name)[kept] for name in ("document", "domain", "cluster")}
        return replace(self, **places, sums={name: values[kept] for name, values in self.sums.items()})

    @property
    def n_clusters(self) -> int:
        """Clusters that its documents are of."""
        return len(np.unique(self.cluster))

    def __len__(self) -> int:
        return len(self.document)


class CounterpartTables:
    """One counterpart of the base (a variant, or a control or twin in its place) of one layer, group by group."""

    def __init__(self, merged: MergedSums, dictionary: Dictionary, name: str, control: str) -> None:
        self.merged, self.dictionary, self.name, self.control = merged, dictionary, name, control
        rows = merged.document_sums(dictionary.layer, name, control)
        self.document, place = np.unique(rows["document"].to_numpy(), return_inverse=True)
        self.domain = merged.domain_of_document[self.document]
        self.cluster = merged.cluster_of_document[self.document]
        segment = pd.Categorical(rows["segment"], categories=SEGMENTS).codes
        self.sums = np.zeros((len(self.document), len(SEGMENTS), len(DOCUMENT_SUMS)))
        self.sums[place, segment] = rows[list(DOCUMENT_SUMS)].to_numpy(dtype=np.float64)
        """float64 [documents, segments, DOCUMENT_SUMS]; 0 where a document has no token of a segment."""

    @cached_property
    def groups(self) -> dict[Margin, Group]:
        """Everything, each domain, and each segment that has tokens here; nothing where no token was compared."""
        if not len(self.document):
            return {}
        has_tokens = self.sums[:, :, DOCUMENT_SUMS.index("n_tokens")].sum(axis=0) > 0
        domains = [(domain, ALL) for domain in sorted(set(self.domain.tolist()))]
        segments = [(ALL, segment) for segment in sorted(np.array(SEGMENTS)[has_tokens].tolist())]
        return {margin: self._group(*margin) for margin in [(ALL, ALL), *domains, *segments]}

    def _group(self, domain: str, segment: str) -> Group:
        sums = self.sums.sum(axis=1) if segment == ALL else self.sums[:, SEGMENTS.index(segment)]
        kept = (sums[:, DOCUMENT_SUMS.index("n_tokens")] > 0) & ((self.domain == domain) | (domain == ALL))
        columns = dict(zip(DOCUMENT_SUMS, sums[kept].T, strict=True))
        norms = (self._norm2(totals, domain, segment) for totals in self._totals)
        return Group(self.document[kept], self.domain[kept], self.cluster[kept], columns, *norms)

    def _domains(self, domain: str) -> np.ndarray:
        domains = self.merged.context.domains
        return np.arange(len(domains)) if domain == ALL else np.array([domains.index(domain)])

    @cached_property
    def _totals(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums of residuals of the base and of the counterpart, float64 [domains, segments, d_model]."""
        where = (self.dictionary.layer, self.name, self.control)
        return self.merged.totals(*where, "base_totals"), self.merged.totals(*where)

    def _norm2(self, totals: np.ndarray, domain: str, segment: str) -> float:
        totals = totals[self._domains(domain)]
        if segment != ALL:
            totals = totals[:, SEGMENTS.index(segment)][:, None]
        return float(np.square(totals.sum(axis=(0, 1))).sum())


class LayerRows:
    """The rows of layer_metrics and fit of one layer and variant.

    Attributes:
        gate: the layer's fit gate over all domains.
        sizes: 'observed', control or twin -> relative shift, all domains together.
    """

    def __init__(self, merged: MergedSums, dictionary: Dictionary, variant: str) -> None:
        self.merged = merged
        tables = {
            control: CounterpartTables(merged, dictionary, name, control)
            for name, control in merged.counterparts
            if name in (variant, BASE)
        }
        observed = tables.pop(OBSERVED)
        self._writer = _Rows(variant, dictionary.layer, merged.context.pilots[dictionary.layer].mean_norm)
        self._rows: list[dict] = []
        self._fits: list[dict] = []
        for margin, group in observed.groups.items():
            cells = self._writer.cells(group)
            if margin[1] == ALL:
                fit = {name: cells[name]["value"] for name in ("fvu_base", "fvu_variant")}
                key = {"variant": variant, "layer": dictionary.layer, "domain": margin[0]}
                self._fits.append({**key, **fit, "gate": fit_gate(**fit)})
            self._rows += self._writer.rows(margin, OBSERVED, group, cells)
        for control, of_control in tables.items():
            for margin, group in of_control.groups.items():
                self._rows += self._writer.control(control, margin, group, observed.groups[margin])
        everything = {OBSERVED: observed, **tables}
        self._whole = {control: found.groups[ALL, ALL] for control, found in everything.items() if found.groups}
        self.gate = next(fit["gate"] for fit in self._fits if fit["domain"] == ALL)
        self.sizes = {
            row["control"]: row["value"]
            for row in self._rows
            if (row["domain"], row["segment"], row["metric"]) == (ALL, ALL, "relative_shift")
        }

    def write(self, shape: Mapping[str, float], counts: Mapping[str, Mapping[str, float]]) -> None:
        """Write them.

        Args:
            shape: what :mod:`extract.tables.spectrum` says of the whole change: metric -> value.
            counts: 'observed' or twin -> metric -> value, of all domains: n_seen, n_halved, n_doubled.
        """
        rows = list(self._rows)
        for control, group in self._whole.items():
            rows += self._writer.counts(counts, control, group)
        of_shape = {name: {"value": value} for name, value in shape.items()}
        rows += self._writer.rows((ALL, ALL), OBSERVED, self._whole[OBSERVED], of_shape)
        self.merged.writer.load("layer_metrics", pd.DataFrame(rows))
        self.merged.writer.load("fit", pd.DataFrame(self._fits))


@dataclass(frozen=True)
class _Rows:
    """Makes rows of layer_metrics of one variant and layer."""

    variant: str
    layer: int
    mean_norm: float

    def rows(self, margin: Margin, control: str, group: Group, cells: Mapping[str, Mapping[str, float]]) -> Iterator[dict]:
        """A row for each metric; cells: metric -> columns."""
        key = {"variant": self.variant, "layer": self.layer, "domain": margin[0], "segment": margin[1], "control": control}
        size = {"n_tokens": int(group.sums["n_tokens"].sum()), "n_documents": len(group), "n_clusters": group.n_clusters}
        return ({**key, "metric": metric, **columns, **size} for metric, columns in cells.items())

    def control(self, control: str, margin: Margin, group: Group, observed: Group) -> Iterator[dict]:
        """A control or twin of it, with intervals, and with the excess over the same documents."""
        cells = self.cells(group)
        paired = observed.of_documents(group.document)
        for metric, (excess, low, high) in excess_intervals(
            paired.sums,
            group.sums,
            group.domain,
            group.cluster,
            observed_total_norm2=observed.norm2,
            control_total_norm2=group.norm2,
        ).items():
            # Of a tenth of the documents the variant's own mean, about which its variance is, is not known.
            if len(paired) == len(observed) or not metric.startswith("fvu"):
                cells[metric] |= {"excess": excess, "excess_low": low, "excess_high": high}
        return self.rows(margin, control, group, cells)

    def counts(self, counts: Mapping[str, Mapping[str, float]], control: str, group: Group) -> Iterator[dict]:
        """What was counted of features, of the variant or of what stands beside it; then with the variant's excess."""
        cells = {metric: {"value": float(value)} for metric, value in counts.get(control, {}).items()}
        for metric, cell in cells.items():
            if control != OBSERVED and METRICS[metric].has_excess:
                cell["excess"] = METRICS[metric].excess(float(counts[OBSERVED][metric]), cell["value"])
        return self.rows((ALL, ALL), control, group, cells)

    def cells(self, group: Group) -> dict[str, dict[str, float]]:
        """Metric -> value with its interval."""
        sums = {name: float(values.sum()) for name, values in group.sums.items()}
        found = intervals(
            group.sums,
            group.domain,
            group.cluster,
            base_total_norm2=group.base_norm2,
            variant_total_norm2=group.norm2,
            mean_norm=self.mean_norm,
        )
        return {
            metric: {"value": value, "low": found[metric][0], "high": found[metric][1]}
            for metric, value in layer_values(sums, group.base_norm2, group.norm2, self.mean_norm).items()
        }
