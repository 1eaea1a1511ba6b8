"""Every question of store/queries.py and store/feature_lists.py on the tiny store of tests/support."""

import inspect

import pytest

from store import UserError, feature_lists, open_store, queries
from store.feature_lists import Filter
from tests.support.tiny_store import HOSTILE


@pytest.fixture(scope="module")
def store(tiny_store):
    with open_store(tiny_store) as opened:
        yield opened


def names(rows):
    return list(zip(rows["layer"].astype(int), rows["feature"].astype(int), strict=True))


def test_every_question_is_a_method(store):
    for module in (queries, feature_lists):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and next(iter(inspect.signature(function).parameters)) == "store":
                assert getattr(type(store), name) is function


def test_overview_has_the_headline_of_each_variant_and_layer(store):
    table = store.overview().set_index(["variant", "layer"])
    assert list(table.index) == [("maths", 5), ("maths", 12), ("safety", 5), ("safety", 12)]
    row = table.loc[("safety", 12)]
    assert row["cosine"] == pytest.approx(0.97 - 0.012)
    assert (row["overlap"], row["l0_base"], row["l0_variant"]) == (0.45, 2.0, 2.5)
    assert (row["n_tokens"], row["gate"]) == (14, "does not fit")
    assert table.loc[("maths", 12), "gate"] == "strained"
    assert table.loc[("maths", 5), "gate"] == "fits"
    assert store.overview(domain="nowhere").empty


def test_layer_metrics_filters_by_any_column(store):
    assert len(store.layer_metrics()) == 2 * 2 * 6 * 9
    one = store.layer_metrics(variant="maths", layer=5, domain="all", segment="prompt", metric="overlap")
    assert one[["value", "n_tokens", "control"]].values.tolist() == [[0.45, 4, "observed"]]
    assert store.controls()["control"].tolist() == ["observed"]


def test_fit_and_dictionaries(store):
    assert store.fit(variant="safety", domain="all")["gate"].tolist() == ["fits", "does not fit"]
    assert store.dictionaries()[["layer", "d_sae"]].values.tolist() == [[5, 4], [12, 4]]


def test_shifted_features_come_by_absolute_shift(store):
    rows = store.shifted_features("maths", layer=12)
    assert names(rows) == [(12, 1), (12, 0), (12, 2)]
    assert rows["shift"].tolist() == pytest.approx([-19 / 14, 7 / 14, -2 / 14])
    assert rows["kind"].tolist() == ["vanished", "amplified", "attenuated"]
    assert rows["n_base"].tolist() == [10, 4, 4]
    assert rows["n_variant"].tolist() == [1, 6, 3]
    assert rows["label"].tolist() == ["small words", "sums", f"{HOSTILE} label"]
    assert rows["gate"].unique().tolist() == ["strained"]


def test_shift_of_a_domain_is_per_token_of_that_domain(store):
    rows = store.shifted_features("maths", layer=12, domain="maths")
    assert rows["shift"].tolist() == pytest.approx([-1.9, 0.7, -0.2])


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"kinds": ("vanished",)}, [1]),
        ({"kinds": ("vanished", "amplified")}, [1, 0]),
        ({"kinds": ()}, []),
        ({"min_firings": 6}, [1, 0]),
        ({"min_firings": 7}, [1]),
        ({"direction": "down"}, [1, 2]),
        ({"direction": "up"}, [0]),
        ({"search": "2"}, [2]),
        ({"search": "SUM"}, [0]),
        ({"search": " words "}, [1]),
        ({"search": "L12:1"}, [1]),
        ({"search": "5:1"}, []),
        ({"search": "%"}, []),
        ({"search": "'; DROP TABLE features; --"}, []),
        ({"search": "<script>"}, [2]),
        ({"search": "  "}, [1, 0, 2]),
        ({"sort": "shift"}, [0, 2, 1]),
        ({"sort": "shift", "descending": False}, [1, 2, 0]),
        ({"sort": "suppression"}, [1, 2, 0]),
        ({"sort": "feature", "descending": False}, [0, 1, 2]),
        ({"limit": 1, "offset": 1}, [0]),
        ({"limit": None}, [1, 0, 2]),
    ],
)
def test_filters_of_shifted_features(store, filters, expected):
    assert store.shifted_features("maths", layer=12, **filters)["feature"].tolist() == expected


def test_ties_are_broken_by_layer_so_that_pages_never_overlap(store):
    pages = [names(store.shifted_features("maths", limit=2, offset=offset)) for offset in (0, 2, 4)]
    assert pages == [[(5, 1), (12, 1)], [(5, 0), (12, 0)], [(5, 2), (12, 2)]]


def test_missing_values_come_last_either_way(store):
    for descending in (True, False):
        rows = store.shifted_features("safety", layer=12, sort="suppression", descending=descending)
        assert rows["feature"].tolist()[-1] == 2  # The base never fires it: its suppression is null.


def test_an_unknown_sort_is_refused_by_name(store):
    with pytest.raises(UserError, match="'shift; DROP TABLE features'"):
        store.shifted_features("maths", sort="shift; DROP TABLE features")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"direction": "sideways"}, "'sideways'; choose one of down, up"),
        ({"kinds": ("vanished", "gone")}, "'gone'; choose from vanished"),
        ({"sort": "size"}, "'size'; choose one of abs_shift"),
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
    with pytest.raises(TypeError, match="sort"):
        store.suppressed_features("maths", sort="label")


def test_one_kind_is_a_choice_of_one():
    assert Filter("maths", kinds="vanished") == Filter("maths", kinds=["vanished"]) == Filter("maths", kinds=("vanished",))


def test_suppressed_features_fell_and_the_largest_fall_is_first(store):
    rows = store.suppressed_features("maths", layer=12)
    assert rows["feature"].tolist() == [1, 2]
    assert store.suppressed_features("safety", layer=12)["feature"].tolist() == [1]
    assert store.suppressed_features("safety", layer=12, kinds=("vanished",)).empty


def test_count_features_by_kind(store):
    counted = store.count_features("maths", layer=12).set_index("kind")["count"].to_dict()
    assert counted == {"amplified": 1, "attenuated": 1, "vanished": 1}
    assert store.count_features("maths", direction="down")["count"].sum() == 4
    assert store.count_features("maths", layer=12, sort="label")["count"].sum() == 3  # the order makes no difference


def test_neighbours_are_those_of_the_list(store):
    middle = store.neighbours(12, 0, "maths", layer=12).iloc[0]
    assert (middle["position"], middle["total"]) == (2, 3)
    assert (middle["previous_feature"], middle["next_feature"]) == (1, 2)
    first = store.neighbours(5, 1, "maths").iloc[0]
    assert first[["previous_feature"]].isna().all()
    assert (first["next_layer"], first["next_feature"]) == (12, 1)
    assert store.neighbours(12, 0, "maths", direction="down").empty


def test_feature_has_its_tokens_as_text(store):
    row = store.feature(12, 2).iloc[0]
    assert row["promoted_tokens"].tolist() == [HOSTILE, " no"]
    assert row["suppressed_tokens"].tolist() == [" no", " <img src=x onerror=alert(2)>"]
    assert (row["sae"], row["d_sae"], row["decoder_norm"]) == ("tiny-12", 4, 1.0)
    assert store.feature(12, 99).empty


def test_feature_stats_start_with_all_domains(store):
    rows = store.feature_stats(12, 1)
    assert rows["variant"].tolist() == ["maths"] * 3 + ["safety"] * 3
    assert rows["domain"].tolist() == ["all", "harmful", "maths"] * 2
    assert store.feature_stats(12, 1, variant="safety")["n10"].unique().tolist() == [4]
    assert store.feature_stats(12, 3).empty


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
    assert store.documents(limit=1, offset=1)["source"].tolist() == ["sum-2"]
