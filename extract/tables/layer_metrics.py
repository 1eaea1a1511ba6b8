"""The tables layer_metrics and fit: each variant beside its controls, with intervals over documents."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from extract.corpus.render import SEGMENTS
from extract.measure.sum_tables import counterparts_of
from extract.saes.dictionary import Dictionary
from extract.tables.merged_sums import MergedSums
from store.format.document_sums import DOCUMENT_SUMS
from store.metrics.feature_numbers import beyond_noise, fit_gate, systematic_share
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
        sums: an array [documents] for each of DOCUMENT_SUMS, the document's segments added up.
        base_norm2, norm2: ||sum of residuals||^2 of the base and of the counterpart.
    """

    document: np.ndarray
    domain: np.ndarray
    sums: Mapping[str, np.ndarray]
    base_norm2: float
    norm2: float

    def of_documents(self, document: np.ndarray) -> "Group":
        """Some of its documents, int64 [n]; the norms stay those of all of them."""
        kept = np.isin(self.document, document)
        sums = {name: values[kept] for name, values in self.sums.items()}
        return replace(self, document=self.document[kept], domain=self.domain[kept], sums=sums)

    def __len__(self) -> int:
        return len(self.document)


class CounterpartTables:
    """One counterpart of the base (a variant, or a control in its place) of one layer, group by group."""

    def __init__(self, merged: MergedSums, dictionary: Dictionary, name: str, control: str) -> None:
        self.merged, self.dictionary, self.name, self.control = merged, dictionary, name, control
        rows = merged.document_sums(dictionary.layer, name, control)
        self.document, place = np.unique(rows["document"].to_numpy(), return_inverse=True)
        self.domain = merged.domain_of_document[self.document]
        segment = pd.Categorical(rows["segment"], categories=SEGMENTS).codes
        self.sums = np.zeros((len(self.document), len(SEGMENTS), len(DOCUMENT_SUMS)))
        self.sums[place, segment] = rows[list(DOCUMENT_SUMS)].to_numpy(dtype=np.float64)
        """float64 [documents, segments, DOCUMENT_SUMS]; 0 where a document has no token of a segment."""

    @cached_property
    def shift_totals(self) -> np.ndarray:
        """float64 [domains, d_sae]: sum over tokens of (x - a)."""
        return self.merged.shift_totals(self.dictionary.layer, self.name, self.control, self.dictionary.d_sae)

    @cached_property
    def shift_norm2(self) -> np.ndarray:
        """float64 [domains]: sum over documents of the squared norm of the document's sum of (x - a)."""
        return self.merged.shift_norm2(self.dictionary.layer, self.name, self.control)

    @cached_property
    def groups(self) -> dict[Margin, Group]:
        """Everything, each domain, and each segment that has tokens here; nothing where no token was compared."""
        if not len(self.document):
            return {}
        has_tokens = self.sums[:, :, DOCUMENT_SUMS.index("n_tokens")].sum(axis=0) > 0
        domains = [(domain, ALL) for domain in sorted(set(self.domain.tolist()))]
        segments = [(ALL, segment) for segment in sorted(np.array(SEGMENTS)[has_tokens].tolist())]
        return {margin: self._group(*margin) for margin in [(ALL, ALL), *domains, *segments]}

    def systematic_share(self, domain: str) -> float:
        """See :func:`store.metrics.feature_numbers.systematic_share`; of a domain, all segments."""
        chosen, sums = self._domains(domain), self.groups[domain, ALL].sums
        total = self.shift_totals[chosen].sum(axis=0)
        norm2 = self.shift_norm2[chosen].sum()
        n, delta = sums["n_tokens"], sums["code_delta_norm2"].sum()
        return systematic_share(float(total @ total), float(norm2), float(n.sum()), float(n @ n), float(delta))

    def shift(self, domain: str) -> np.ndarray:
        """float64 [d_sae]: mean of (x - a) over a domain's tokens, all segments."""
        n_tokens = self.groups[domain, ALL].sums["n_tokens"].sum()
        return self.shift_totals[self._domains(domain)].sum(axis=0) / max(1, n_tokens)

    def _group(self, domain: str, segment: str) -> Group:
        sums = self.sums.sum(axis=1) if segment == ALL else self.sums[:, SEGMENTS.index(segment)]
        kept = (sums[:, DOCUMENT_SUMS.index("n_tokens")] > 0) & ((self.domain == domain) | (domain == ALL))
        columns = dict(zip(DOCUMENT_SUMS, sums[kept].T, strict=True))
        norms = (self._norm2(totals, domain, segment) for totals in self._totals)
        return Group(self.document[kept], self.domain[kept], columns, *norms)

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


def write_layer_metrics(merged: MergedSums, dictionary: Dictionary, variant: str, shape: Mapping[str, float]) -> str:
    """Write layer_metrics and fit of one layer and variant.

    Args:
        shape: what :mod:`extract.tables.spectrum` says of the whole change: metric -> value.

    Returns:
        The fit gate over all domains.
    """
    tables = {
        control: CounterpartTables(merged, dictionary, name, control)
        for name, control in counterparts_of(merged.context.config)
        if name in (variant, BASE)
    }
    observed = tables.pop(OBSERVED)
    writer = _Rows(variant, dictionary.layer, merged.context.pilots[dictionary.layer].mean_norm)
    rows, fits = [], []
    for margin, group in observed.groups.items():
        cells = writer.cells(group)
        if margin[1] == ALL:
            fit = {name: cells[name]["value"] for name in ("fvu_base", "fvu_variant")}
            fits.append({"variant": variant, "layer": dictionary.layer, "domain": margin[0], **fit, "gate": fit_gate(**fit)})
        rows += writer.rows(margin, OBSERVED, group, cells)
    for control, of_control in tables.items():
        for margin, group in of_control.groups.items():
            rows += writer.control(control, margin, group, observed.groups[margin])
    rows += writer.systematic(observed, tables)
    of_shape = {name: {"value": value} for name, value in shape.items()}
    rows += writer.rows((ALL, ALL), OBSERVED, observed.groups[ALL, ALL], of_shape)
    merged.writer.load("layer_metrics", pd.DataFrame(rows))
    merged.writer.load("fit", pd.DataFrame(fits))
    return next(fit["gate"] for fit in fits if fit["domain"] == ALL)


@dataclass(frozen=True)
class _Rows:
    """Makes rows of layer_metrics of one variant and layer."""

    variant: str
    layer: int
    mean_norm: float

    def rows(self, margin: Margin, control: str, group: Group, cells: Mapping[str, Mapping[str, float]]) -> Iterator[dict]:
        """A row for each metric; cells: metric -> columns."""
        key = {"variant": self.variant, "layer": self.layer, "domain": margin[0], "segment": margin[1], "control": control}
        size = {"n_tokens": int(group.sums["n_tokens"].sum()), "n_documents": len(group)}
        return ({**key, "metric": metric, **columns, **size} for metric, columns in cells.items())

    def control(self, control: str, margin: Margin, group: Group, observed: Group) -> Iterator[dict]:
        """A control of it, with intervals, and with the excess over the same documents."""
        cells = self.cells(group)
        paired = observed.of_documents(group.document)
        for metric, (excess, low, high) in excess_intervals(
            paired.sums,
            group.sums,
            group.domain,
            observed_total_norm2=observed.norm2,
            control_total_norm2=group.norm2,
        ).items():
            # Of a tenth of the documents the variant's own mean, about which its variance is, is not known.
            if len(paired) == len(observed) or not metric.startswith("fvu"):
                cells[metric] |= {"excess": excess, "excess_low": low, "excess_high": high}
        return self.rows(margin, control, group, cells)

    def systematic(self, observed: CounterpartTables, controls: Mapping[str, CounterpartTables]) -> Iterator[dict]:
        """systematic_share and, where there is an isotropic control, what goes beyond it; of every domain."""
        isotropic = controls.get("isotropic")
        for domain, segment in observed.groups:
            if segment != ALL:
                continue
            own = _systematic(observed, domain, isotropic)
            yield from self.rows((domain, ALL), OBSERVED, observed.groups[domain, ALL], own)
            for control, of_control in controls.items():
                if (domain, ALL) not in of_control.groups:
                    continue
                cells = _systematic(of_control, domain, isotropic if control != "rerun" else None)
                if control != "rerun":  # it is of other documents
                    share, metric = cells["systematic_share"], METRICS["systematic_share"]
                    share["excess"] = metric.excess(own["systematic_share"]["value"], share["value"])
                yield from self.rows((domain, ALL), control, of_control.groups[domain, ALL], cells)

    def cells(self, group: Group) -> dict[str, dict[str, float]]:
        """Metric -> value with its interval."""
        sums = {name: float(values.sum()) for name, values in group.sums.items()}
        found = intervals(
            group.sums,
            group.domain,
            base_total_norm2=group.base_norm2,
            variant_total_norm2=group.norm2,
            mean_norm=self.mean_norm,
        )
        return {
            metric: {"value": value, "low": found[metric][0], "high": found[metric][1]}
            for metric, value in layer_values(sums, group.base_norm2, group.norm2, self.mean_norm).items()
        }


def _systematic(tables: CounterpartTables, domain: str, isotropic: CounterpartTables | None) -> dict[str, dict[str, float]]:
    cells = {"systematic_share": {"value": tables.systematic_share(domain)}}
    if isotropic is not None:
        n, share = beyond_noise(tables.shift(domain), isotropic.shift(domain))
        cells |= {"n_beyond_noise": {"value": float(n)}, "share_beyond_noise": {"value": share}}
    return cells
