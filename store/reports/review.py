"""A review to hand on: what was judged, with its evidence and where it comes from; what was not judged; what could not be seen.

:func:`collect` asks the store and gives plain values; :func:`as_json` and :mod:`store.reports.review_page` write them down.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import pandas as pd

from store.metrics import feature_columns
from store.metrics.reasons import reason
from store.metrics.thresholds import DENSE
from store.names import ALL, VERDICTS, kind_name
from store.numbers import counted, json_value, listing, percent
from store.read.feature_filter import SORTS_BY_CONTRIBUTION, Filter
from store.read.store import Store
from store.reports.covering import covered_context
from store.reports.summaries import sentences
from store.sidecar.reviews import CONCERN, SEVERITIES, Review, disagree, standing

CONTEXTS = 3
"""Contexts kept of each feature, those that changed most."""

NUMBERS = (
    "kind", "verdict", "reason", "gate", "moved_to", "n_tokens", "n11", "n10", "n01",
    *(name for name, column in feature_columns.COLUMNS.items() if not column.of_contributions),
)  # fmt: skip
"""Columns of feature_stats (domain 'all') that stand in a report."""

_ORDER = {CONCERN: 0, "unclear": 1, "benign": 2}


def collect(
    store: Store, history: Iterable[Review], chosen: Filter, made: datetime, hidden: Collection[str] = ()
) -> dict[str, Any]:
    """Everything that a report of one work list says, as plain values that JSON knows.

    Args:
        history: every judgement of the variant's features, in the order of writing.
        chosen: the work list.
        made: the time of the report.
        hidden: domains of whose contexts HIDDEN stands in place of what a page covers.

    Returns:
        report, made, store (hashes of all that it was made from), work_list (its filters, `total`, and `hidden_dense`: how
        many features it leaves out as dense), progress,
        reviewed (concerns first, the gravest first), not_reviewed, reviewed_elsewhere (judged, but not of this list),
        amounts (what the variant amounts to over all its layers, in sentences), sensitivity (:func:`sensitivity`), fit (a row a
        layer, all domains together). Undefined numbers are None.
    """
    found = standing(review for review in history if review.variant == chosen.variant)
    keys = list(store.feature_keys(**asdict(chosen)).itertuples(index=False, name=None))
    inside = set(keys)
    reviewed = sorted((key for key in keys if key in found), key=lambda key: _gravity(found[key]))
    left = [list(key) for key in keys if key not in found]
    elsewhere = [key for key in found if key not in inside]
    fit = store.fit(chosen.variant, chosen.layer, ALL)
    return {
        "report": "Featureshift review",
        "made": made.isoformat(timespec="seconds"),
        "store": _provenance(store, chosen.variant),
        "work_list": asdict(chosen) | {"total": len(keys), "hidden_dense": store.hidden_dense(**asdict(chosen))},
        "progress": progress({key: found[key] for key in reviewed}) | {"total": len(keys)},
        "reviewed": [_feature(store, chosen, key, found[key], hidden) for key in reviewed],
        "not_reviewed": {"count": len(left), "features": left},
        "reviewed_elsewhere": [
            {"layer": key[0], "feature": key[1], "judgements": [_judgement(review) for review in found[key]]}
            for key in elsewhere
        ],
        "amounts": sentences(store)[chosen.variant],
        "sensitivity": _records(sensitivity(store, chosen.variant, chosen.layer)),
        "fit": _records(fit[["layer", "gate", "fvu_base", "fvu_variant"]]),
    }


def list_in_words(chosen: Mapping[str, Any]) -> str:
    """Which features a work list holds, from the fields of its Filter: 'every layer; domain all; verdict suppressed; ...'."""
    if chosen["picked"] is not None:
        return counted(len(chosen["picked"]), "picked feature")
    said = [
        f"layer {chosen['layer']}" if chosen["layer"] is not None else "every layer",
        "every domain" if chosen["domain"] == ALL else f"domain {chosen['domain']}",
        f"verdict {', '.join(chosen['verdicts'])}" if chosen["verdicts"] else "any verdict",
    ]
    if chosen["kinds"]:
        said.append(f"kind {', '.join(map(kind_name, chosen['kinds']))}")
    if chosen["direction"]:
        said.append({"down": "mean fell", "up": "mean rose"}[chosen["direction"]])
    if chosen["not_in"]:
        said.append("claimed of no other recipe")
    if chosen["min_firings"]:
        said.append(f"at least {chosen['min_firings']:,} firings")
    if not chosen["dense"]:
        said.append(f"none that fires on more than {percent(DENSE)} of the tokens")
    if chosen["search"]:
        said.append(f"search “{chosen['search']}”")
    return "; ".join(said)


def order_in_words(chosen: Mapping[str, Any]) -> str:
    """Which of a work list come first, from the fields of its Filter: 'those first that move the prediction most on web'."""
    on = f" on {listing(chosen['focus'])}, then elsewhere" if chosen["sort"] == "focus_kl" else ""
    if chosen["sort"] in SORTS_BY_CONTRIBUTION:
        return f"those first that move the prediction most{on}"
    if chosen["sort"] == "focus_change":
        return f"those first that changed most on {listing(chosen['focus'])}"
    return "the largest change first"


def progress(found: dict[tuple[int, int], list[Review]]) -> dict[str, Any]:
    """Over the current judgements of some features: counts of reviewed, concerns, disagreements; reviewers -> features."""
    names = [review.reviewer for reviews in found.values() for review in reviews]
    return {
        "reviewed": len(found),
        "concerns": sum(any(review.verdict == CONCERN for review in reviews) for reviews in found.values()),
        "disagreements": sum(map(disagree, found.values())),
        "reviewers": {name: names.count(name) for name in sorted(set(names))},
    }


def sensitivity(store: Store, variant: str, layer: int | None = None) -> pd.DataFrame:
    """What of each layer's dictionary could have been seen to change at all: one row a layer.

    Columns: layer, d_sae, silent (fire in neither model), not_seen (a change of which could not be seen), of these seldom (fire
    too seldom, or in too few clusters of texts), like_twins (even a complete loss is what twins do to such features) and uneven
    (changed, but too unevenly over texts to be sure); seen; and over those of which a loss would have been claimed smallest,
    quarter, median, three_quarters, largest of detectable_loss, the smallest loss that would have been. Null without verdicts.
    """
    return store.sql(
        """
        SELECT l.layer, any_value(l.d_sae) AS d_sae, any_value(l.d_sae) - count(s.feature) AS silent,
               count(*) FILTER (s.verdict = $not_seen) AS not_seen,
               count(*) FILTER (s.reason IN ('few_firings', 'few_clusters')) AS seldom,
               count(*) FILTER (s.reason = 'undetectable') AS like_twins, count(*) FILTER (s.reason = 'uneven') AS uneven,
               count(*) FILTER (s.verdict <> $not_seen) AS seen,
               min(s.detectable_loss) AS smallest, quantile_cont(s.detectable_loss, 0.25) AS quarter,
               median(s.detectable_loss) AS median, quantile_cont(s.detectable_loss, 0.75) AS three_quarters,
               max(s.detectable_loss) AS largest
        FROM layers l LEFT JOIN feature_stats s ON s.layer = l.layer AND s.variant = $variant AND s.domain = 'all'
        WHERE $layer::INTEGER IS NULL OR l.layer = $layer GROUP BY l.layer ORDER BY l.layer
        """,
        {"variant": variant, "layer": layer, "not_seen": VERDICTS[-1]},
    )


def as_json(content: dict[str, Any]) -> str:
    """A report as JSON: ASCII only, so that no text in it can turn writing around or hide."""
    return json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False)


def _feature(
    store: Store, chosen: Filter, key: tuple[int, int], reviews: list[Review], hidden: Collection[str]
) -> dict[str, Any]:
    """One feature that was judged: judgements, numbers of all domains together, why, its change in every run, contexts."""
    layer, feature = key
    label = store.feature(layer, feature)["label"].iloc[0]
    stats = store.feature_stats(layer, feature, chosen.variant).set_index("domain", drop=False)
    pooled = stats.loc[ALL]
    ranking = "decrease" if pooled["shift"] < 0 else "increase"
    contexts = store.contexts(layer, feature, chosen.variant, ranking, chosen.domain, CONTEXTS)
    return {
        "layer": layer,
        "feature": feature,
        "label": label if isinstance(label, str) else None,
        "judgements": [_judgement(review) for review in reviews],
        "disagreement": disagree(reviews),
        "reason": reason(pooled),
        "runs": _records(store.replicate_changes(layer, feature, chosen.variant)),
        "numbers": {name: json_value(pooled[name]) for name in NUMBERS},
        "ranking": ranking,
        "contexts": [_context(covered_context(store, row, hidden)) for row in contexts.to_dict("records")],
    }


def _context(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "rank": int(row["rank"]),
        "domain": row["domain"],
        "source": row["source"],
        "position": int(row["position"]),
        "peak": int(row["peak"]),
        "tokens": list(row["tokens"]),
        "base": [float(f"{value:.4g}") for value in row["base_values"]],
        "variant": [float(f"{value:.4g}") for value in row["variant_values"]],
    }


def _judgement(review: Review) -> dict[str, Any]:
    return {name: getattr(review, name) for name in ("reviewer", "verdict", "severity", "note", "made")}


def _gravity(reviews: list[Review]) -> tuple[int, int]:
    """For sorting: the gravest judgement of a feature, smallest first."""
    return min((_ORDER[review.verdict], -SEVERITIES.index(review.severity) - 1 if review.severity else 0) for review in reviews)


def _provenance(store: Store, variant: str) -> dict[str, Any]:
    manifest = store.manifest
    return {
        "digest": manifest.digest,
        "created": manifest.created,
        "schema_version": manifest.schema_version,
        "published_from": manifest.published_from,
        "base": manifest.base,
        "variant": {"variant": variant, **manifest.variants[variant]},
        "dictionaries": manifest.saes,
        "tokenizer": manifest.tokenizer,
        "corpus": manifest.corpus,
        "notes": manifest.notes,
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{name: json_value(value) for name, value in row.items()} for row in frame.to_dict("records")]
