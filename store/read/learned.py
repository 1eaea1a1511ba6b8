"""Questions about what was learned and lost, and through which features, to a store that has contributions beside it."""

from typing import Any, Literal

import pandas as pd

from store.errors import UserError
from store.names import ALL, OBSERVED
from store.read.connection import Connection
from store.read.expressions import TOKEN_TEXT, WITH_TEXTS
from store.token_text import in_place

Order = Literal["gain", "loss", "kl"]
_ORDERS = {"gain": "gain DESC", "loss": "gain", "kl": "abs(kl) DESC"}

AROUND = 24
"""Tokens shown on either side of the one at which a feature acts most."""


class Learned(Connection):
    """What the tables of contributions.sql say; each question needs :attr:`has_contributions`."""

    def learned(self, variant: str | None = None) -> pd.DataFrame:
        """What variants, and their twins, learned or lost: the table ``learned``.

        Raises:
            UserError: the store has no contributions.
        """
        return self._ask(
            "SELECT * FROM contributions.learned WHERE $variant IS NULL OR variant = $variant "
            "ORDER BY variant, control, domain, slot",
            {"variant": variant},
        )

    def layer_gains(self, variant: str | None = None, domain: str = ALL) -> pd.DataFrame:
        """What of it passes through each layer, of variants and their twins: the table ``contributions.layers`` of a domain.

        Raises:
            UserError: the store has no contributions.
        """
        return self._ask(
            "SELECT * FROM contributions.layers WHERE domain = $domain AND ($variant IS NULL OR variant = $variant) "
            "ORDER BY variant, control, layer",
            {"variant": variant, "domain": domain},
        )

    def contributions(
        self, variant: str, layer: int | None = None, domain: str = ALL, order: Order = "gain", limit: int = 100
    ) -> pd.DataFrame:
        """The features through which a variant learned or lost most, with their labels.

        Args:
            order: 'gain': what helped most first; 'loss': what harmed most; 'kl': what moved the prediction most.

        Returns:
            The table ``contributions.features`` with ``label`` and ``label_source``; of all layers together where none is
            given.

        Raises:
            UserError: the store has no contributions.
        """
        return self._ask(
            f"""
            SELECT c.*, f.label, f.label_source FROM contributions.features c JOIN features f USING (layer, feature)
            WHERE variant = $variant AND domain = $domain AND ($layer IS NULL OR layer = $layer)
            ORDER BY {_ORDERS[order]}, layer, feature LIMIT $limit
            """,
            {"variant": variant, "domain": domain, "layer": layer, "limit": limit},
        )

    def feature_contributions(self, layer: int, feature: int) -> pd.DataFrame:
        """What one feature contributes in every variant and domain, where that is among what is kept.

        Raises:
            UserError: the store has no contributions.
        """
        return self._ask(
            "SELECT * FROM contributions.features WHERE layer = $layer AND feature = $feature ORDER BY variant, domain",
            {"layer": layer, "feature": feature},
        )

    def agreement(self, variant: str, domain: str = ALL) -> pd.DataFrame:
        """Whether other runs of the recipe, and its twins, work through the same features: the table ``agreement``.

        Raises:
            UserError: the store has no contributions.
        """
        return self._ask(
            "SELECT * FROM contributions.agreement WHERE variant = $variant AND domain = $domain ORDER BY layer, other",
            {"variant": variant, "domain": domain},
        )

    def curves(self, variant: str | None = None) -> pd.DataFrame:
        """How much of what passes through a layer so many features make: the table ``curves``, each curve from few to many.

        Raises:
            UserError: the store has no contributions.
        """
        return self._ask(
            "SELECT * FROM contributions.curves WHERE $variant IS NULL OR variant = $variant "
            "ORDER BY variant, layer, domain, chosen_by, k",
            {"variant": variant},
        )

    def acts(self, variant: str, layer: int, feature: int) -> pd.DataFrame:
        """The tokens at which a feature's change contributes most: document, position, gain in nats; the largest first.

        Raises:
            UserError: the store has no contributions.
        """
        return self._ask(
            """
            SELECT document, position, gain FROM contributions.acts
            WHERE variant = $variant AND layer = $layer AND feature = $feature ORDER BY abs(gain) DESC, document, position
            """,
            {"variant": variant, "layer": layer, "feature": feature},
        )

    def acting_passages(self, variant: str, layer: int, feature: int, limit: int = 5) -> pd.DataFrame:
        """The passages in which a feature's change contributes most, with what it adds at each token.

        Returns:
            DataFrame: document, domain, source, position (of the first token shown), tokens (texts where they stand), alone
            (each by itself; both untrusted), gains (nats, 0 where too little was kept), gain (their sum), peak (index of the
            largest); the largest sum of sizes first.

        Raises:
            UserError: the store has no contributions.
        """
        acts = self.acts(variant, layer, feature)
        sizes = acts["gain"].abs().groupby(acts["document"]).sum().sort_values(ascending=False, kind="stable")
        peaks = acts.drop_duplicates("document").set_index("document")["position"].loc[sizes.index[:limit]]
        around = dict(list(self._around(peaks).groupby("document")))
        rows = [_acting(around[document], acts[acts["document"] == document], peak) for document, peak in peaks.items()]
        columns = ["document", "domain", "source", "position", "tokens", "alone", "gains", "gain", "peak"]
        return pd.DataFrame(rows, columns=columns)

    def _around(self, peaks: pd.Series) -> pd.DataFrame:
        """The tokens of the window around one position each of some documents: document, position, alone, domain, source."""
        return self.sql(
            f"""
            SELECT t.document, t.position, {TOKEN_TEXT} AS alone, d.domain, d.source
            FROM (SELECT unnest($documents) AS document, unnest($positions) AS position) shown
            JOIN tokens peak ON peak.document = shown.document AND peak.position = shown.position
            JOIN tokens t ON t.document = peak.document AND t.context = peak.context
            AND t.position BETWEEN peak.position - {AROUND} AND peak.position + {AROUND}
            JOIN documents d ON d.document = t.document {WITH_TEXTS} ORDER BY t.document, t.position
            """,
            {"documents": peaks.index.to_list(), "positions": peaks.to_list()},
        )

    def word_changes(self, variant: str, domain: str = ALL, slot: str = ALL) -> pd.DataFrame:
        """Tokens whose probability rose or fell most: control, token_id, token, change; the most risen first.

        Raises:
            UserError: the store has no contributions.
        """
        return self._ask(
            """
            SELECT control, token_id, token, change FROM contributions.word_changes
            JOIN contributions.vocabulary USING (token_id)
            WHERE variant = $variant AND domain = $domain AND slot = $slot ORDER BY control, change DESC, token_id
            """,
            {"variant": variant, "domain": domain, "slot": slot},
        )

    def word_places(self, variant: str) -> pd.DataFrame:
        """Of which domains and slots :meth:`word_changes` has rows: domain, slot.

        Raises:
            UserError: the store has no contributions.
        """
        return self._ask(
            "SELECT DISTINCT domain, slot FROM contributions.word_changes "
            "WHERE variant = $variant AND control = $observed ORDER BY domain, slot",
            {"variant": variant, "observed": OBSERVED},
        )

    def has_word_twins(self) -> bool:
        """Whether the tables of words have what random changes of the weights do.

        Raises:
            UserError: the store has no contributions.
        """
        query = "SELECT count(*) AS n FROM contributions.learned WHERE control <> $observed"
        return bool(self._ask(query, {"observed": OBSERVED})["n"].iloc[0])

    def change_words(self, variant: str, layer: int | None = None) -> pd.DataFrame:
        """What a variant's change says when the output head reads it: the table ``change_words`` with the tokens' texts.

        Raises:
            UserError: the store has no contributions.
        """
        return self._ask(
            """
            SELECT w.*, token FROM contributions.change_words w JOIN contributions.vocabulary USING (token_id)
            WHERE variant = $variant AND ($layer IS NULL OR layer = $layer)
            ORDER BY layer, component, way, domain, slot, against, score DESC, token_id
            """,
            {"variant": variant, "layer": layer},
        )

    def predictions(self, variant: str) -> pd.DataFrame:
        """The sampled predictions of a variant, with the domain: the table ``contributions.predictions``.

        Raises:
            UserError: the store has no contributions.
        """
        return self._ask(
            "SELECT p.*, domain FROM contributions.predictions p JOIN documents USING (document) "
            "WHERE variant = $variant ORDER BY document, position",
            {"variant": variant},
        )

    def taken_apart(self) -> pd.DataFrame:
        """The sampled predictions that layers, features and curves are of, with the domain: the table ``taken_apart``.

        Raises:
            UserError: the store has no contributions.
        """
        return self._ask(
            "SELECT t.*, domain FROM contributions.taken_apart t JOIN documents USING (document) ORDER BY document, position",
            {},
        )

    def _ask(self, query: str, parameters: dict[str, Any]) -> pd.DataFrame:
        """SQL over the tables of contributions.sql.

        Raises:
            UserError: the store has no contributions.
        """
        if not self.has_contributions:
            raise UserError(
                "This store has no contributions beside it: what was learned, and through which features, was not measured; "
                "python -m extract contributions adds it."
            )
        return self.sql(query, parameters)


def _acting(tokens: pd.DataFrame, acts: pd.DataFrame, peak: int) -> dict[str, Any]:
    """One row of :meth:`Learned.acting_passages`, of the tokens around the strongest act and of all acts of the document."""
    gains = acts.set_index("position")["gain"].reindex(tokens["position"], fill_value=0.0).astype(float)
    alone, first = tokens["alone"].to_list(), int(tokens["position"].iloc[0])
    return {
        "document": int(tokens["document"].iloc[0]), "domain": tokens["domain"].iloc[0], "source": tokens["source"].iloc[0],
        "position": first, "tokens": in_place(alone), "alone": alone, "gains": gains.to_list(),
        "gain": float(acts["gain"].sum()), "peak": int(peak) - first,
    }  # fmt: skip
