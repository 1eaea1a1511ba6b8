"""How far a store can be trusted, as questions: its dictionaries, what does not count, what was kept."""

import pandas as pd

from store.metrics.thresholds import DENSE
from store.names import ALL
from store.read.connection import Connection


class Quality(Connection):
    """What a store says of how far it can be trusted."""

    def dictionary_quality(self) -> pd.DataFrame:
        """The dictionary of each layer, its self-test on the base, and its dead and dense features on this corpus.

        Returns:
            DataFrame: layer, sae, architecture, d_model, d_sae, self_test_fvu, self_test_l0, dead, dense (shares of its
            features).
        """
        query = """
            SELECT l.layer, l.sae, l.architecture, l.d_model, l.d_sae, l.self_test_fvu, l.self_test_l0,
                   avg((f.density = 0)::INT) AS dead, avg((f.density > $dense)::INT) AS dense
            FROM layers l JOIN features f USING (layer) GROUP BY ALL ORDER BY l.layer
        """
        return self.sql(query, {"dense": DENSE})

    def base_fit(self) -> pd.DataFrame:
        """The base's FVU by layer and domain, which is the same whatever variant it stands beside.

        Returns:
            DataFrame: layer, domain, fvu_base; all domains together first.
        """
        query = """
            SELECT layer, domain, any_value(fvu_base) AS fvu_base FROM fit
            GROUP BY domain, layer ORDER BY domain <> $every, domain, layer
        """
        return self.sql(query, {"every": ALL})

    def variant_gates(self) -> pd.DataFrame:
        """The fit gate of each variant and layer, all domains together.

        Returns:
            DataFrame: variant, layer, gate.
        """
        return self.sql("SELECT variant, layer, gate FROM fit WHERE domain = $every ORDER BY variant, layer", {"every": ALL})

    def sinks(self) -> pd.DataFrame:
        """The tokens that count and those left out as attention sinks, by layer.

        Returns:
            DataFrame: layer, n_tokens, n_sinks, share (of both together that was left out; null where there are none).
        """
        query = "SELECT layer, n_tokens, n_sinks, n_sinks / nullif(n_tokens + n_sinks, 0) AS share FROM layers ORDER BY layer"
        return self.sql(query)

    def kept_codes(self) -> pd.DataFrame:
        """Of how many documents the codes are in the store.

        Returns:
            DataFrame of one row: documents, kept.
        """
        return self.sql("SELECT count(*) AS documents, count(*) FILTER (has_codes) AS kept FROM documents")
