"""Every firing of one feature in base and variant, token by token, and how its activations lie: over each other, over
domains, over the places in a context window.

From the codes, so only of the documents whose codes a store keeps (documents.has_codes). A *place* is where a token stands in
its context window, counted from 0; places are taken together in octaves: 0, 1 to 2, 3 to 6, 7 to 14, and so on.
"""

import numpy as np
import pandas as pd

from store.names import BASE
from store.read.connection import Connection

BINS_AN_OCTAVE = 2
"""Of the density: half-octave bins, as in the histograms."""

VARIANT = "variant"


class Firings(Connection):
    """Where a feature fires, token by token."""

    def paired_activations(self, layer: int, feature: int, variant: str) -> pd.DataFrame:
        """The tokens where a feature fires in base or variant, in reading order.

        Returns:
            DataFrame: document, domain, position, place, base, variant (scaled activations, 0 where it is silent).
        """
        base = self.activations(layer, feature, BASE).rename(columns={"value": BASE})
        other = self.activations(layer, feature, variant).rename(columns={"value": VARIANT})
        pairs = base.merge(other, on=["document", "position"], how="outer", sort=True).fillna({BASE: 0.0, VARIANT: 0.0})
        windows = self.sql(
            """
            SELECT d.document, d.domain, min(t.position) AS start
            FROM documents d JOIN tokens t ON t.document = d.document
            WHERE d.has_codes GROUP BY d.document, d.domain, t.context ORDER BY d.document, start
            """
        )
        starts, places = _key(windows["document"], windows["start"]), _key(pairs["document"], pairs["position"])
        which = np.searchsorted(starts, places, "right") - 1
        pairs["domain"] = windows["domain"].to_numpy()[which]
        pairs["place"] = pairs["position"].to_numpy() - windows["start"].to_numpy()[which]
        return pairs[["document", "domain", "position", "place", BASE, VARIANT]]

    def coded_tokens(self) -> pd.DataFrame:
        """What the documents with codes hold: domain, octave (of the place), n_tokens, n_documents (of the domain).

        Attention sinks, which never fire, are among the tokens.
        """
        return self.sql(
            """
            WITH placed AS (
                SELECT d.domain, d.document,
                       t.position - min(t.position) OVER (PARTITION BY t.document, t.context) AS place
                FROM documents d JOIN tokens t ON t.document = d.document WHERE d.has_codes
            ), sizes AS (SELECT domain, count(DISTINCT document) AS n_documents FROM placed GROUP BY domain)
            SELECT domain, floor(log2(place + 1))::INTEGER AS octave, count(*) AS n_tokens,
                   any_value(n_documents) AS n_documents
            FROM placed JOIN sizes USING (domain) GROUP BY ALL ORDER BY ALL
            """
        )


def density(pairs: pd.DataFrame) -> pd.DataFrame:
    """Tokens by their two activations, in half-octave bins: base_low, base_high, variant_low, variant_high, count.

    Where the feature is silent in one of the two, that one's low and high are 0.
    """
    bins = pd.DataFrame({name: _bins(pairs[name].to_numpy(dtype=float)) for name in (BASE, VARIANT)})
    counted = bins.groupby([BASE, VARIANT], dropna=False).size().reset_index(name="count")
    edges = {
        f"{name}_{end}": np.where(counted[name].isna(), 0.0, 2.0 ** ((counted[name] + step) / BINS_AN_OCTAVE))
        for name in (BASE, VARIANT)
        for end, step in (("low", 0), ("high", 1))
    }
    return pd.DataFrame(edges | {"count": counted["count"]})


def by_domain(pairs: pd.DataFrame, tokens: pd.DataFrame) -> pd.DataFrame:
    """Where a feature fires, by domain: group, model ('base', 'variant'), mean (over all tokens), share, n_tokens.

    pairs: of :func:`paired_activations`; tokens: :func:`coded_tokens`.
    """
    return _means(pairs, pairs["domain"], tokens.groupby("domain")["n_tokens"].sum())


def by_place(pairs: pd.DataFrame, tokens: pd.DataFrame) -> pd.DataFrame:
    """The same by place in the context window: group is the octave's first and last place, '3–6'; in their order."""
    octaves = np.floor(np.log2(pairs["place"].to_numpy() + 1)).astype(int)
    rows = _means(pairs, pd.Series(octaves, index=pairs.index), tokens.groupby("octave")["n_tokens"].sum())
    return rows.assign(group=[_places(octave) for octave in rows["group"]])


def _means(pairs: pd.DataFrame, groups: pd.Series, n_tokens: pd.Series) -> pd.DataFrame:
    pieces = []
    for model in (BASE, VARIANT):
        sums = pairs[model].groupby(groups).agg(total="sum", n=lambda values: (values > 0).sum())
        sums = sums.reindex(n_tokens.index, fill_value=0)
        numbers = {"mean": sums["total"] / n_tokens, "share": sums["n"] / n_tokens, "n_tokens": n_tokens}
        pieces.append(pd.DataFrame({"group": n_tokens.index, "model": model} | numbers))
    return pd.concat(pieces, ignore_index=True)


def _bins(values: np.ndarray) -> np.ndarray:
    """The half-octave that each value lies in, NaN for 0."""
    firing = values > 0
    return np.where(firing, np.floor(BINS_AN_OCTAVE * np.log2(np.where(firing, values, 1.0))), np.nan)


def _places(octave: int) -> str:
    first, last = 2**octave - 1, 2 ** (octave + 1) - 2
    return f"{first}" if first == last else f"{first}–{last}"


def _key(document: pd.Series, position: pd.Series) -> np.ndarray:
    """One number that sorts by document, then position."""
    return (document.to_numpy(dtype=np.int64) << 32) + position.to_numpy(dtype=np.int64)
