"""The tables layer_metrics and fit: each variant beside its controls, with intervals over documents."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from extract.dictionaries import Dictionary
from extract.layer_sums import side_names
from extract.merge import Merger
from extract.render import SEGMENTS
from store.intervals import excess_intervals, intervals
from store.metrics import DOCUMENT_SUMS, beyond_noise, fit_gate, layer_values, systematic_share
from store.names import ALL, BASE, OBSERVED

Margin = tuple[str, str]
"""(domain, segment), one of the two ``all``."""


@dataclass(frozen=True)
class Group:
    """The tokens of one margin on one side, document by document.

    Attributes:
        document: int64 [documents], numbers in the run.
        domain: [documents], labels.
        sums: an array [documents] for each of DOCUMENT_SUMS, the document's segments added up.
        base_norm2, norm2: ||sum of residuals||^2 of the base and of the side.
    """

    document: np.ndarray
    domain: np.ndarray
    sums: Mapping[str, np.ndarray]
    base_norm2: float
    norm2: float

    def of_documents(self, document: np.ndarray) -> "Group":
        """Some of its documents; the norms stay those of all of them."""
        kept = np.isin(self.document, document)
        sums = {name: values[kept] for name, values in self.sums.items()}
        return replace(self, document=self.document[kept], domain=self.domain[kept], sums=sums)

    def __len__(self) -> int:
        return len(self.document)


class SideTables:
    """One side (a variant, or a control in its place) of one layer, group by group."""

    def __init__(self, merger: Merger, dictionary: Dictionary, name: str, control: str) -> None:
        self.merger, self.dictionary, self.name, self.control = merger, dictionary, name, control
        rows = merger.document_sums(dictionary.layer, name, control)
        self.document, place = np.unique(rows["document"].to_numpy(), return_inverse=True)
        self.domain = merger.domain_of_document[self.document]
        segment = pd.Categorical(rows["segment"], categories=SEGMENTS).codes
        self.sums = np.zeros((len(self.document), len(SEGMENTS), len(DOCUMENT_SUMS)))
        self.sums[place, segment] = rows[list(DOCUMENT_SUMS)].to_numpy(dtype=np.float64)
        """float64 [documents, segments, DOCUMENT_SUMS]; 0 where a document has no token of a segment."""

    @cached_property
    def shift_totals(self) -> np.ndarray:
        """float64 [domains, d_sae]: sum over tokens of (x - a)."""
        return self.merger.shift_totals(self.dictionary.layer, self.name, self.control, self.dictionary.d_sae)

    def margins(self) -> list[Margin]:
        """Everything, each domain, and each segment that has tokens here."""
        if not len(self.document):
            return []
        has_tokens = self.sums[:, :, DOCUMENT_SUMS.index("n_tokens")].sum(axis=0) > 0
        segments = sorted(np.array(SEGMENTS)[has_tokens].tolist())
        domains = sorted(set(self.domain.tolist()))
        return [(ALL, ALL), *((domain, ALL) for domain in domains), *((ALL, segment) for segment in segments)]

    def group(self, domain: str, segment: str) -> Group:
        """The tokens of a margin."""
        sums = self.sums.sum(axis=1) if segment == ALL else self.sums[:, SEGMENTS.index(segment)]
        kept = (sums[:, DOCUMENT_SUMS.index("n_tokens")] > 0) & ((self.domain == domain) | (domain == ALL))
        columns = dict(zip(DOCUMENT_SUMS, sums[kept].T, strict=True))
        norms = (self._norm2(totals, domain, segment) for totals in self._totals)
        return Group(self.document[kept], self.domain[kept], columns, *norms)

    def systematic_share(self, domain: str, group: Group) -> float:
        """See :func:`store.metrics.systematic_share`; group: of the domain, all segments."""
        chosen = self._domains(domain)
        total = self.shift_totals[chosen].sum(axis=0)
        norm2 = self.merger.shift_norm2(self.dictionary.layer, self.name, self.control)[chosen].sum()
        n, delta = group.sums["n_tokens"], group.sums["code_delta_norm2"].sum()
        return systematic_share(float(total @ total), float(norm2), float(n.sum()), float(n @ n), float(delta))

    def shift(self, domain: str, group: Group) -> np.ndarray:
        """float64 [d_sae]: mean of (x - a) over the group's tokens; group: of the domain, all segments."""
        return self.shift_totals[self._domains(domain)].sum(axis=0) / max(1, group.sums["n_tokens"].sum())

    def _domains(self, domain: str) -> np.ndarray:
        domains = self.merger.context.domains
        return np.arange(len(domains)) if domain == ALL else np.array([domains.index(domain)])

    @cached_property
    def _totals(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums of residuals of the base and of the side, float64 [domains, segments, d_model]."""
        where = (self.dictionary.layer, self.name, self.control)
        return self.merger.totals(*where, "base_totals"), self.merger.totals(*where)

    def _norm2(self, totals: np.ndarray, domain: str, segment: str) -> float:
        totals = totals[self._domains(domain)]
        if segment != ALL:
            totals = totals[:, SEGMENTS.index(segment)][:, None]
        return float(np.square(totals.sum(axis=(0, 1))).sum())


def write_layer_metrics(merger: Merger, dictionary: Dictionary, variant: str, shape: Mapping[str, float]) -> str:
    """Write layer_metrics and fit of one layer and variant.

    Args:
        shape: what :mod:`extract.shape` says of the whole change: metric -> value.

    Returns:
        The fit gate over all domains.
    """
    sides = {
        control: SideTables(merger, dictionary, name, control)
        for name, control in side_names(merger.context.config)
        if name in (variant, BASE)
    }
    observed = sides.pop(OBSERVED)
    writer = _Rows(variant, dictionary.layer, merger.context.pilots[dictionary.layer].mean_norm)
    rows, fits = [], []
    for margin in observed.margins():
        group = observed.group(*margin)
        values = writer.values(group)
        if margin[1] == ALL:
            fit = {name: values[name] for name in ("fvu_base", "fvu_variant")}
            fits.append({"variant": variant, "layer": dictionary.layer, "domain": margin[0], **fit, "gate": fit_gate(**fit)})
        rows += writer.observed(margin, group)
    for control, side in sides.items():
        for margin in side.margins():
            rows += writer.control(control, margin, side.group(*margin), observed.group(*margin))
    rows += writer.systematic(observed, sides)
    of_shape = {name: {"value": value} for name, value in shape.items()}
    rows += writer.rows((ALL, ALL), OBSERVED, observed.group(ALL, ALL), of_shape)
    merger.writer.load("layer_metrics", pd.DataFrame(rows))
    merger.writer.load("fit", pd.DataFrame(fits))
    return next(fit["gate"] for fit in fits if fit["domain"] == ALL)


@dataclass(frozen=True)
class _Rows:
    """Makes rows of layer_metrics of one variant and layer."""

    variant: str
    layer: int
    mean_norm: float

    def values(self, group: Group) -> dict[str, float]:
        """Metric -> value."""
        sums = {name: float(values.sum()) for name, values in group.sums.items()}
        return layer_values(sums, group.base_norm2, group.norm2, self.mean_norm)

    def rows(self, margin: Margin, control: str, group: Group, cells: Mapping[str, Mapping[str, float]]) -> Iterator[dict]:
        """A row for each metric; cells: metric -> columns."""
        key = {"variant": self.variant, "layer": self.layer, "domain": margin[0], "segment": margin[1], "control": control}
        size = {"n_tokens": int(group.sums["n_tokens"].sum()), "n_documents": len(group)}
        return ({**key, "metric": metric, **columns, **size} for metric, columns in cells.items())

    def observed(self, margin: Margin, group: Group) -> Iterator[dict]:
        """The variant itself, with intervals."""
        return self.rows(margin, OBSERVED, group, self._cells(group))

    def control(self, control: str, margin: Margin, group: Group, observed: Group) -> Iterator[dict]:
        """A control of it, with intervals, and with the excess over the same documents."""
        cells = self._cells(group)
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

    def systematic(self, observed: SideTables, controls: Mapping[str, SideTables]) -> Iterator[dict]:
        """systematic_share and, where there is an isotropic control, what goes beyond it; of every domain."""
        for domain, segment in observed.margins():
            if segment != ALL:
                continue
            found = {OBSERVED: self._systematic(observed, domain, controls.get("isotropic"))}
            for control, side in controls.items():
                if (domain, ALL) in side.margins():
                    found[control] = self._systematic(side, domain, controls.get("isotropic") if control != "rerun" else None)
            for control, cells in found.items():
                side = observed if control == OBSERVED else controls[control]
                if control not in (OBSERVED, "rerun"):  # the rerun is of other documents
                    share = cells["systematic_share"]
                    share["excess"] = found[OBSERVED]["systematic_share"]["value"] - share["value"]
                yield from self.rows((domain, ALL), control, side.group(domain, ALL), cells)

    def _systematic(self, side: SideTables, domain: str, isotropic: SideTables | None) -> dict[str, dict[str, float]]:
        group = side.group(domain, ALL)
        cells = {"systematic_share": {"value": side.systematic_share(domain, group)}}
        if isotropic is not None:
            noise = isotropic.shift(domain, isotropic.group(domain, ALL))
            n, share = beyond_noise(side.shift(domain, group), noise)
            cells |= {"n_beyond_noise": {"value": float(n)}, "share_beyond_noise": {"value": share}}
        return cells

    def _cells(self, group: Group) -> dict[str, dict[str, float]]:
        found = intervals(
            group.sums,
            group.domain,
            base_total_norm2=group.base_norm2,
            variant_total_norm2=group.norm2,
            mean_norm=self.mean_norm,
        )
        return {
            metric: {"value": value, "low": found[metric][0], "high": found[metric][1]}
            for metric, value in self.values(group).items()
        }

