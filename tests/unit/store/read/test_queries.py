"""Questions about layers, features, their lists, firings and contexts on the tiny store of tests/support.

Long because every question is held to the numbers of one store.
"""

import duckdb
import pandas as pd
import pytest

from store import UserError, open_store
from store.names import VERDICTS
from store.read import firings
from store.read.answers import Answers
from store.read.feature_filter import Filter, sort_expressions
from store.read.features import Features
from tests.support.tiny_store import HOSTILE


@pytest.fixture(scope="module")
def store(tiny_store):
    with open_store(tiny_store) as opened:
        yield opened


@pytest.fixture(scope="module")
def bare(bare_store):
    with open_store(bare_store) as opened:
        yield opened


def names(rows):
    return list(zip(rows["layer"].astype(int), rows["feature"].astype(int), strict=True))


def test_overview_has_the_headline_of_each_variant_and_layer(store):
    table = store.overview().set_index(["variant", "layer"])
    assert list(table.index) == [(variant, layer) for variant in ("maths", "maths-seed2", "safety") for layer in (5, 12)]
    row = table.loc[("safety", 12)]
    assert row["cosine"] == pytest.approx(0.97 - 0.012)
    assert (row["overlap"], row["l0_base"], row["l0_variant"]) == (0.45, 2.0, 2.5)
    assert (row["n_tokens"], row["n_documents"], row["n_clusters"], row["gate"]) == (14_000, 120, 40, "does not fit")
    assert table.loc[("maths", 12), "gate"] == "strained"
    assert table.loc[("maths", 5), "gate"] == "fits"
    assert store.overview(domain="nowhere").empty


def test_overview_stands_beside_the_isotropic_control_and_the_twins(store, bare):
    table = store.overview().set_index(["variant", "layer"])
    maths, safety = table.loc[("maths", 5)], table.loc[("safety", 12)]
    assert maths["overlap_isotropic"] == 0.33
    assert maths[["excess", "excess_low", "excess_high"]].tolist() == pytest.approx([-0.12, -0.13, -0.11])
    assert (safety["l0_inflation"], safety["l0_inflation_isotropic"]) == (1.25, 1.24)
    assert maths[["overlap_twin_low", "overlap_twin_high"]].tolist() == [0.4, 0.42]
    assert safety[["l0_inflation_twin_low", "l0_inflation_twin_high"]].tolist() == [1.05, 1.1]
    assert safety[["n_seen", "n_halved", "n_doubled"]].tolist() == [4, 2, 0]
    ends = ["n_halved_twin_low", "n_halved_twin_high", "n_doubled_twin_low", "n_doubled_twin_high"]
    assert safety[ends].tolist() == [1, 2, 0, 1]
    without = bare.overview()
    assert len(without) == 6
    assert without[["overlap_isotropic", "excess", "overlap_twin_low", *ends, "n_suppressed"]].isna().all(axis=None)
    assert without["n_halved"].tolist() == [2, 2, 3, 3, 2, 2]


def test_overview_counts_claims_over_all_domains_together(store):
    """maths loses feature 1 at both layers and 4 at layer 12, where 0 rises; nothing of safety is claimed."""
    table = store.overview("harmful")
    assert table["n_suppressed"].tolist() == [1, 2, 1, 2, 0, 0]
    assert table["n_amplified"].tolist() == [0, 1, 0, 1, 0, 0]
    assert table["n_halved"].isna().all()  # counted over all domains only


def test_verdict_counts_are_of_every_verdict_that_occurs(store, bare):
    counted = store.verdict_counts()
    maths = counted[(counted["variant"] == "maths") & (counted["layer"] == 12)]
    assert maths[["verdict", "n"]].values.tolist() == [["suppressed", 2], ["amplified", 1], ["could not be seen", 2]]
    assert set(counted["verdict"]) == set(VERDICTS)
    assert counted.groupby(["variant", "layer"])["n"].sum().tolist() == [5] * 6  # feature 3 never fires
    assert bare.verdict_counts().empty


def test_layer_metrics_filters_by_any_column(store, bare):
    assert len(bare.layer_metrics()) == 3 * 2 * (7 * 9 + 3)
    one = store.layer_metrics(variant="maths", layer=5, domain="all", segment="prompt", metric="overlap", control="observed")
    assert one[["value", "n_tokens", "control"]].values.tolist() == [[0.45, 1_000, "observed"]]
    assert bare.controls()["control"].tolist() == ["observed"]
    assert store.controls()["control"].tolist() == ["isotropic", "observed", "rerun", "rescaled", "twin_1", "twin_2"]


def test_verdicts_take_twins(store, bare):
    assert (store.has_verdicts(), bare.has_verdicts()) == (True, False)


def test_runs_of_a_recipe_are_a_group(store):
    assert store.groups().values.tolist() == [["maths", "maths", 2], ["maths-seed2", "maths", 2], ["safety", "safety", 1]]


def test_fit_and_dictionaries(store):
    assert store.fit(variant="safety", domain="all")["gate"].tolist() == ["fits", "does not fit"]
    assert store.dictionaries()[["layer", "d_sae"]].values.tolist() == [[5, 6], [12, 6]]


def test_shifted_features_come_by_their_evidence(store):
    """Claimed: 1 lost 0.95, 0 gained 0.6; of the two that could not be seen 5 is all new, 2 lost a third."""
    rows = store.shifted_features("maths", layer=12)
    assert names(rows) == [(12, 1), (12, 0), (12, 5), (12, 2)]
    assert rows["change"].tolist() == pytest.approx([-0.95, 0.6, 1, -1 / 3])
    assert rows["shift"].tolist() == pytest.approx([-19 / 140, 12 / 140, 0.4 / 140, -2 / 140])
    assert rows["kind"].tolist() == ["vanished", "strengthened", "appeared", "steady"]
    assert rows["reason"].tolist() == ["fell", "rose", "few_firings", "undetectable"]
    assert rows["n_base"].tolist() == [1000, 400, 0, 400]
    assert rows["n_variant"].tolist() == [100, 800, 20, 300]
    assert rows["label"].tolist() == ["small words", "sums", "new here", f"{HOSTILE} label"]
    assert rows["gate"].unique().tolist() == ["strained"]


def test_each_row_has_the_ranges_of_interval_runs_and_twins(store):
    row = store.shifted_features("maths", layer=12).iloc[0]
    assert row[["change_low", "change_high"]].tolist() == pytest.approx([-1, -0.9])
    assert row[["replicate_low", "replicate_high"]].tolist() == pytest.approx([-0.95, -0.8])
    assert row[["twin_low", "twin_high"]].tolist() == pytest.approx([-0.2, 0.1])
    assert row[["q_twin", "q_replicates"]].tolist() == [0.01, 0.004]


def test_what_became_of_a_feature_in_every_run(store, bare):
    found = store.replicate_changes(12, 1, "maths-seed2")
    assert found[["variant", "verdict"]].values.tolist() == [["maths", "suppressed"], ["maths-seed2", "suppressed"]]
    assert found["change"].tolist() == pytest.approx([-0.95, -0.8])
    assert found["change_low"].tolist() == pytest.approx([-1, -0.85])
    assert store.replicate_changes(12, 1, "safety")["variant"].tolist() == ["safety"]
    assert store.replicate_changes(12, 3, "maths")["change"].isna().tolist() == [True, True]
    assert bare.replicate_changes(12, 1, "maths")["verdict"].isna().all()


def test_shift_of_a_domain_is_per_token_of_that_domain(store):
    rows = store.shifted_features("maths", layer=12, domain="maths")
    assert rows["shift"].tolist() == pytest.approx([-0.19, 0.12, 0.004, -0.02])


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"kinds": ("vanished",)}, [1]),
        ({"kinds": ("vanished", "strengthened")}, [1, 0]),
        ({"kinds": ()}, []),
        ({"min_firings": 21}, [1, 0, 2]),
        ({"min_firings": 801}, [1]),
        ({"direction": "down"}, [1, 2]),
        ({"direction": "up"}, [0, 5]),
        ({"search": "2"}, [2]),
        ({"search": "SUM"}, [0]),
        ({"search": " words "}, [1]),
        ({"search": "L12:1"}, [1]),
        ({"search": "5:1"}, []),
        ({"search": "%"}, []),
        ({"search": "'; DROP TABLE features; --"}, []),
        ({"search": "<script>"}, [2]),
        ({"search": "  "}, [1, 0, 5, 2]),
        ({"search": "FOUR"}, [0]),  # its first promoted token is ' four'
        ({"search": "plus"}, [1]),  # of feature 1 the second one
        ({"search": "fou"}, []),  # part of a token is no token
        ({"sort": "shift"}, [0, 5, 2, 1]),
        ({"sort": "shift", "descending": False}, [1, 2, 5, 0]),
        ({"sort": "suppression"}, [1, 2, 0, 5]),
        ({"sort": "feature", "descending": False}, [0, 1, 2, 5]),
        ({"verdicts": ("suppressed",)}, [1]),
        ({"verdicts": "could not be seen"}, [5, 2]),
        ({"verdicts": ("amplified", "suppressed")}, [1, 0]),
        ({"verdicts": ()}, []),
        ({"verdicts": ("suppressed",), "domain": "harmful"}, [1]),  # a verdict is of all domains together
        ({"sort": "evidence"}, [1, 0, 5, 2]),
        ({"sort": "striking"}, [1, 0, 2, 5]),  # 2 has an imported label
        ({"sort": "change"}, [5, 1, 0, 2]),
        ({"sort": "loss"}, [1, 2, 0, 5]),
        ({"sort": "gain"}, [0, 1, 2, 5]),  # the base never fires 5: it has no gain
        ({"sort": "q_twin"}, [1, 0, 2, 5]),  # the smallest first; none for what is not in question
        ({"sort": "q_replicates"}, [1, 0, 2, 5]),
        ({"sort": "detectable_loss"}, [1, 0, 2, 5]),
        ({"sort": "near_threshold"}, [1, 0, 2, 5]),
        ({"limit": 1, "offset": 1}, [0]),
        ({"limit": None}, [1, 0, 5, 2]),
        ({"dense": True}, [1, 0, 4, 5, 2]),
        ({"dense": True, "domain": "maths", "kinds": "weakened"}, [4]),
        ({"search": "12:4"}, [4]),  # named, though it is dense
        ({"search": "every"}, []),
    ],
)
def test_filters_of_shifted_features(store, filters, expected):
    assert store.shifted_features("maths", layer=12, **filters)["feature"].tolist() == expected


def test_ties_are_broken_by_layer_so_that_pages_never_overlap(store):
    pages = [names(store.shifted_features("maths", sort="abs_shift", limit=2, offset=offset)) for offset in (0, 2, 4)]
    assert pages == [[(5, 1), (12, 1)], [(5, 0), (12, 0)], [(5, 2), (12, 2)]]


def test_what_fires_on_more_than_a_tenth_of_the_tokens_is_hidden_and_counted(store):
    """Feature 4 fires on 5,000 of 14,000; of 'harmful' feature 1 fires on a quarter, but over all text on a fourteenth."""
    assert store.hidden_dense("maths") == 2
    assert store.hidden_dense("maths", layer=12, verdicts=("suppressed",), domain="harmful") == 1
    assert store.hidden_dense("maths", direction="up") == 0
    assert store.hidden_dense("maths", dense=True) == store.hidden_dense("maths", search="12:4") == 0
    assert names(store.shifted_features("maths", layer=12, domain="harmful"))[0] == (12, 1)
    rows = store.shifted_features("maths", layer=12, dense=True)
    assert rows.loc[rows["is_dense"], "feature"].tolist() == [4]
    assert store.count_features("maths", layer=12)["count"].sum() == 4
    assert store.count_features("maths", layer=12, dense=True)["count"].sum() == 5


def test_missing_values_come_last_either_way(store):
    for descending in (True, False):
        rows = store.shifted_features("safety", layer=12, sort="suppression", descending=descending)
        assert rows["feature"].tolist()[-1] == 5  # The base never fires it: its suppression is null.


def test_an_unknown_sort_is_refused_by_name(store):
    with pytest.raises(UserError, match="'shift; DROP TABLE features'"):
        store.shifted_features("maths", sort="shift; DROP TABLE features")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"direction": "sideways"}, "'sideways'; choose one of down, up"),
        ({"kinds": ("vanished", "gone")}, "'gone'; choose from vanished"),
        ({"verdicts": ("suppressed", "gone")}, "no verdict 'gone'; choose from suppressed"),
        ({"sort": "size"}, "'size'; choose one of evidence"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_by_every_list(store, wrong, named):
    asks = (store.shifted_features, store.count_features, lambda variant, **kw: store.neighbours(12, 0, variant, **kw))
    for ask in asks:
        with pytest.raises(UserError, match=named):
            ask("maths", **wrong)


def test_a_filter_that_does_not_exist_is_no_filter(store):
    with pytest.raises(TypeError, match="laeyr"):
        store.shifted_features("maths", laeyr=12)
    with pytest.raises(TypeError, match="direction"):
        store.suppressed_features("maths", direction="up")


def test_one_kind_is_a_choice_of_one():
    assert Filter("maths", kinds="vanished") == Filter("maths", kinds=["vanished"]) == Filter("maths", kinds=("vanished",))


def test_suppressed_features_fell_and_the_largest_loss_is_first(store):
    assert names(store.suppressed_features("maths")) == [(5, 1), (12, 1)]
    assert names(store.suppressed_features("maths", dense=True)) == [(5, 1), (12, 1), (12, 4)]
    assert store.suppressed_features("safety").empty  # what fell there has no second run, is uneven, or does not fit
    assert store.suppressed_features("maths", layer=12, verdicts=None)["feature"].tolist() == [1, 2]
    assert store.suppressed_features("maths", layer=12, verdicts=("could not be seen",))["feature"].tolist() == [2]
    assert store.suppressed_features("maths", layer=12, kinds=("weakened",)).empty


def test_without_verdicts_every_material_fall_is_listed(bare):
    assert bare.suppressed_features("maths", layer=12)["feature"].tolist() == [1]
    assert bare.suppressed_features("safety", layer=12)["feature"].tolist() == [2, 1]  # lost 0.6 and 0.55
    assert bare.suppressed_features("safety", layer=12, kinds=("vanished",)).empty
    assert bare.shifted_features("maths", verdicts=("suppressed",)).empty
    assert bare.count_verdicts("maths").empty


def test_without_verdicts_what_fires_too_seldom_comes_last(bare):
    rows = bare.shifted_features("maths", layer=12)
    assert rows["feature"].tolist() == [1, 0, 2, 5]  # 5 is all new, on 20 tokens
    assert rows["verdict"].isna().all()


def test_evidence_sorts_claims_before_what_could_be_seen_before_all_others(store):
    """Claimed: lost 0.95 twice, gained 0.6. Seen: gained 0.6, lost a third. Not: all new twice, lost a third."""
    rows = store.shifted_features("maths")
    assert names(rows) == [(5, 1), (12, 1), (12, 0), (5, 0), (5, 2), (5, 5), (12, 5), (12, 2)]


def test_a_list_of_one_domain_has_its_own_numbers_and_the_pooled_evidence(store):
    row = store.shifted_features("maths", layer=12, domain="maths", limit=1).iloc[0]
    assert row["shift"] == pytest.approx(-0.19)
    assert (row["q_twin"], row["verdict"], row["detectable_loss"]) == (0.01, "suppressed", 0.5)
    assert row["did_shift"] == pytest.approx(-0.19)


def test_count_verdicts_of_what_fell(store):
    """The least losses that would have been claimed: 0.5 of both that were suppressed, 0.7 of the steady one."""
    counted = store.count_verdicts("maths", direction="down", verdicts=("suppressed",), sort="q_twin")
    assert counted[["verdict", "count"]].values.tolist() == [["could not be seen", 1], ["steady", 1], ["suppressed", 2]]
    assert counted["detectable"].isna().tolist() == [True, False, False]
    assert counted["detectable"].tolist()[1:] == pytest.approx([0.7, 0.5])


def test_count_features_by_kind(store):
    counted = store.count_features("maths", layer=12).set_index("kind")["count"].to_dict()
    assert counted == {"appeared": 1, "steady": 1, "strengthened": 1, "vanished": 1}
    assert store.count_features("maths", direction="down")["count"].sum() == 4
    assert store.count_features("maths", layer=12, sort="label")["count"].sum() == 4  # the order makes no difference


def test_neighbours_are_those_of_the_list(store):
    middle = store.neighbours(12, 0, "maths", layer=12).iloc[0]
    assert (middle["position"], middle["total"]) == (2, 4)
    assert (middle["previous_feature"], middle["next_feature"]) == (1, 5)
    first = store.neighbours(5, 1, "maths").iloc[0]
    assert first[["previous_feature"]].isna().all()
    assert (first["next_layer"], first["next_feature"]) == (12, 1)
    assert store.neighbours(12, 0, "maths", direction="down").empty


def test_feature_has_its_tokens_as_text(store):
    row = store.feature(12, 2).iloc[0]
    assert row["promoted_tokens"].tolist() == [HOSTILE, " no"]
    assert row["suppressed_tokens"].tolist() == [" no", " <img src=x onerror=alert(2)>"]
    assert (row["sae"], row["d_sae"], row["decoder_norm"]) == ("tiny-12", 6, 1.0)
    assert store.feature(12, 99).empty


def test_feature_stats_start_with_all_domains(store):
    rows = store.feature_stats(12, 1)
    assert rows["variant"].tolist() == ["maths"] * 3 + ["maths-seed2"] * 3 + ["safety"] * 3
    assert rows["domain"].tolist() == ["all", "harmful", "maths"] * 3
    assert store.feature_stats(12, 1, variant="safety")["n10"].unique().tolist() == [400]
    assert store.feature_stats(12, 3).empty


def test_decoder_neighbours_nearest_first_with_what_became_of_them(store):
    rows = store.decoder_neighbours(5, 1, "safety")
    assert rows[["feature", "label", "verdict"]].values.tolist() == [
        [2, f"{HOSTILE} label", "could not be seen"], [0, "sums", "steady"],
    ]  # fmt: skip
    assert rows["cosine"].tolist() == pytest.approx([0.82, 0.1])
    assert rows["change"].tolist() == pytest.approx([-0.6, 0])
    assert store.decoder_neighbours(5, 99, "safety").empty
    assert store.decoder_neighbours(5, 3, "safety")["feature"].tolist() == [0, 1]


def test_feature_segments_the_largest_part_first(store):
    rows = store.feature_segments(5, 1, "maths")
    assert rows["segment"].tolist() == ["text", "response", "template"]
    assert rows["share"].tolist() == pytest.approx([13 / 19, 4 / 19, 2 / 19])
    assert store.feature_segments(5, 0, "safety")["share"].isna().all()


def test_features_that_sit_on_one_segment(store):
    """safety's feature 5 has 9 of 12 on the template; maths' feature 0 has 3 of 12 on the response, feature 1 has 4 of 19."""
    on_template = store.segment_features("safety", "template")
    assert names(on_template) == [(5, 5), (12, 5)]
    assert on_template["moved"].tolist() == pytest.approx([0.75, 0.75])
    assert store.segment_features("maths", "response").empty
    rows = store.segment_features("maths", "response", layer=5, least=0.2)
    assert rows["feature"].tolist() == [1, 0]
    assert store.segment_features("maths", "response", layer=12, least=0.2)["verdict"].tolist()[0] == "suppressed"
    assert len(store.segment_features("maths", "text", limit=1)) == 1


def test_parts_of_opposite_sign_do_not_cancel_out_and_no_feature_is_on_two_lists():
    """Feature 1: +6 and -4 of 2, of a movement of 10. Feature 2: +5 and -5, nothing in all. Feature 3: half and half."""
    parts = [(1, "template", 3.0, 6.0), (1, "response", -2.0, -4.0), (2, "template", None, 5.0), (2, "response", None, -5.0)]
    parts += [(3, "template", 0.5, 1.0), (3, "response", 0.5, 1.0), (4, "template", -0.5, -1.0), (4, "response", 1.5, 3.0)]
    segments = pd.DataFrame(parts, columns=["feature", "segment", "share", "shift"]).assign(variant="v", layer=1)
    features = pd.DataFrame({"feature": [1, 2, 3, 4], "layer": 1, "label": "", "label_source": None})
    stats = features.assign(variant="v", domain="all", kind="steady", shift=1.0, change=0.1, did_shift=None, verdict=None)
    fit = pd.DataFrame({"variant": ["v"], "layer": 1, "domain": "all", "gate": "fits"})
    store = FromFrame(feature_segments=segments, feature_stats=stats, features=features, fit=fit)
    on = {name: Features.segment_features(store, "v", name) for name in ("template", "response")}
    assert on["template"][["feature", "moved", "segment_shift"]].values.tolist() == [[1, pytest.approx(0.6), 6.0]]
    assert on["response"][["feature", "moved", "segment_shift"]].values.tolist() == [[4, pytest.approx(0.75), 3.0]]


def test_a_claimed_change_comes_before_one_as_large_that_is_not(store):
    """Feature 0 of maths rises alike at both layers: as in a random change at 5, amplified at 12."""
    rows = store.segment_features("maths", "text")
    assert names(rows) == [(5, 1), (12, 1), (12, 0), (5, 0), (5, 2), (12, 2)]
    assert rows["verdict"].tolist()[2:4] == ["amplified", "as in a random change"]


def test_shift_by_segment_beside_the_tokens(store):
    rows = store.shift_by_segment("maths", 5).set_index("segment")
    assert rows["share"].to_dict() == pytest.approx({"template": 0.25, "prompt": 1 / 12, "response": 1 / 6, "text": 0.5})
    assert rows["token_share"].to_dict() == pytest.approx(
        {"template": 1 / 14, "prompt": 1 / 14, "response": 2 / 14, "text": 10 / 14}
    )
    assert rows["n_tokens"].to_dict() == {"template": 1, "prompt": 1, "response": 2, "text": 10}
    assert len(store.shift_by_segment("maths")) == 8


def test_spectrum_has_the_mean_first(store, bare):
    rows = store.spectrum("maths", 12)
    assert rows[["component", "share"]].values.tolist() == [[0, 0.3], [1, 0.4], [2, 0.1]]
    assert rows["features"].iloc[0].tolist() == [1, 0]
    assert bare.spectrum("maths", 12).empty


def test_replica_and_prediction_of_a_feature(store, bare):
    assert store.replica(12, 1, "maths")[["replica_feature", "cosine", "shift"]].values[0] == pytest.approx([3, 0.91, -0.4])
    assert store.replica(5, 1, "maths").empty
    assert store.feature_kl(5, 1, "safety")[["n_tokens", "kl_ratio"]].values[0] == pytest.approx([9, 2.3])
    assert store.feature_kl(5, 2, "safety").empty
    assert bare.feature_kl(5, 1, "safety").empty


def test_labels_of_a_layer(store):
    assert store.labels(5)["feature"].tolist() == [0, 1, 2, 4, 5]


def test_histogram_is_on_the_layers_bins(store):
    rows = store.histogram(12, 0)
    assert rows[["model", "bin", "count"]].values.tolist() == [["base", 16, 3], ["base", 18, 1], ["maths", 18, 6]]
    assert rows[["low", "high"]].values[0].tolist() == pytest.approx([1.0, 2**0.5])


def test_contexts_carry_token_texts_in_order(store):
    row = store.contexts(12, 1, "safety", "decrease").iloc[0]
    assert row["tokens"].tolist() == [" four", " is", " two", HOSTILE]
    assert row["base_values"].tolist() == [0.0, 0.0, 1.0, 4.0]
    assert (row["domain"], row["source"], row["peak"]) == ("maths", "sum-2", 3)


def test_contexts_of_one_domain(store):
    assert store.contexts(12, 1, "safety", "base", domain="harmful")["source"].tolist() == ["refusal-1"]
    assert store.contexts(12, 1, "safety", "base", domain="maths").empty
    assert len(store.contexts(12, 1, "safety", "base", domain="all")) == 1
    counted = store.count_contexts(12, 1, "safety").values.tolist()
    assert counted == [["base", "harmful", 1], ["decrease", "maths", 1]]


def test_documents_by_domain_and_source(store):
    assert store.documents(domain="maths")["source"].tolist() == ["sum-1", "sum-2"]
    assert store.documents(search="REFUSAL")["document"].tolist() == [2]
    assert store.documents(search="%").empty and store.documents(search="sum_1").empty
    assert store.documents(limit=1, offset=1)["source"].tolist() == ["sum-2"]


class FromFrame:
    """Answers SQL from one table in memory: what a question gives on rows that are written beside it."""

    def __init__(self, **frames):
        self.connection = duckdb.connect()
        for name, frame in frames.items():
            self.connection.register(name, frame)

    def sql(self, query, parameters=None):
        return self.connection.execute(query, parameters).df()


def test_the_most_telling_prompt_is_the_one_whose_answers_are_least_alike(store):
    said = {
        ("sums", 0): ("four", "Four!", "four and five"),  # words alike in one pair, 1 of 3 in the two others: 4/9
        ("sums", 1): ("one two", "two three", "two"),  # 1 of 3 shared, 1 of 2, 1 of 2: (2/3 + 1/2 + 1/2) / 3 = 5/9
        ("sums", 2): ("yes", "yes", "yes"),
        ("talk", 7): ("", "?", "..."),  # no words at all
    }
    rows = [
        {"task": task, "prompt": prompt, "model": model, "text": "?", "answer": answer}
        for (task, prompt), answers in said.items()
        for model, answer in zip(("base", "maths", "safety"), answers, strict=True)
    ]
    found = Answers.telling_prompts(FromFrame(answers=pd.DataFrame(rows)))
    assert found[["task", "prompt"]].values.tolist() == [["sums", 1], ["talk", 7]]
    assert found["distance"].tolist() == pytest.approx([5 / 9, 0])
    assert store.telling_prompts().values.tolist() == [["sums", 0, 1.0]]


def test_largest_kl_names_the_token(store, bare):
    row = store.largest_kl().iloc[0]
    assert (row["variant"], row["document"], row["position"], row["token"]) == ("maths", 0, 2, " two")
    assert row["kl"] == pytest.approx(0.2)
    assert store.largest_kl("safety", limit=9)["position"].tolist() == [2, 1, 0]
    assert bare.largest_kl().empty


def test_a_readable_label_is_more_striking_than_a_larger_shift():
    """The order of 'striking': claimed, then telling, then readable, then |change|."""
    common, template = 0.06, 0.4
    rows = [
        (0, "suppressed", "automatic", "spaces", -0.99, 0.01, 1.0, 0.0),
        (5, "suppressed", "automatic", "“the”, “to” (fires on most tokens)", -0.98, 0.01, 1.0, 0.0),
        (1, "amplified", "automatic", "“good” → “luck”", 0.6, 0.01, 1.25, 0.1),
        (2, "suppressed", "imported", "refusals", -0.65, 0.01, None, 0.0),
        (6, "amplified", "automatic", "“:”, “an”", 0.97, 0.01, 1.0, 0.0),
        (10, "amplified", "automatic", "“<0xab>”", 0.96, 0.01, 1.0, 0.0),  # a byte: no word of three letters
        (7, "amplified", "automatic", "“word”", 0.95, common, 1.0, 0.0),
        (8, "amplified", "automatic", "“word”", 0.94, 0.01, 0.9, 0.0),
        (9, "amplified", "automatic", "“word”", 0.93, 0.01, 1.0, template),
        (3, "steady", "imported", "names", 0.2, 0.01, 1.0, 0.0),
        (4, None, None, None, 1.0, 0.01, 1.0, 0.0),
    ]
    columns = ["feature", "verdict", "label_source", "label", "change", "density", "did_shift", "share"]
    frame = pd.DataFrame(rows, columns=columns).assign(shift=1.0, variant="x", layer=1, segment="template")
    sort = sort_expressions("s")["striking"]
    found = FromFrame(s=frame, f=frame, feature_segments=frame).sql(
        f"SELECT s.feature FROM s JOIN f USING (feature) ORDER BY {sort} DESC"
    )
    assert found["feature"].tolist() == [2, 1, 6, 10, 7, 8, 9, 0, 5, 3, 4]


def test_paired_activations_are_those_of_either_model(store):
    """Feature 1 fires once, in the base, raw 2 x norm 2; feature 0 fires on the same four tokens in both."""
    once = store.paired_activations(12, 1, "maths")
    assert once.values.tolist() == [[1, "maths", 3, 3, 4.0, 0.0]]
    both = store.paired_activations(12, 0, "maths")
    assert both["position"].tolist() == [0, 2, 4, 0]
    assert both["domain"].tolist() == ["maths"] * 3 + ["harmful"]
    assert both["base"].tolist() == both["variant"].tolist() == [3.0, 1.0, 4.0, 1.0]
    assert store.paired_activations(12, 3, "maths").empty


def test_a_place_is_counted_from_the_start_of_its_window():
    class TwoWindows:
        """One document of 10 tokens in windows of 4: 0-3, 4-7, 8-9."""

        def activations(self, layer, feature, model):
            at = {"base": [1, 5], "maths": [5, 9]}[model]
            return pd.DataFrame({"document": 6, "position": at, "value": [1.0, 2.0]})

        def sql(self, query):
            return pd.DataFrame({"document": 6, "domain": "web", "start": [0, 4, 8]})

    pairs = firings.Firings.paired_activations(TwoWindows(), 1, 2, "maths")
    assert pairs[["position", "place", "base", "variant"]].values.tolist() == [[1, 1, 1, 0], [5, 1, 2, 1], [9, 1, 0, 2]]


def test_coded_tokens_by_domain_and_place(store):
    """maths: two documents of 6 and 4 tokens, places 0 | 1, 2 | 3 to 5; harmful: one of 4."""
    rows = store.coded_tokens()
    assert rows.values.tolist() == [
        ["harmful", 0, 1, 1], ["harmful", 1, 2, 1], ["harmful", 2, 1, 1],
        ["maths", 0, 2, 2], ["maths", 1, 4, 2], ["maths", 2, 4, 2],
    ]  # fmt: skip


PAIRS = pd.DataFrame(
    {"domain": ["a", "a", "b", "b"], "place": [0, 2, 3, 6], "base": [1.0, 1.2, 0.0, 4.0], "variant": [2.9, 2.0, 3.0, 0.0]}
)


def test_density_counts_tokens_in_half_octaves():
    """1 and 1.2 lie in [1, 1.41), 2 in [2, 2.83), 2.9 and 3 in [2.83, 4), 4 in [4, 5.66)."""
    root = 2**0.5
    expected = [
        [1, root, 2, 2 * root, 1], [1, root, 2 * root, 4, 1], [4, 4 * root, 0, 0, 1], [0, 0, 2 * root, 4, 1],
    ]  # fmt: skip
    assert firings.density(PAIRS).to_numpy() == pytest.approx(pd.DataFrame(expected).to_numpy())
    assert firings.density(pd.concat([PAIRS, PAIRS]))["count"].tolist() == [2] * 4


def test_means_are_over_all_tokens_of_a_domain_or_place():
    tokens = pd.DataFrame({"domain": ["a", "a", "b", "c"], "octave": [0, 1, 2, 3], "n_tokens": [2, 8, 4, 5], "n_documents": 1})
    rows = firings.by_domain(PAIRS, tokens).set_index(["group", "model"])
    assert rows.loc[("a", "base"), "mean"] == pytest.approx(2.2 / 10)
    assert rows.loc[("a", "variant"), ["mean", "share"]].tolist() == pytest.approx([4.9 / 10, 2 / 10])
    assert rows.loc[("b", "base"), ["mean", "share"]].tolist() == pytest.approx([1.0, 1 / 4])
    assert rows.loc[("c", "variant"), ["mean", "share", "n_tokens"]].tolist() == [0, 0, 5]
    places = firings.by_place(PAIRS, tokens)
    assert places["group"].tolist() == ["0", "1–2", "3–6", "7–14"] * 2
    assert places["mean"].tolist() == pytest.approx([1 / 2, 1.2 / 8, 1.0, 0, 2.9 / 2, 2 / 8, 3 / 4, 0])
