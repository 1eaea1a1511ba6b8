"""Rows of layer_metrics: the variant beside its controls and twins, clusters counted, and what was counted of features."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from extract.tables import layer_metrics
from store.format.document_sums import DOCUMENT_SUMS

CLUSTERS = np.array([0, 0, 1, 2, *range(3, 25)])
"""26 documents of 25 clusters: the first three of domain e are two, the others of d are one each."""
DOMAIN = np.array(["e"] * 3 + ["d"] * 23)
COUNTS = {
    "observed": {"n_seen": 90, "n_halved": 30, "n_doubled": 7},
    "twin_1": {"n_halved": 28, "n_doubled": 9},
}


class FakeSums:
    """What LayerRows asks of the merged sums; overlap is .6 in the variant, .7 in its twin, .8 in the rerun."""

    overlap = {"observed": 6.0, "twin_1": 7.0, "rerun": 8.0}  # noqa: RUF012
    domain_of_document, cluster_of_document = DOMAIN, CLUSTERS
    counterparts = (("v", "observed"), ("v", "twin_1"), ("base", "rerun"), ("w", "observed"), ("w", "twin_1"))

    def __init__(self):
        self.context = SimpleNamespace(config=None, domains=["d", "e"], pilots={3: SimpleNamespace(mean_norm=1.0)})
        self.tables = {}
        self.writer = SimpleNamespace(load=self.tables.__setitem__)

    def document_sums(self, layer, name, control):
        n = 26 if control != "rerun" else 5
        sums = dict.fromkeys(DOCUMENT_SUMS, np.full(n, 10.0))
        return pd.DataFrame({"document": np.arange(n), "segment": "text", **sums, "overlap": self.overlap[control]})

    def totals(self, layer, name, control, column="totals"):
        return np.ones((2, len(layer_metrics.SEGMENTS), 4))


@pytest.fixture(scope="module")
def written():
    """The rows of layer 3, indexed by control, domain, segment and metric; and the table fit."""
    sums = FakeSums()
    of_layer = layer_metrics.LayerRows(sums, SimpleNamespace(layer=3), "v")
    of_layer.write({"mean_share": 0.25}, COUNTS)
    rows = sums.tables["layer_metrics"]
    assert (rows["variant"] == "v").all() and of_layer.gate in set(sums.tables["fit"]["gate"])
    assert of_layer.sizes == dict.fromkeys(("observed", "twin_1", "rerun"), 1.0)
    return rows.set_index(["control", "domain", "segment", "metric"]).sort_index()


def test_documents_and_clusters_are_counted(written):
    for domain, counted in {"all": (26, 25), "d": (23, 23), "e": (3, 2)}.items():
        row = written.loc["observed", domain, "all", "overlap"]
        assert (row["n_documents"], row["n_clusters"]) == counted
        assert row["n_tokens"] == 10 * counted[0] and row["value"] == pytest.approx(0.6)
        assert np.isnan(row["low"]) == (domain == "e")  # two clusters are too few


def test_a_twin_stands_as_a_control_does(written):
    """Overlap .6 in the variant, .7 in its twin: .1 less, for certain, as no cluster differs from another."""
    row = written.loc["twin_1", "all", "all", "overlap"]
    assert row["value"] == pytest.approx(0.7)
    assert row[["excess", "excess_low", "excess_high"]].tolist() == pytest.approx([0.1] * 3)


def test_a_rerun_of_a_few_documents_is_held_against_the_same_ones(written):
    row = written.loc["rerun", "all", "all", "overlap"]
    assert (row["n_documents"], row["n_clusters"]) == (5, 4)
    assert row["excess"] == pytest.approx(0.2) and np.isnan(row["excess_low"])
    assert np.isnan(written.loc["rerun", "all", "all", "fvu_variant"]["excess"])  # of other documents than the variant's


def test_what_was_counted_of_features_stands_for_all_tokens_only(written):
    """With the variant's excess over its twin: two halved more, two doubled fewer; how many could be seen is no change."""
    found = written[written.index.get_level_values("metric").isin(["n_seen", "n_halved", "n_doubled"])]
    assert set(found.index.droplevel("metric")) == {("observed", "all", "all"), ("twin_1", "all", "all")} and len(found) == 5
    of_twin = written.loc["twin_1", "all", "all"].loc[["n_halved", "n_doubled"]]
    assert of_twin["value"].tolist() == [28, 9]
    assert of_twin["excess"].tolist() == [2, -2]
    assert written.loc["observed", "all", "all"].loc[["n_seen", "n_halved", "n_doubled"], "value"].tolist() == [90, 30, 7]
    assert written.loc["observed", "all", "all", "mean_share"]["value"] == 0.25
