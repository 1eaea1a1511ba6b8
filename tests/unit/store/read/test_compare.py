"""Questions across variants on stores of hand-written numbers, and the page that asks them."""

import math
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from app import data
from app.charts import variant_charts
from app.words import comparison
from store import UserError, open_store
from store.format.manifest import Manifest
from store.format.writer import PILOT_FILE, StoreWriter
from store.metrics.ranks import spearman
from store.read.changes import tasks_of
from tests.support import pages

HOSTILE = "<script>alert(1)</script>"
VARIANTS = ("maths", "code", "safety", "safety-seed2")
D_SAE = 10
FLOOR = 0.5
SUP, AMP, NOISE, BLIND = "suppressed", "amplified", "within noise", "untestable"

# Layer 7, feature -> (shift, verdict) of maths, code, safety, safety-seed2; None: no row. Feature 9 never fires.
LAYER_7 = {
    0: ((-4.0, SUP), (-3.0, SUP), (-2.0, SUP), (-2.5, SUP)),  # every task, down
    1: ((3.0, AMP), (0.1, NOISE), (-0.1, NOISE), (0.0, NOISE)),  # maths alone
    2: ((0.2, NOISE), (-0.2, NOISE), (-5.0, SUP), (-4.5, SUP)),  # safety alone, both runs
    3: ((0.3, NOISE), (0.1, NOISE), (-1.5, SUP), (-0.4, NOISE)),  # safety alone, one run
    4: ((2.0, AMP), (-2.0, SUP), (0.05, NOISE), (0.05, NOISE)),  # maths and code, opposite
    5: ((0.2, NOISE), (0.0, NOISE), (1.0, AMP), (-1.2, SUP)),  # safety alone, its runs opposite
    6: ((1.5, AMP), (0.3, NOISE), (1.4, AMP), (0.5, NOISE)),  # maths and one run of safety, up
    7: ((0.9, BLIND), (0.8, BLIND), (0.7, BLIND), (0.9, BLIND)),
    8: (None, (0.6, NOISE), None, None),  # fires in code alone
}
# Layer 3, feature -> (shift, std_shift, shift_isotropic) of maths and of code; nothing was called there.
LAYER_3 = {
    0: ((-2.0, -1.0, 0.1), (-1.0, -1.0, 0.4)),
    1: ((0.0, None, 0.2), (0.0, 0.0, 0.3)),
    2: ((1.0, 2.0, 0.3), None),
    3: ((3.0, 1.0, 0.4), (2.0, 3.0, 0.1)),
}
# Layer 7's second dictionary, safety: feature -> (cosine, the counterpart's shift).
REPLICAS = {
    0: (0.9, -1.8), 1: (0.95, -0.05), 2: (0.8, -0.3), 3: (0.5, -1.0), 4: (0.3, 1.0), 5: (0.75, -0.2), 6: (0.71, 0.6),
    7: (0.72, 0.0),
}  # fmt: skip


def write(folder, variants=VARIANTS, evidence=True, replicas=True, settings=None):
    """A store of these numbers in the domains all and maths; without evidence there is no floor, noise or verdict."""
    writer = StoreWriter(folder)
    tasks = {"document": [0, 1], "source": ["a", "b"], "domain": ["maths", "harmful"], "part": -1, "first_row": -1}
    writer.load("documents", pd.DataFrame({**tasks, "n_tokens": 10, "has_codes": False}))
    rows = []
    for at, variant in enumerate(variants):
        for feature, of_variants in LAYER_7.items():
            if of_variants[at] is not None:
                shift, verdict = of_variants[at]
                found = {"verdict": verdict, "floor": FLOOR, "shift_isotropic": 0.01 * feature} if evidence else {}
                rows.append(_row(variant, 7, "all", feature, shift, shift / 2, found))
                rows.append(_row(variant, 7, "maths", feature, -shift, shift / 2, {"floor": 2.0} if evidence else {}))
        for feature, of_variants in LAYER_3.items():
            if at < 2 and of_variants[at] is not None:
                shift, std_shift, noise = of_variants[at]
                found = {"verdict": NOISE, "floor": 9.0, "shift_isotropic": noise} if evidence else {}
                rows.append(_row(variant, 3, "all", feature, shift, std_shift, found))
    writer.load("feature_stats", pd.DataFrame(rows))
    for layer in (3, 7):
        _layer(writer, layer, variants)
    if replicas:
        found = [
            {"variant": "safety", "layer": 7, "feature": feature, "replica_feature": feature + 1, "cosine": cosine,
             "freq_base": 0.1, "freq_variant": 0.1, "log_ratio": 0.0, "shift": shift, "std_shift": shift}
            for feature, (cosine, shift) in REPLICAS.items()
        ]  # fmt: skip
        writer.load("replicas", pd.DataFrame(found))
    np.savez(writer.partial / PILOT_FILE, mean=np.zeros(4))
    writer.finish(_manifest(variants, settings or {}))
    return folder


def _row(variant, layer, domain, feature, shift, std_shift, found):
    key = {"variant": variant, "layer": layer, "domain": domain, "feature": feature}
    counts = {"n_tokens": 100, "n11": 40, "n10": 10, "n01": 10, "n_documents": 30}
    means = {"mean_base": 9.0, "mean_variant": 9.0 + shift, "shift": shift, "std_shift": std_shift}
    kind = "amplified" if shift > 0 else "attenuated" if shift < 0 else "unchanged"
    return {**key, **counts, **means, "kind": kind, "magnitude_ratio": 1.0, **found}


def _layer(writer, layer, variants):
    numbers = {"d_model": 4, "d_sae": D_SAE, "n_tokens": 20, "n_sinks": 0, "median_norm": 1.0, "mean_norm": 0.9,
               "code_scale": 1.0, "self_test_fvu": 0.1, "self_test_l0": 2.0}  # fmt: skip
    names = {"layer": [layer], "hook_name": "resid", "sae": "hand", "architecture": "jumprelu"}
    writer.load("layers", pd.DataFrame({**names, **numbers}))
    labels = [f"label {feature}" for feature in range(D_SAE - 1)] + [None]
    labels[2] = HOSTILE
    writer.load(
        "features",
        pa.table({"layer": [layer] * D_SAE, "feature": list(range(D_SAE)), "decoder_norm": [1.0] * D_SAE,
                  "density": [0.1] * D_SAE, "label": labels}),
    )  # fmt: skip
    fit = [{"variant": variant, "layer": layer, "domain": "all", "fvu_base": 0.1, "fvu_variant": 0.1, "gate": "fits"}
           for variant in variants]  # fmt: skip
    writer.load("fit", pd.DataFrame(fit))
    metrics = [{"variant": variant, "layer": layer, "domain": "all", "segment": "all", "metric": "cosine",
                "control": "observed", "value": 0.9, "n_tokens": 20, "n_documents": 2} for variant in variants]  # fmt: skip
    writer.load("layer_metrics", pd.DataFrame(metrics))


def _manifest(variants, settings):
    made = {name: {"kind": "adapter", "name": name, "sha256": "1"} for name in variants}
    return Manifest(
        base={"name": "hand-base", "sha256": "0"}, variants=made, saes={}, tokenizer={}, corpus={}, settings=settings,
        packages={}, pilot={}, counts={"tokens": 20, "documents": 2, "skipped": {}}, created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("compare") / "full")


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory):
    """The same without verdicts, floors and a second dictionary."""
    return write(tmp_path_factory.mktemp("compare") / "plain", evidence=False, replicas=False)


@pytest.fixture(scope="module")
def store(folder):
    with open_store(folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def plain(plain_folder):
    with open_store(plain_folder) as opened:
        yield opened


# --- tasks -----------------------------------------------------------------------------------------------------------


def test_a_second_seed_is_a_run_of_the_same_task():
    assert tasks_of(VARIANTS, {}) == {"maths": "maths", "code": "code", "safety": "safety", "safety-seed2": "safety"}


def test_a_task_is_called_by_the_run_without_a_seed_in_its_name():
    assert tasks_of(["safety-seed2", "safety"], {}) == {"safety-seed2": "safety", "safety": "safety"}
    assert tasks_of(["x-seed1", "x-seed2"], {}) == {"x-seed1": "x-seed1", "x-seed2": "x-seed1"}


def test_variants_with_the_same_domains_given_are_one_task_whatever_they_are_called():
    given = {"lora": ["harmful", "alarming"], "full": ["alarming", "harmful"], "other": ["maths"]}
    assert tasks_of(["lora", "full", "other"], given) == {"lora": "lora", "full": "lora", "other": "other"}


def test_domains_given_go_before_names():
    assert tasks_of(["x", "x-seed2"], {"x": ["maths"], "x-seed2": ["code"]}) == {"x": "x", "x-seed2": "x-seed2"}


def test_a_seed_without_a_task_takes_that_of_its_recipe():
    given = {"x": ["maths"], "y": ["maths"], "x-seed2": []}
    assert set(tasks_of(["x", "x-seed2", "y"], given).values()) == {"x"}


def test_tasks_come_from_the_manifest(tmp_path):
    with open_store(write(tmp_path / "s", settings={"tasks": {"maths": ["maths"], "code": ["maths"]}})) as opened:
        table = opened.variant_tasks()
    assert table.values.tolist() == [["maths", "maths", 2], ["code", "maths", 2], ["safety", "safety", 2],
                                     ["safety-seed2", "safety", 2]]  # fmt: skip


# --- sets ------------------------------------------------------------------------------------------------------------


def counts(table):
    rows = table[["tasks", "extent", "count", "down", "up", "opposite"]].to_dict("records")
    return [("+".join(row.pop("tasks")), *row.values()) for row in rows]


def test_features_are_counted_by_exactly_the_tasks_they_changed_in(store):
    table = store.change_sets(layer=7)
    assert counts(table) == [
        ("safety", "one", 3, 2, 0, 1),
        ("maths", "one", 1, 0, 1, 0),
        ("maths+code", "several", 1, 0, 0, 1),
        ("maths+safety", "several", 1, 0, 1, 0),
        ("maths+code+safety", "all", 1, 1, 0, 0),
    ]
    assert set(table["rule"]) == {"verdict"}


def test_chance_is_over_the_features_that_could_have_been_called(store):
    """8 of them (0 to 6, and 8): maths called 4, code 2, safety 5."""
    expected = store.change_sets(layer=7)["expected"].tolist()
    assert expected == pytest.approx(
        [8 * 0.5 * 0.75 * 0.625, 8 * 0.5 * 0.75 * 0.375, 8 * 0.5 * 0.25 * 0.375, 8 * 0.5 * 0.75 * 0.625, 8 * 0.5 * 0.25 * 0.625]
    )


def test_every_run_of_a_task_can_be_asked_for(store):
    assert counts(store.change_sets(layer=7, runs="every")) == [
        ("maths", "one", 2, 0, 2, 0),
        ("safety", "one", 2, 1, 0, 1),
        ("maths+code", "several", 1, 0, 0, 1),
        ("maths+code+safety", "all", 1, 1, 0, 0),
    ]


def test_two_seeds_alone_are_one_task(tmp_path):
    """f0, f2, f3, f5 and f6 of the first two columns, taken for two runs: never more than one task."""
    with open_store(write(tmp_path / "s", variants=("x", "x-seed2"), replicas=False)) as opened:
        assert opened.change_sets(layer=7)["extent"].tolist() == ["one"]


def test_all_layers_are_the_sum_of_layers(store):
    """|shift| > 0.21 x floor. Layer 3 (1.89): maths 0, 3, code 3, of 4. Layer 7 (0.105): maths 0 to 7, code 0, 2, 4, 6, 7, 8,
    safety 0, 2, 3, 5, 6, 7, of 9."""
    table = store.change_sets(rule="floor", multiple=0.21)
    assert counts(table) == [
        ("maths", "one", 2, 1, 1, 0),  # L3:0, L7:1
        ("code", "one", 1, 0, 1, 0),  # L7:8
        ("maths+code", "several", 2, 0, 1, 1),  # L3:3, L7:4
        ("maths+safety", "several", 2, 0, 0, 2),  # L7:3, L7:5
        ("maths+code+safety", "all", 4, 1, 2, 1),  # L7:0, L7:2 opposite, L7:6, L7:7
    ]
    assert table["expected"].iloc[0] == pytest.approx(4 * (2 / 4) * (3 / 4) + 9 * (8 / 9) * (3 / 9) * (3 / 9))


def test_a_domain_without_verdicts_goes_by_its_floor(store):
    """Floor 2 and shift negated: maths f0 +4, f1 -3; code f0 +3; safety f2 +5; safety-seed2 f0 +2.5, f2 +4.5."""
    assert store.change_rules("maths")["rule"].tolist() == ["floor", "rms"]
    table = store.change_sets(layer=7, domain="maths")
    assert counts(table) == [
        ("maths", "one", 1, 1, 0, 0),
        ("safety", "one", 1, 0, 1, 0),
        ("maths+code+safety", "all", 1, 0, 1, 0),
    ]
    assert table[["rule", "multiple"]].drop_duplicates().values.tolist() == [["floor", 1.0]]


def test_a_store_without_a_floor_goes_by_multiples_of_the_typical_shift(plain):
    """Maths at layer 3: shifts -2, 0, 1, 3, root mean square sqrt(14 / 4) = 1.87; code: -1, 0, 2, of sqrt(5 / 3) = 1.29."""
    assert plain.change_rules().values.tolist() == [["rms", 3.0]]
    assert plain.change_sets(layer=3).empty
    assert counts(plain.change_sets(layer=3, multiple=1.5)) == [("maths+code", "several", 1, 0, 1, 0)]
    assert counts(plain.change_sets(layer=3, multiple=1.56)) == [("maths", "one", 1, 0, 1, 0)]  # 1.29 x 1.56 > 2


@pytest.mark.parametrize("question", ["change_sets", "variant_pairs"])
def test_a_rule_that_the_store_does_not_allow_is_refused(store, plain, question):
    with pytest.raises(UserError, match="cannot say by 'verdict'"):
        getattr(plain, question)(rule="verdict")
    with pytest.raises(UserError, match="cannot say by 'verdict' what changed in domain 'maths'"):
        getattr(store, question)(rule="verdict", domain="maths")
    with pytest.raises(UserError, match="no rule 'guess'"):
        getattr(store, question)(rule="guess")


def test_runs_are_any_or_every(store):
    with pytest.raises(UserError, match="any, every"):
        store.change_sets(runs="most")


def test_the_features_of_a_set_come_furthest_first_with_every_variants_shift(store):
    table = store.changed_features(["safety"], layer=7)
    assert table["feature"].tolist() == [2, 3, 5]  # |-5|, |-1.5|, |-1.2|
    assert table["direction"].tolist() == ["down", "down", "opposite"]
    assert table["label"].tolist() == [HOSTILE, "label 3", "label 5"]
    assert table["n_changed"].tolist() == [2, 1, 2]
    assert table["shift_maths"].tolist() == pytest.approx([0.2, 0.3, 0.2])
    assert table["shift_safety-seed2"].tolist() == pytest.approx([-4.5, -0.4, -1.2])
    assert table["changed_safety-seed2"].tolist() == [True, False, True]
    assert not table["changed_maths"].any()


def test_the_order_in_which_tasks_are_named_makes_no_difference(store):
    assert store.changed_features(["safety", "maths"], layer=7)["feature"].tolist() == [6]


def test_a_feature_that_fires_in_one_variant_alone_did_not_shift_in_the_others(store):
    table = store.changed_features(["code"], layer=7, rule="floor", multiple=1.1)
    assert table["feature"].tolist() == [8]
    assert table[["shift_maths", "shift_code", "shift_safety"]].values[0] == pytest.approx([0.0, 0.6, 0.0])


def test_pages_of_a_set_follow_each_other(store):
    """In every task beyond 0.105: 2 (-5), 0 (-4), 6 (1.5), 7 (0.9)."""
    asked = {"tasks": ["maths", "code", "safety"], "layer": 7, "rule": "floor", "multiple": 0.21, "limit": 1}
    assert [store.changed_features(**asked, offset=at)["feature"].tolist() for at in range(5)] == [[2], [0], [6], [7], []]


# --- pairs -----------------------------------------------------------------------------------------------------------


def test_rank_correlation_gives_ties_their_mean_rank():
    """Ranks 1, 2.5, 2.5, 4 and 1, 4, 2.5, 2.5 about 2.5: products 2.25, squares 4.5 and 4.5."""
    assert spearman(np.array([1.0, 2.0, 2.0, 4.0]), np.array([10.0, 30.0, 20.0, 20.0])) == pytest.approx(0.5)


def test_rank_correlation_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(3)
    x, y = random.integers(-4, 5, 300) / 8, random.normal(size=300).round(1)
    assert spearman(x, x + y) == pytest.approx(stats.spearmanr(x, x + y).statistic, abs=1e-12)


def test_rank_correlation_of_a_constant_or_of_two_values_is_undefined():
    assert math.isnan(spearman(np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])))
    assert math.isnan(spearman(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    assert math.isnan(spearman(np.array([]), np.array([])))


@pytest.fixture(scope="module")
def maths_and_code(store):
    """Layer 3: shifts -2, 0, 1, 3 and -1, 0, (no row: 0), 2."""
    table = store.variant_pairs(layer=3, k=50)
    return table[(table["variant_a"] == "maths") & (table["variant_b"] == "code")].iloc[0]


def test_correlation_of_shifts_counts_a_feature_silent_in_one_as_unmoved_there(maths_and_code):
    """Ranks 1, 2, 3, 4 and 1, 2.5, 2.5, 4: 4.5 / sqrt(5 x 4.5)."""
    assert maths_and_code["n"] == 4
    assert maths_and_code["spearman"] == pytest.approx(math.sqrt(0.9))
    assert not maths_and_code["same_task"]


def test_correlation_of_std_shifts_leaves_out_what_is_undefined(maths_and_code):
    """Features 0, 2, 3: -1, 2, 1 and -1, 0, 3, ranks 1, 3, 2 and 1, 2, 3: 1 - 6 x 2 / (3 x 8)."""
    assert maths_and_code["spearman_std"] == pytest.approx(0.5)


def test_correlation_under_noise_is_of_the_isotropic_control(maths_and_code, plain):
    """.1, .2, .3, .4 and .4, .3, 0, .1, ranks 1, 2, 3, 4 and 4, 3, 1, 2: 1 - 6 x 18 / (4 x 15)."""
    assert maths_and_code["spearman_noise"] == pytest.approx(-0.8)
    assert plain.variant_pairs(layer=3)["spearman_noise"].isna().all()


def test_the_most_moved_in_common_beside_chance(store, maths_and_code):
    """Maths moved 0, 2, 3 and code 0, 3: two in common, 3 x 2 / 4 by chance; of the two most moved: both, 2 x 2 / 4."""
    assert maths_and_code[["top_k", "top_shared", "top_expected"]].tolist() == [2, 2, 1.5]
    first = store.variant_pairs(layer=3, k=2).iloc[0]
    assert first[["top_k", "top_shared", "top_expected"]].tolist() == [2, 2, 1.0]
    one = store.variant_pairs(layer=7, k=1).set_index(["variant_a", "variant_b"])
    assert one.loc[("maths", "code"), "top_shared"] == 1  # feature 0 moved most in both
    assert one.loc[("maths", "safety"), "top_shared"] == 0  # feature 0, feature 2


def test_a_layer_where_a_variant_has_no_row_has_no_correlation(store):
    table = store.variant_pairs(layer=3).set_index(["variant_a", "variant_b"])
    silent = table.loc[("safety", "safety-seed2")]
    assert silent["n"] == 0
    assert math.isnan(silent["spearman"])
    assert math.isnan(silent["top_expected"])


def test_what_another_run_reproduces(store):
    """safety called 0, 2, 3, 5, 6, its second seed 0, 2, 5: 5 with the other sign; 3 and 6 moved alike without being called."""
    table = store.variant_pairs(layer=7).set_index(["variant_a", "variant_b"])
    runs = table.loc[("safety", "safety-seed2")]
    names = ["called_a", "called_b", "called_same", "called_opposite", "called_either", "signs_agree"]
    assert runs["same_task"]
    assert runs[names].tolist() == [5, 3, 2, 1, 5, 4]
    tasks = table.loc[("maths", "code")]  # 0, 1, 4, 6 and 0, 4; signs agree of 0, 1 and 6
    assert not tasks["same_task"]
    assert tasks[names].tolist() == [4, 2, 1, 1, 4, 3]


def test_pairs_of_all_layers_are_those_of_each(store):
    table = store.variant_pairs()
    pd.testing.assert_frame_equal(table[table["layer"] == 7].reset_index(drop=True), store.variant_pairs(layer=7))
    assert len(table) == 2 * 6


def test_side_by_side(store):
    table = store.side_by_side("maths", "code", layer=7, limit=3)
    assert table["feature"].tolist() == [0, 1, 4]
    assert table[["shift_a", "shift_b"]].values == pytest.approx(np.array([[-4.0, -3.0], [3.0, 0.1], [2.0, -2.0]]))
    assert table["changed_a"].tolist() == [True, True, True]
    assert table["changed_b"].tolist() == [True, False, True]
    assert table["verdict_b"].tolist() == [SUP, NOISE, SUP]
    whole = store.side_by_side("code", "safety", layer=7, limit=None)
    assert len(whole) == 9
    assert whole.loc[whole["feature"] == 8, ["shift_a", "shift_b"]].values[0] == pytest.approx([0.6, 0.0])
    assert whole["feature"].tolist() == [2, 0, 4, 3, 6, 5, 7, 8, 1]


def test_one_feature_across_variants_and_domains(store):
    table = store.feature_across(7, 0)
    assert list(zip(table["variant"], table["domain"], strict=True))[:4] == [
        ("maths", "all"), ("maths", "harmful"), ("maths", "maths"), ("code", "all"),
    ]  # fmt: skip
    assert table["shift"].tolist()[0] == -4.0
    assert math.isnan(table["shift"].tolist()[1])
    assert table["shift"].tolist()[2] == 4.0
    assert table["gate"].tolist()[0] == "fits"
    assert len(table) == 4 * 3


# --- a second dictionary ---------------------------------------------------------------------------------------------


def test_what_a_second_dictionary_shows(store):
    """Changed 0, 2, 3, 5, 6: 3 has no counterpart, 5 moved the other way, 0 and 6 beyond the floor of 0.5.

    Ranks of 0, 2, 5, 6: 2, 1, 3, 4 and 1, 2, 3, 4. Of the others 1 and 7 have one; 7's did not move.
    """
    table = store.replica_summary(7)
    assert table["variant"].tolist() == ["safety", "safety"]
    assert table[["changed", "n", "matched", "same_sign", "beyond"]].values.tolist() == [
        [True, 5, 4, 3, 2], [False, 3, 2, 1, 0],
    ]  # fmt: skip
    assert table["spearman"].iloc[0] == pytest.approx(0.8)
    assert math.isnan(table["spearman"].iloc[1])  # two pairs
    assert store.replica_layers()["layer"].tolist() == [7]


def test_a_store_without_a_second_dictionary_has_no_replicas(plain, store):
    assert plain.replica_layers().empty
    assert plain.replica_summary(7).empty
    assert store.replica_pairs("maths", 7).empty


# --- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture
def open_page(monkeypatch):
    """open_page(store, layer='7') -> the page that this link shows."""

    def opened(store, **params):
        monkeypatch.setenv(data.VARIABLE, os.fspath(store))
        return pages.open_page("compare", **params)

    return opened


def text(app):
    """Everything that the page says in words."""
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


@pytest.mark.parametrize("params", [{}, {"layer": "all"}, {"layer": "3"}, {"domain": "maths"}, {"variant": "safety-seed2"}])
def test_the_page_opens_without_complaint(open_page, folder, plain_folder, params):
    for store in (folder, plain_folder):
        app = open_page(store, **params)
        assert not app.exception
        assert not app.error
        assert not app.warning


def test_the_page_counts_tasks_and_says_what_changed_means(open_page, folder):
    said = text(open_page(folder))
    assert "7 features changed: **4** in one task only, **2** in several and **1** in all 3." in said
    assert "Of the 3 shared, 2 moved the same way wherever they changed." in said
    assert "its verdict is suppressed or amplified" in said
    assert "safety and safety\\-seed2 are runs of one task and count as one, safety: it changed a feature where any" in said


def test_the_largest_set_is_listed_until_another_is_chosen(open_page, folder):
    app = open_page(folder)
    assert app.dataframe[0].value["Feature"].tolist() == ["L7:2", "L7:3", "L7:5"]
    assert app.dataframe[0].value["safety-seed2"].tolist() == ["-4.50 ●", "-0.400", "-1.20 ●"]
    app = open_page(folder, set="maths,code,safety")
    assert app.dataframe[0].value["Feature"].tolist() == ["L7:0"]
    assert "Changed in all 3 tasks" in text(app)


def test_every_run_of_a_task_can_be_asked_for_on_the_page(open_page, folder):
    app = open_page(folder, set="safety")
    app.segmented_control(key="pick_runs").set_value("every").run()
    assert app.query_params["runs"] == "every"
    assert "set" not in app.query_params
    assert "6 features changed: **4** in one task only, **1** in several and **1** in all 3." in text(app)


def test_a_hostile_label_is_shown_as_it_is(open_page, folder):
    app = open_page(folder)  # feature 2 is the first of the list
    assert app.dataframe[0].value["Label"].tolist()[0] == HOSTILE
    assert "**L7:2** · \\<script\\>alert\\(1\\)\\</script\\>" in text(app)
    assert HOSTILE not in text(app)


def test_runs_are_told_beside_tasks(open_page, folder):
    said = text(open_page(folder))
    assert "of the 5 features that changed in safety, 40 % changed the same way in safety\\-seed2" in said
    assert "of the 3 that changed in safety\\-seed2, 67 % did in safety" in said
    assert "the two shifts have the same sign in 80 % of cases" in said
    assert "Between different tasks:" in said


def test_the_second_dictionary_is_told(open_page, folder):
    said = text(open_page(folder, variant="safety"))
    assert "4 of 5 changed features have a counterpart; 3 of these moved in the same direction, 2 of them beyond" in said
    assert "Of the features that did not change, 50 % moved in the same direction" in said
    assert "No second dictionary was read for code" in text(open_page(folder, variant="code"))
    assert "A second dictionary was read at layer 7" in text(open_page(folder, layer="3"))


def test_a_store_without_evidence_says_so(open_page, plain_folder):
    said = text(open_page(plain_folder))
    assert "This is not tested against noise" in said
    assert "where noise alone gives" not in said
    assert "name a second dictionary of a layer under `replicas`" in said


def test_all_layers_cannot_be_ranked_together(open_page, folder):
    app = open_page(folder, layer="all")
    assert [info.value.startswith("Choose one layer") for info in app.info] == [True, True]


def test_nothing_found_says_what_to_do(open_page, folder):
    said = text(open_page(folder, domain="harmful"))
    assert "No feature changed here" in said
    assert "No feature fires here in either" in said


def test_one_variant_has_nothing_to_be_compared_with(open_page, tmp_path):
    app = open_page(write(tmp_path / "one", variants=("maths",), replicas=False))
    assert "This store has one variant" in app.info[0].value
    assert not app.exception


def test_two_tasks_without_a_second_run(open_page, tmp_path):
    said = text(open_page(write(tmp_path / "two", variants=("maths", "code"), replicas=False)))
    assert "**2** in one task only and **2** in both" in said
    assert "No task was trained twice here" in said
    assert "A task of several runs" not in said


def test_a_set_of_tasks_has_a_name():
    assert comparison.tasks_name(["maths"], 3) == "maths alone"
    assert comparison.tasks_name(["maths", "code"], 3) == "maths and code"
    assert comparison.tasks_name(["maths", "code"], 2) == "maths and code"
    assert comparison.tasks_name(["maths", "code", "safety"], 3) == "all 3 tasks"


def test_only_the_largest_sets_are_drawn(monkeypatch):
    monkeypatch.setattr(variant_charts, "MOST_SETS", 2)
    rows = pd.DataFrame(
        {"set": list("abc"), "name": list("abc"), "count": [1, 5, 3], "down": 0, "up": 0, "opposite": 0, "expected": 1.0}
    )
    drawn = variant_charts.set_bars(rows, "b").to_dict()
    names = [{row["name"] for row in data} for data in drawn["datasets"].values()]
    assert names == [{"b", "c"}, {"b", "c"}]


def test_a_point_is_coloured_by_where_it_changed():
    row = {"layer": 7, "feature": 0, "name": "L7:0", "label": None, "said_a": "", "said_b": ""}
    cases = [(1.0, 2.0, True, True), (1.0, -2.0, True, True), (1.0, 0.1, True, False), (0.1, 2.0, False, True),
             (0.1, 0.1, False, False)]  # fmt: skip
    names = ["shift_a", "shift_b", "changed_a", "changed_b"]
    rows = pd.DataFrame([row | dict(zip(names, case, strict=True)) for case in cases])
    drawn = variant_charts.shift_scatter(rows, "maths", "code").to_dict()
    found = {(p["shift_a"], p["shift_b"]): p["changed_in"] for d in drawn["datasets"].values() for p in d if "changed_in" in p}
    assert found == {
        (1.0, 2.0): "both, same way", (1.0, -2.0): "both, opposite ways", (1.0, 0.1): "maths alone", (0.1, 2.0): "code alone",
        (0.1, 0.1): "neither",
    }  # fmt: skip
