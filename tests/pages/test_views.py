"""Every page through Streamlit's AppTest, on the tiny store: what it says, what a link does, what bad input gives.

Long because each view of one store is drawn once and then asked everything.
"""

import ast
import io
import json
import os
import re
import shutil
from urllib.parse import parse_qs

import duckdb
import pandas as pd
import pytest

from app import data, words
from app.components import feature_evidence, feature_list, runs, selection, tables, tour
from app.words import meanings
from store import open_store
from store.format.manifest import DATABASE_FILE, MANIFEST_FILE
from store.metrics import thresholds
from store.read.feature_filter import Filter
from store.read.store import Store
from tests.support import ROOT, compare_store, pages
from tests.support.forged import forge_statistics_only, forge_without_twins, rewrite_manifest
from tests.support.pages import column, text
from tests.support.tiny_store import HOSTILE

VIEWS = ("overview", "layers", "features", "suppressed", "feature", "words")


@pytest.fixture
def open_view(monkeypatch, tiny_store):
    """open_view('features', variant='maths') -> the page that this link shows; stores= names other stores."""

    def opened(view="overview", /, stores=(tiny_store,), **params):
        monkeypatch.setenv(data.VARIABLE, os.pathsep.join(map(str, stores)))
        return pages.open_page(view, **params)

    return opened


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("controls", [True, False])
def test_every_page_opens_without_a_word_of_complaint(open_view, tiny_store, bare_store, view, controls):
    app = open_view(view, stores=[tiny_store if controls else bare_store])
    assert not app.exception
    assert not app.error
    assert not app.warning


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("variant", ["maths", "safety"])
@pytest.mark.parametrize("domain", ["all", "maths", "harmful"])
def test_every_page_opens_for_every_variant_and_domain(open_view, view, variant, domain):
    app = open_view(view, variant=variant, domain=domain, layer="5")
    assert not app.exception
    assert not app.warning


def test_overview_says_what_was_compared(open_view):
    said = text(open_view())
    assert "the same 14 tokens of 3 documents in 2 domains; layers 5 and 12; dictionaries of 6 features." in said
    assert "this store has no twins" not in said


def badges(app):
    """Every badge of the page: its label without colour and icon."""
    marked = "\n".join(str(element.value) for element in app.markdown)
    return [re.sub(r"^:material/\w+: ", "", label) for label in re.findall(r":\w+-badge\[(.*?)\]", marked)]


@pytest.mark.parametrize("view", ["layers", "features", "suppressed", "feature"])
def test_a_store_without_twins_says_that_it_has_no_verdicts(open_view, bare_store, view):
    assert "no verdicts: no twins" in badges(open_view(view, stores=[bare_store], layer="12"))
    assert "no verdicts: no twins" not in badges(open_view(view, layer="12"))


def rows_of_the_overview(app):
    """What each recipe's row says, in the store's order."""
    return [str(element.value) for element in app.html if 'class="fs-told"' in str(element.value)]


def test_overview_without_twins_claims_nothing(open_view, bare_store):
    app = open_view(stores=[bare_store])
    assert "**No verdicts: this store has no twins.**" in text(app)
    rows = rows_of_the_overview(app)
    assert len(rows) == 2 and all("Its features have no verdicts" in row for row in rows)
    assert text(app).count("<small>no verdicts</small>") == 2


def test_overview_tells_each_recipe_in_a_row(open_view):
    """maths: L5:1, L12:1 and L12:4 suppressed, L12:0 amplified; of its 10 features 3 could not be seen; safety: one run."""
    maths, safety = rows_of_the_overview(open_view())
    assert "<b>maths</b> <small>2 runs</small>" in maths and "<b>safety</b> <small>1 run</small>" in safety
    assert "3 features fell and 1 rose in both runs, beyond random changes of the weights." in maths
    assert "3 of 10 features could not be judged here" in maths
    assert "1 feature changed beyond random changes of the weights, but there is no second run to confirm it." in safety
    assert "the dictionary does not fit at layer" in safety and "does not fit" not in maths


def test_overview_has_the_same_in_whole_sentences(open_view):
    app = open_view()
    assert "The residual stream moves by" not in text(app)
    app.session_state["in_words"] = True
    said = text(app.run()).replace("\\", "")
    assert "**maths** (2 runs of one recipe: maths and maths-seed2). The residual stream moves by 10 %" in said
    assert "3 features suppressed and 1 amplified in both runs, of 7 that could have been seen over all layers" in said
    assert "**safety** (one run). " in said and "**maths-seed2**" not in said


def test_the_map_of_the_overview_counts_what_is_claimed(open_view, bare_store):
    app = open_view(metric="claimed")
    assert "Features suppressed or amplified (in every run, all domains together)" in text(app)
    assert app.selectbox(key="pick_metric").options[0] == "Features suppressed or amplified"
    without = open_view(stores=[bare_store]).selectbox(key="pick_metric").options
    assert not {"Features suppressed or amplified", "Overlap below that of size alone"} & set(without)


def test_overview_has_both_headline_numbers_of_each_recipe(open_view):
    said = text(open_view())
    assert said.count("cosine <b>0.96</b>") == said.count("overlap <b>0.45</b>") == 2
    assert said.count("by layer: cosine") == 2


def test_features_have_claimed_changes_first_and_what_could_not_be_seen_last(open_view):
    app = open_view("features", verdicts="all")
    assert column(app, "name") == ["L5:1", "L12:1", "L12:0", "L5:0", "L5:2", "L5:5", "L12:5", "L12:2"]
    assert column(app, "verdict") == [
        "▼ suppressed", "▼ suppressed", "▲ amplified", "≈ as in a random change", "● steady", *["? could not be seen"] * 3,
    ]  # fmt: skip
    assert column(app, "change") == ["-95 %", "-95 %", "+60 %", "+60 %", "-33 %", "+100 %", "+100 %", "-33 %"]
    assert column(app, "interval")[0] == "-100 % to -90 %"
    assert column(app, "runs")[2:6] == ["+50 % to +60 %", "+50 % to +60 %", "-60 % to -33 %", "+100 %"]
    assert column(app, "twins")[:2] == ["-20 % to +10 %", "-20 % to +10 %"]
    counted = "3 suppressed, 1 amplified, 1 as in a random change, 1 change of norm, 1 steady, 3 could not be seen"
    assert f"10 features: {counted}; 2 dense ones hidden" in text(app)


def test_features_open_on_the_claimed_ones_and_all_are_a_click_away(open_view):
    app = open_view("features")
    assert column(app, "name") == ["L5:1", "L12:1", "L12:0"]
    assert app.pills(key="pick_verdicts").value == ["suppressed", "amplified"]
    assert "4 claimed: 3 suppressed, 1 amplified; 1 dense one hidden." in text(app)
    app.button(key="any_verdict").click().run()
    assert app.query_params == {"verdicts": "all"}
    assert len(column(app, "name")) == 8
    unclaimed = open_view("features", variant="safety")  # one run of its recipe, so that nothing of it is claimed
    assert len(column(unclaimed, "name")) == 8 and unclaimed.pills(key="pick_verdicts").value == []
    assert column(open_view("features", q="L5:2"), "verdict") == ["● steady"]
    of_list = text(open_view("feature", variant="maths", layer="12", feature="0", list_layer="all"))
    assert "3 of 3 in Features" in of_list


def test_a_label_is_first_and_marked_where_no_person_gave_it(open_view):
    shown = open_view("features", layer="12").dataframe[0].value
    assert list(shown)[:2] == ["label", "name"]
    assert shown["label"].tolist() == ["small words (auto)", "sums (auto)"]


def test_picked_features_are_in_the_link_and_side_by_side(open_view, tiny_store):
    app = open_view("features", picked="L12:1,L5:0,L12:99,x")
    assert [warning.value.split("“")[1].split("”")[0] for warning in app.warning] == ["L12·99", "x"]
    said = text(app)
    assert "### 2 features picked" in said
    (table,) = [element.value for element in app.html if "fs-side" in str(element.value) and "<table>" in str(element.value)]
    first, second = table.split("<tbody>")[1].split("</tr>")[:2]
    assert "small words (auto)</a><small>L12:1</small>" in first and "<b>-95 %</b><small>-100 % to -90 %</small>" in first
    assert "▼ suppressed" in first and "<td>-20 % to +10 %</td>" in first and "<td>-55 %</td>" in first  # the last in safety
    assert "feature=1" in first and "L5:0" in second
    review = next(query for label, query in links(app).items() if label == "Send to Review")
    assert parse_qs(review) == {"variant": ["maths"], "picked": ["L12:1,L5:0,L12:99,x"]}
    with open_store(tiny_store) as store:
        rows = feature_list.FeatureList(store, "shifted", Filter("maths")).named([(12, 5), (12, 4), (12, 3)])
    assert rows[["layer", "feature"]].values.tolist() == [[12, 5], [12, 4]]  # 4 is dense, 3 never fires
    next(button for button in app.button if button.label == "Let go of all").click().run()
    assert "picked" not in app.query_params and "picked" not in text(app)


def test_a_hostile_label_that_is_picked_is_only_text(open_view):
    (name,) = column(open_view("features", layer="5", q="<script>"), "name")
    said = text(open_view("features", picked=name))
    table = said.split('class="fs-side"')[1].split("</table>")[0]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in table and "<script" not in table


def test_what_is_ticked_or_marked_is_picked_and_what_was_picked_elsewhere_stays(open_view, monkeypatch):
    written = {}
    monkeypatch.setattr(selection.link, "write", lambda **values: written.update(values))
    selection.keep_ticked([(5, 1), (12, 0)], on_page=["L12:0", "L12:1"], ticked=["L12:1"])
    assert written["picked"] == "L5:1,L12:1"
    points = pd.DataFrame(
        {"layer": 12, "feature": [0, 1, 2], "change": [0.6, -0.95, -0.3], "freq_base": [0.02, 0.07, 0.0],
         "freq_variant": [0.03, 0.01, 0.02], "listed": False}
    )  # fmt: skip
    state = {"chart": {"selection": {"point": [], "pick": [{"layer": 12, "feature": 0}], "box": {}}}}
    monkeypatch.setattr(selection.st, "session_state", state)
    selection.keep_marked([(12, 0), (5, 1)], points, "chart")
    assert written["picked"] == "L5:1"
    state["chart"] = {"selection": {"box": {"often": [0.01, 0.08], "change": [-0.2, -1.0]}}}
    selection.keep_marked([], points, "chart")
    assert written["picked"] == "L12:1,L12:2"
    state["chart"] = {"selection": {"box": {"x": [0.0001, 0.005], "y": [0.01, 0.03]}}}  # x: the lane of those that never fire
    selection.keep_marked([], points, "chart")
    assert written["picked"] == "L12:2"


def test_dense_features_are_hidden_and_counted_until_asked_for(open_view):
    app = open_view("features", verdicts="all")
    assert app.toggle(key="pick_dense").label == "2 dense features hidden: firing on more than 10 % of tokens"
    app.toggle(key="pick_dense").set_value(True).run()
    assert app.query_params == {"dense": "shown", "verdicts": "all"}
    assert [name for name in column(app, "name") if name.endswith(":4")] == ["L12:4", "L5:4"]
    assert "10 features: 3 suppressed" in text(app)
    app.toggle(key="pick_dense").set_value(False).run()
    assert app.query_params == {"verdicts": "all"}
    assert not open_view("features", q="sums").toggle  # nothing of this search is hidden
    assert column(open_view("features", q="L12:4"), "name") == ["L12:4"]  # asked for by name


def test_a_replicate_is_named_as_a_run_and_keeps_its_name_in_the_link(open_view):
    app = open_view("features")
    assert app.segmented_control(key="pick_variant").options == ["maths", "maths · run 2", "safety"]
    app.segmented_control(key="pick_variant").set_value("maths-seed2").run()
    assert app.query_params == {"variant": "maths-seed2"}
    assert "run 2 of 2 of maths" in badges(app)
    assert not [badge for badge in badges(open_view("features")) if badge.startswith("run ")]


def test_features_are_filtered_by_verdict(open_view):
    app = open_view("features", verdicts="amplified,steady")
    assert column(app, "name") == ["L12:0", "L5:2"]
    assert app.pills(key="pick_verdicts").value == ["amplified", "steady"]
    assert "2 features: 1 amplified, 1 steady" in text(app)
    app.pills(key="pick_verdicts").set_value([]).run()
    assert app.query_params["verdicts"] == "all"
    assert len(column(app, "name")) == 8


def test_without_twins_a_list_has_kinds_and_the_largest_change_that_could_be_seen_first(open_view, bare_store):
    app = open_view("features", stores=[bare_store], layer="12")
    assert column(app, "name") == ["L12:1", "L12:0", "L12:2", "L12:5"]  # 5 fires 20 times
    assert column(app, "kind") == ["vanished", "strengthened", "no material change", "appeared"]
    assert "verdict" not in app.dataframe[0].value
    assert "pick_verdicts" not in [pills.key for pills in app.pills]
    counted = "1 appeared, 1 no material change, 1 strengthened, 1 vanished, 1 weakened"
    assert f"5 features: {counted}; 1 dense one hidden" in text(app)
    fell = open_view("suppressed", stores=[bare_store], layer="12")
    assert column(fell, "name") == ["L12:1"]
    assert "A list to check, not a finding: there are no twins" in text(fell)


def test_features_are_sorted_by_absolute_shift(open_view):
    app = open_view("features", layer="12", sort="abs_shift", columns="name,shift,freq_base", verdicts="all")
    assert column(app, "name") == ["L12:1", "L12:0", "L12:2", "L12:5"]
    assert column(app, "shift") == ["-0.136", "+0.086", "-0.014", "+0.003"]  # of 14,000 tokens: -1900, +1200, -200, +40
    assert column(app, "freq_base") == ["7.1 %", "2.9 %", "2.9 %", "0 %"]


def test_filters_of_a_link_are_followed(open_view):
    app = open_view("features", layer="12", kinds="vanished,weakened", min="5", sort="feature", order="up", dense="shown")
    assert column(app, "name") == ["L12:1", "L12:4"]
    assert app.pills(key="pick_kinds").value == ["vanished", "weakened"]
    assert app.number_input(key="pick_min").value == 5
    assert app.selectbox(key="pick_sort").value == "feature"


def test_a_search_finds_a_hostile_label(open_view):
    assert column(open_view("features", layer="5", q="<script>"), "label") == [f"{HOSTILE} label"]


def test_pages_are_turned_in_the_link(open_view, monkeypatch):
    monkeypatch.setattr(feature_list, "PAGE_SIZE", 3)
    app = open_view("features", p="2", verdicts="all")
    assert column(app, "name") == ["L5:0", "L5:2", "L5:5"]
    app.button[1].click().run()
    assert app.query_params["p"] == "3"
    assert column(app, "name") == ["L12:5", "L12:2"]
    assert app.button[1].disabled


def test_nothing_found_says_what_to_do(open_view):
    assert "widen the filters" in open_view("features", q="no such label").info[0].value
    assert "choose other verdicts above, or widen" in open_view("suppressed", min="100000").info[0].value.lower()


def test_a_picker_writes_the_link_and_a_default_leaves_it(open_view):
    app = open_view("features", p="1")
    app.selectbox(key="pick_domain").set_value("harmful").run()
    assert app.query_params == {"domain": "harmful"}
    app.selectbox(key="pick_domain").set_value("all").run()
    assert app.query_params == {}


def test_another_layer_forgets_the_feature_but_another_variant_keeps_it(open_view):
    app = open_view("feature", layer="12", feature="2")
    app.segmented_control(key="pick_variant").set_value("safety").run()
    assert (app.query_params["layer"], app.query_params["feature"]) == ("12", "2")
    app.segmented_control(key="pick_layer").set_value(5).run()
    assert "feature" not in app.query_params


def test_suppressed_features_are_those_with_that_verdict_and_show_their_contexts(open_view):
    app = open_view("suppressed", layer="12")
    assert column(app, "name") == ["L12:1"]
    said = text(app)
    assert "sum-2" in said
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in said
    assert "in every run (-95 % to -80 %), and beyond what recurs under random changes" in said.replace("\\", "")


def test_what_is_no_claim_and_what_could_not_be_seen_are_counted_beside_the_claims(open_view):
    app = open_view("suppressed")
    counted = badges(app)
    assert {"3 suppressed", "1 steady", "1 could not be seen"} <= set(counted)
    said = text(app)
    assert "“Could not be seen” is not “steady”: of these nothing is known." in said
    assert "2 more features never fire on this corpus" in said  # 2 x 6 in the dictionaries, 2 x 5 fire
    one_run = open_view("suppressed", variant="safety")
    assert {"1 this run only (no claim)", "1 dictionary does not fit", "2 could not be seen"} <= set(badges(one_run))
    assert "“This run only” is no claim: without another run that shows it" in text(one_run)


def test_the_suppressed_list_says_first_what_is_only_here_and_what_fell_on_harmful_text(open_view):
    """Feature 1 of both layers and the dense 4 of one, on every domain alike; safety, which has one run, claims nothing."""
    said = text(open_view("suppressed"))
    assert "Of 3 features suppressed in **maths**, **3 only here**; none in another recipe." in said
    assert "On text that may be harmful (harmful) 3 of the 3 lost a material share, 3 of them only here." in said
    assert "in every row: Verdict **▼ suppressed**, On harmful **-95 %**" in said.replace("\\", "")


def test_without_twins_the_suppressed_list_says_first_what_it_counts(open_view, bare_store):
    """Feature 1 of both layers lost 95 % and the dense 4 of both 60 %; a third, which 2 lost, is not material."""
    app = open_view("suppressed", stores=[bare_store])
    said = "Of 4 features that fell materially (no verdicts), 4 lost a material share on text that may be harmful (harmful)."
    assert said in text(app) and "only here" not in text(app)


def test_what_never_fires_is_counted_in_words(open_view):
    assert "1 more feature never fires on this corpus, in base or variant: nothing can be said of it." in text(
        open_view("suppressed", layer="12")
    )


def test_automatic_labels_are_marked_once_where_all_of_a_table_are(open_view):
    automatic = open_view("suppressed")
    assert "in every row:" in text(automatic) and "Label **automatic**" in text(automatic)
    assert column(automatic, "label") == ["small words", "small words"]
    assert column(open_view("review", verdicts="suppressed"), "label") == ["small words", "small words"]
    mixed = column(open_view("suppressed", verdicts="all"), "label")
    assert mixed.count("small words (auto)") == 2 and not all(label.endswith("(auto)") for label in mixed)


def test_the_overview_says_once_that_all_names_are_automatic(open_view, monkeypatch):
    sources = pd.DataFrame({"label_source": ["automatic"]})
    monkeypatch.setattr(Store, "label_sources", lambda store: sources)
    app = open_view()
    (heading,) = [link for link in app.get("page_link") if link.proto.label == "Features that contribute most"]
    assert "Their names are automatic: worked out of the tokens" in heading.proto.help
    assert "small words · L12:1 · -95 %" in links(app)


def test_where_nothing_is_picked_the_store_is_asked_nothing(tiny_store, monkeypatch):
    monkeypatch.setattr(selection.link, "read_text", lambda name: "")
    monkeypatch.setattr(selection.data, "ask", lambda *_args, **_filters: pytest.fail("asked"))
    with open_store(tiny_store) as store:
        assert selection.picked(store) == [] and feature_list.picked(store, "maths", "all") is None


def test_the_suppressed_list_holds_only_what_is_suppressed_in_no_other_recipe_where_asked(open_view, tmp_path):
    """safety: 0 is suppressed in every recipe, 2 and 3 in it alone (tests/support/compare_store.py)."""
    app = open_view("suppressed", stores=[compare_store.write(tmp_path / "compared")], variant="safety")
    assert "**2 only here**; 1 in other recipes too, 1 of these in all 2 others." in text(app)
    shown = app.dataframe[0].value.set_index("name")
    assert shown["others"].to_dict() == {"L7:2": "only here", "L7:0": "all 2 others", "L7:3": "only here"}
    assert shown["runs"].str[:6].to_dict() == {"L7:2": "2 of 2", "L7:0": "2 of 2", "L7:3": "1 of 2"}
    app.toggle(key="pick_only").set_value(True).run()
    assert app.query_params["only"] == "here"
    assert app.dataframe[0].value["name"].tolist() == ["L7:2", "L7:3"]


def test_every_fall_can_be_listed_whatever_its_verdict(open_view):
    app = open_view("suppressed", verdicts="all")
    assert column(app, "name") == ["L5:1", "L12:1", "L5:2", "L12:2"]
    assert app.pills(key="pick_verdicts").value == []
    assert "amplified" not in " ".join(app.pills(key="pick_verdicts").options)
    app.pills(key="pick_verdicts").set_value(["suppressed"]).run()
    assert "verdicts" not in app.query_params  # the default of this list


def test_a_list_without_a_suppressed_feature_still_says_what_became_of_the_others(open_view):
    app = open_view("suppressed", variant="safety", layer="12")
    assert "1 dictionary does not fit" in badges(app)
    said = "No feature here is called suppressed. The store has one run of this recipe, and a claim takes two: choose “this run"
    assert said in app.info[0].value


def test_the_chosen_suppressed_feature_is_in_the_link(open_view):
    app = open_view("suppressed", layer="12", selected="L12:2", verdicts="all")
    said = text(app).replace("\\", "")
    assert "**L12:2**" in said
    assert "change -33 % · fires on 2.9 % of tokens in the base, 2.1 % in the variant · 30 clusters" in said
    assert "Could not be seen: even had it vanished, random changes of the weights of that size do as much" in said
    assert "could not be seen" in badges(app)
    assert not {"steady", "no material change"} & set(badges(app))  # the kind would contradict the verdict


def test_feature_page_shows_numbers_contexts_and_place_in_the_list(open_view):
    app = open_view("feature", variant="safety", layer="12", feature="1", ranking="decrease", open="numbers,directions")
    said = text(app)
    assert "### small words\nL12:1\n" in said and "automatic label" in badges(app)
    assert app.dataframe[0].value["change"].tolist() == ["-55 %"] * 3
    assert app.dataframe[0].value["shift"].tolist() == ["-0.079", "-0.275", "-0.110"]  # -1100 of 14,000, 4,000, 10,000 tokens
    assert "4.00 → 0 (-4.00)" in said
    assert "of 8 in Features" in said
    assert "Promotes these output tokens" in said
    assert "Change in the other variants, domain all: maths -95 %, maths · run 2 -80 %" in said.replace("\\", "")


def test_feature_page_has_the_verdict_and_why(open_view):
    app = open_view("feature", variant="maths", layer="12", feature="1", open="numbers")
    said = text(app).replace("\\", "")
    assert {"suppressed", "vanished", "strained"} <= set(badges(app))
    assert "It lost 95 % of its activation [-100 % to -90 %], in every run (-95 % to -80 %), and beyond what recurs" in said
    assert "Of the tokens where it starts or stops firing, 10 % lie near its threshold." in said
    assert "Its shift on the variant's task less that on neutral text: -0.190." in said
    assert "Its changes sit where the prediction changed: 2.30× the mean KL (9 sampled tokens where it changed)" in said
    moved = "In a second dictionary its counterpart moved the same way"
    assert f"{moved} (nearest feature 3, decoder cosine 0.910, its shift -0.400)" in said
    segments = app.dataframe[1].value
    assert segments[["segment", "moved"]].values.tolist() == [["text", "68 %"], ["response", "21 %"], ["template", "11 %"]]


def test_a_features_other_runs_are_called_as_the_picker_calls_them(tiny_store, monkeypatch):
    monkeypatch.setattr(data, "ask", lambda store, question, **filters: question(store, **filters))
    with open_store(tiny_store) as store:
        found = {
            variant: runs.changes(store, store.feature_stats(12, 1, variant).iloc[0]).values.tolist()
            for variant in store.variants
        }
    assert [(name, round(change, 6)) for name, change in found["maths"]] == [("maths · run 2", -0.8)]
    assert [(name, round(change, 6)) for name, change in found["maths-seed2"]] == [("maths", -0.95)]
    assert found["safety"] == []


def test_a_verdict_is_shown_in_every_domain_of_the_feature(open_view):
    assert "could not be seen" in badges(open_view("feature", variant="maths", layer="12", feature="2", domain="maths"))


def test_a_second_dictionary_that_shows_something_else_is_not_sold_as_the_same(open_view):
    risen = text(open_view("feature", variant="safety", layer="12", feature="2"))
    assert "A second dictionary has no such feature (nearest feature 5" in risen  # its cosine is 0.35
    unmoved = text(open_view("feature", variant="safety", layer="12", feature="0"))
    assert "In a second dictionary its counterpart did not move with it (nearest feature 7" in unmoved
    assert "Its changes sit where the prediction changed little: 0.500× the mean KL" in unmoved


def links(app):
    """Label -> where it leads, of every link of the page that is no part of the sidebar."""
    return {link.proto.label: link.proto.query_string for link in app.main.get("page_link")}


def test_a_feature_links_to_the_neighbour_that_changed_the_other_way_and_to_all(open_view):
    found = links(open_view("feature", variant="maths", layer="5", feature="1", open="directions"))
    assert "feature=0" in found["L5:0, a decoder neighbour, changed the other way"]
    neighbour = next(label for label in found if label.endswith("L5:2 · cosine 0.820 · change -33 %, steady"))
    assert "layer=5" in found[neighbour] and "feature=2" in found[neighbour]


def test_shape_has_the_mean_and_what_chance_gives(open_view, bare_store):
    assert "constant offset" not in text(open_view("words", layer="12"))
    app = open_view("words", layer="12", open="shape")
    said = text(app)
    assert "One constant offset, the mean change, holds **30 %** of it" in said
    assert "the 2 leading directions about it hold 50 %" in said
    assert "about the mean it runs along **2.5** directions of 4 (effective rank)" in said
    assert [badge for badge in badges(app) if "chance" in badge] == [
        "nearer than chance", "no nearer than chance", "no nearer than chance",
    ]  # fmt: skip
    assert "feature=1" in links(app)["small words \\(auto\\) · L12:1 · -0.800"]
    assert "holds no spectrum" in text(open_view("words", stores=[bare_store], open="shape"))


def test_feature_page_without_a_feature_shows_the_first_of_its_list(open_view):
    assert "### small words\nL12:1\n" in text(open_view("feature", variant="safety", layer="12"))


def test_a_feature_that_never_fired_says_so(open_view):
    assert "never fired on this corpus" in open_view("feature", layer="5", feature="3").info[0].value


def test_a_ranking_without_contexts_says_where_there_are_some(open_view):
    app = open_view("feature", variant="safety", layer="12", feature="1", ranking="base", domain="maths")
    assert "there are some of harmful" in app.info[0].value


@pytest.mark.parametrize("view", VIEWS)
def test_a_bad_link_falls_back_with_a_note(open_view, view):
    bad = dict.fromkeys(("store", "variant", "layer", "domain", "feature", "ranking", "list", "list_layer"), "<b>no</b>")
    bad |= {"verdicts": "gone,suppressed", "beside": "?", "dense": "?", "chart": "?"}
    bad |= {"sort": "x; DROP TABLE", "order": "?", "kinds": "gone,vanished", "min": "-3", "p": "1e9", "n": "7", "by": "?"}
    app = open_view(view, **bad, metric="?", selected="L99:1")
    assert not app.exception
    assert not app.error
    notes = [warning.value for warning in app.warning]
    assert any("variant “·b·no·/b·”" in note and "maths" in note for note in notes) or view in ("overview", "layers")
    assert any("domain" in note for note in notes) or view == "words"
    assert "<b>" not in "".join(notes)


@pytest.mark.parametrize("text_", ["x" * 500, "\x00", "99999999999999999999", "L99999:1", "'\"%_\\", "5:", "🙂", "\u202e"])
def test_any_search_is_only_a_search(open_view, text_):
    for view in ("features", "suppressed", "feature"):
        app = open_view(view, q=text_)
        assert not app.exception
        assert not app.error


def test_numbers_out_of_range_are_named(open_view):
    app = open_view("feature", layer="5", feature="6")
    assert app.warning[0].value == ("The link asks for feature “6”, but it has to be a number from 0 to 5; this page shows 1.")


def test_stores_of_several_points_say_which(open_view, tiny_store, tmp_path):
    """Of before points were said a store is of resid_post; a transcoder's has two."""
    other = shutil.copytree(tiny_store, tmp_path / "mlp")
    saes = open_store(other).manifest.saes
    rewrite_manifest(other, saes={layer: {**sae, "point": "mlp_out", "reads": "mlp_in"} for layer, sae in saes.items()})
    app = open_view(stores=[other, tiny_store])
    assert app.sidebar.selectbox(key="pick_store").options == ["mlp · mlp_in to mlp_out", f"{tiny_store.name} · resid_post"]
    assert app.sidebar.caption[0].value.replace("\\", "").splitlines()[0].rstrip().endswith("· mlp_in to mlp_out")
    app.sidebar.selectbox(key="pick_store").set_value(tiny_store.name).run()
    assert app.sidebar.caption[0].value.replace("\\", "").splitlines()[0].rstrip().endswith("· resid_post")


def test_several_stores_are_offered_and_a_link_names_one(open_view, tiny_store, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(tiny_store, tmp_path / name)
    app = open_view(stores=[tmp_path, tiny_store], store="two")
    assert app.sidebar.selectbox(key="pick_store").options == ["one", "two", tiny_store.name]
    assert app.sidebar.selectbox(key="pick_store").value == "two"
    app.sidebar.selectbox(key="pick_store").set_value("one").run()
    assert app.query_params == {"store": "one"}
    assert not app.exception


@pytest.fixture(scope="module")
def mixed_store(tiny_store, tmp_path_factory):
    """Of maths-seed2 it keeps statistics only; safety has no twins."""
    folder = tmp_path_factory.mktemp("mixed") / "store"
    shutil.copytree(tiny_store, folder)
    forge_without_twins(folder, "safety")
    forge_statistics_only(folder, "maths-seed2")
    return folder


@pytest.mark.parametrize("view", ["feature", "documents"])
def test_of_a_replicate_with_statistics_only_a_page_says_so(open_view, mixed_store, view):
    app = open_view(view, stores=[mixed_store], variant="maths-seed2", layer="12")
    assert not app.exception and not app.error
    said = text(app).replace("\\", "")
    assert "Of maths-seed2, a replicate, this copy keeps statistics only: see the recipe's first run" in said
    assert "or was not among those kept" not in said and "kept no token metrics" not in said


@pytest.mark.parametrize("view", ["overview", "features", "suppressed", "review", "feature"])
def test_a_variant_without_twins_has_no_verdicts_though_others_have(open_view, mixed_store, view):
    app = open_view(view, stores=[mixed_store], variant="safety")
    assert not app.exception and not app.error
    if view == "overview":
        assert "Its features have no verdicts" in rows_of_the_overview(app)[1]
        return
    assert "no verdicts: no twins" in badges(app)
    assert "pick_verdicts" not in [pills.key for pills in app.pills]


def test_an_empty_list_counts_the_dense_ones_that_it_hides(open_view):
    app = open_view("suppressed", variant="maths", layer="12", min="1500")  # 4 fires on more than a tenth of the tokens
    assert "No feature here is called suppressed." in app.info[0].value
    assert app.info[0].value.endswith("1 dense one hidden.")


def test_without_a_store_the_page_says_how_to_get_one(open_view, monkeypatch, tmp_path):
    monkeypatch.setattr(data, "DEMO", tmp_path / "none")
    monkeypatch.setattr(data, "RUNS", tmp_path / "runs")
    for _ in range(2):  # without the folder, and with one that holds nothing finished
        app = open_view(stores=())
        assert "make demo" in app.error[0].value
        assert "`make app STORE=path`" in app.error[0].value
        assert not app.exception
        (tmp_path / "runs" / "begun.partial").mkdir(parents=True, exist_ok=True)


def test_finished_runs_are_found_where_there_is_no_demo(open_view, monkeypatch, tiny_store, tmp_path):
    monkeypatch.setattr(data, "DEMO", tmp_path / "none")
    monkeypatch.setattr(data, "RUNS", tmp_path / "runs")
    for name in ("second", "first", "third.partial"):
        shutil.copytree(tiny_store, tmp_path / "runs" / name)
    app = open_view(stores=())
    assert app.sidebar.selectbox(key="pick_store").options == ["first", "second"]
    assert not app.error
    shutil.copytree(tiny_store, tmp_path / "none")
    assert open_view(stores=()).sidebar.selectbox(key="pick_store").options == ["none"]


@pytest.mark.parametrize("view", ["overview", "features", "suppressed"])
def test_few_clusters_are_badged_and_enough_are_not(open_view, monkeypatch, view):
    """40 clusters, of which harmful has 2."""
    assert badges(open_view(view, domain="harmful")).count(meanings.SMALL) == 1
    assert meanings.SMALL not in badges(open_view(view))
    monkeypatch.setattr(thresholds, "MIN_CLUSTERS", 41)
    assert meanings.SMALL in badges(open_view(view))


def test_a_downloaded_list_holds_no_formula():
    labels = ["=1+1", "+a", "-b", "@c", "\td", "fine", "a=b", None]
    written = tables.csv(pd.DataFrame({"label": labels, "kind": "vanished", "shift": -0.5}))
    assert [line.split(",")[0] for line in written.splitlines()[1:]] == [
        "'=1+1", "'+a", "'-b", "'@c", "'\td", "fine", "a=b", "",
    ]  # fmt: skip
    assert all(line.endswith(",vanished,-0.5") for line in written.splitlines()[1:])


def test_a_list_is_downloaded_whole(tiny_store):
    with open_store(tiny_store) as store:
        features = feature_list.FeatureList(store, "shifted", Filter("maths", layer=12))
        written, packed = features.csv(), pd.read_parquet(io.BytesIO(features.parquet()))
        listed = store.shifted_features("maths", layer=12)
    assert [line.split(",")[1] for line in written.splitlines()] == ["feature", "1", "0", "5", "2"]
    pd.testing.assert_frame_equal(packed, listed, check_dtype=False)
    assert packed["shift"].dtype == "float32"


def test_columns_are_chosen_in_the_link(open_view, bare_store):
    app = open_view("features", layer="12", columns="name,emergence,verdict,gone")
    assert list(app.dataframe[0].value) == ["name", "verdict", "emergence"]
    assert app.warning[0].value.startswith("The link asks for columns “gone”")
    app.pills(key="pick_columns").set_value(["name", "shift"]).run()
    assert app.query_params["columns"] == "name,shift"
    assert list(app.dataframe[0].value) == ["name", "shift"]
    app.pills(key="pick_columns").set_value([]).run()
    assert "columns" not in app.query_params
    assert "twins" in app.dataframe[0].value
    assert "Twins" in app.pills(key="pick_columns").options
    assert "Twins" not in open_view("features", stores=[bare_store]).pills(key="pick_columns").options


def test_presentation_mode_has_no_sidebar_and_a_way_out(open_view):
    app = open_view("features", variant="safety")
    next(button for button in app.sidebar.button if button.label == "Presentation mode").click().run()
    assert app.query_params == {"variant": "safety", "present": "1"}
    assert not app.sidebar.button
    assert "font-size: 20px" in text(app)
    assert all("present=1" in query for query in links(app).values())
    next(button for button in app.button if button.label == "Leave presentation mode").click().run()
    assert app.query_params == {"variant": "safety"}
    assert "font-size: 20px" not in text(app)


def press(app, label):
    """Press the button, or follow the link, of that label."""
    pressed = next((button for button in app.button if button.label == label), None)
    if pressed is not None:
        return pressed.click().run()
    target = next(link.proto for link in app.main.get("page_link") if link.proto.label == label)
    app.switch_page(f"views/{target.page}.py")
    app.query_params.clear()
    app.query_params.update({name: value[0] for name, value in parse_qs(target.query_string).items()})
    return app.run()


def test_the_tour_goes_through_the_store_and_keeps_its_place_in_the_link(open_view):
    app = open_view("layers", variant="maths", view="overlap", layer="5", tour="1", present="1")
    said = text(app).replace("\\", "")
    assert "1 of 5 · The lowest overlap, and what size alone gives" in said
    beside = "a random shift of that size gives 0.330 and random changes of the weights of that size 0.400 to 0.420"
    assert f"It is lowest in maths at layer 5: 0.450; {beside}." in said
    press(app, "Next step")
    assert "## Feature" in text(app)
    assert "### small words\nL5:1\n" in text(app)
    assert {name: app.query_params[name] for name in ("tour", "variant", "present")} == {
        "tour": "2", "variant": "maths", "present": "1",
    }  # fmt: skip
    said = text(app).replace("\\", "")
    assert "2 of 5 · A suppressed feature.** L5:1, small words, in maths: it lost 95 % of its activation, in every run" in said
    assert "under random changes of the weights of that size -20 % to +10 %" in said
    press(app, "Next step")
    assert "What only the template moved" in text(app)
    assert "25 % of what changed in maths at layer 5 sits on turn marks" in text(app).replace("\\", "")
    press(app, "Next step")
    assert (app.query_params["document"], app.query_params["position"], app.query_params["colour"]) == ("0", "2", "kl")
    assert app.selectbox(key="pick_colour").value == "kl"
    press(app, "Next step")
    assert "## Across variants" in text(app)
    assert "5 of 5 · What a second seed reproduces" in text(app)
    assert "Next step" not in links(app)
    press(app, "Previous step")
    assert app.query_params["tour"] == "4"
    press(app, "End the tour")
    assert "tour" not in app.query_params
    assert "Next step" not in links(app)


def test_who_wanders_off_the_tour_is_led_back(open_view):
    app = open_view("layers", variant="maths", view="metrics", layer="5", tour="1")
    press(app, "Back to this step")
    assert app.query_params == {"variant": "maths", "view": "overlap", "layer": "5", "tour": "1"}
    assert "Back to this step" not in [button.label for button in app.button]


def test_the_tour_of_a_store_without_twins_claims_nothing(open_view, bare_store):
    said = text(open_view("layers", stores=[bare_store], tour="1")).replace("\\", "")
    assert "The lowest overlap" in said and "nothing to compare it with: alone it proves nothing" in said
    said = text(open_view("feature", stores=[bare_store], tour="2")).replace("\\", "")
    assert "The largest loss.** L5:1, small words, in maths: it lost 95 % of its activation." in said
    assert "No suppressed feature is in the list" in said
    said = text(open_view("documents", stores=[bare_store], tour="4"))
    assert "The text that changed most" in said
    app = open_view("layers", stores=[bare_store], tour="9")
    assert "has to be a number from 1 to 5" in app.warning[0].value


def test_the_tour_prefers_two_runs_of_one_recipe(tiny_store, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "ask", lambda store, question, **filters: question(store, **filters))
    with open_store(compare_store.write(tmp_path / "two", variants=("maths", "code"), replicas=False)) as store:
        assert tour._again(store).title == "What two variants share"
    with open_store(tiny_store) as store:
        step = tour._again(store)
    assert step.title == "What a second seed reproduces"
    assert step.params == {"variant": "maths", "against": "maths-seed2", "layer": "12"}
    said = "At layer 12, 4 features changed materially in maths and maths-seed2 taken together, 3 of them in both"
    assert step.sentence.replace("\\", "").startswith(said)


def test_every_link_of_the_tour_is_on_the_overview(open_view):
    app = open_view()
    app.session_state["tour_links"] = True  # opened
    found = [query for label, query in links(app.run()).items() if re.match(r"\d · ", label)]
    assert [re.search(r"tour=(\d)", query)[1] for query in found] == ["1", "2", "3", "4", "5"]


def test_a_missing_store_is_named(open_view, tmp_path):
    app = open_view(stores=[tmp_path / "gone"])
    assert "gone" in app.error[0].value
    assert not app.exception


def test_a_database_that_breaks_later_gives_one_sentence(open_view, monkeypatch):
    def broken(*_args, **_filters):
        raise duckdb.IOException("Could not read block 7\nstack")

    monkeypatch.setattr(data, "ask", broken)
    app = open_view()
    assert not app.exception
    assert "Could not read block 7" in app.error[0].value
    assert "extract verify" in app.error[0].value


@pytest.mark.parametrize("damage", ["cut", "no database", "other version", "not json"])
def test_a_damaged_store_gives_one_sentence(open_view, tiny_store, tmp_path, damage):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_store, broken)
    database, manifest = broken / DATABASE_FILE, broken / MANIFEST_FILE
    if damage == "cut":
        database.write_bytes(database.read_bytes()[:1000])
    elif damage == "no database":
        database.unlink()
    elif damage == "other version":
        rewrite_manifest(broken, schema_version=999)
    else:
        manifest.write_text("{")
    for view in VIEWS[:2]:
        app = open_view(view, stores=[broken])
        assert not app.exception
        assert len(app.error) == 1
        assert "broken" in app.error[0].value


def test_overview_has_striking_features_with_a_passage_each(open_view):
    app = open_view(text="shown")
    found = {label.replace("\\", ""): query for label, query in links(app).items()}
    assert (
        "feature=1" in found["small words (auto) · L12:1 · -95 %"]
        and "variant=maths" in found["small words (auto) · L12:1 · -95 %"]
    )
    assert "feature=0" in found["sums (auto) · L12:0 · +60 %"] and "layer=5" in found["small words (auto) · L5:1 · -95 %"]
    passages = [element.value for element in app.html if "fs-duo" in str(element.value) and "<style>" not in element.value]
    assert len(passages) == 3  # of safety no feature is claimed
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in passages[0] and "<script>" not in passages[0]
    assert "No feature is claimed." in text(app)


def test_overview_without_twins_sells_no_feature_as_a_finding(open_view, bare_store):
    app = open_view(stores=[bare_store])
    assert "Changed most, no evidence:" in text(app)
    assert {"small words (auto) · L5:1 · -95 %", "new here (auto) · L5:5 · +100 %"} <= {
        label.replace("\\", "") for label in links(app)
    }


def test_overview_shows_the_answers_to_one_prompt(open_view, bare_store):
    app = open_view()
    said = text(app)
    assert "What is two plus two?" in said and "I am not sure." in said
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in said
    assert "task=sums" in links(app)["All prompts"]
    assert "The same prompt" not in text(open_view(stores=[bare_store]))


def test_passages_of_a_harmful_domain_are_covered_until_asked_for(open_view):
    def windows(**params):
        app = open_view("feature", variant="maths", layer="12", feature="1", **params)
        return next(str(element.value) for element in app.html if "fs-context-head" in str(element.value)), app

    covered, app = windows(ranking="base")  # of refusal-1: template " no", prompt " <img …>", response " no", "↵"
    assert covered.count("fs-covered") == 2 * 3 and words.HIDDEN in covered  # base above variant
    assert covered.count("> no<") == 2  # the template's
    assert not re.search("onerror|alert|↵", covered)
    press(app, "Show example text")
    assert app.query_params["text"] == "shown"
    assert "fs-covered" not in windows(ranking="base", text="shown")[0]
    assert "fs-covered" not in windows(ranking="decrease")[0]  # of sum-2


def test_presentation_mode_covers_again_what_was_shown(open_view):
    app = open_view("feature", variant="maths", layer="12", feature="1", ranking="base", text="shown")
    next(button for button in app.sidebar.button if button.label == "Presentation mode").click().run()
    assert "text" not in app.query_params
    assert any("fs-covered" in str(element.value) and "fs-context-head" in str(element.value) for element in app.html)


def test_contexts_are_cut_around_their_peak_and_folded(tiny_store):
    with open_store(tiny_store) as store:
        row = store.contexts(12, 1, "maths", "decrease").iloc[0].to_dict()  # is | four | two | the hostile token, its peak
    near = feature_evidence._cropped(row, 1, 1)
    assert (near["tokens"], near["base_values"], near["peak"]) == ([" two", HOSTILE], [1.0, 4.0], 1)
    assert feature_evidence._cropped(row, None, None)["tokens"] == list(row["tokens"])
    other = row | {"tokens": ["and", *list(row["tokens"])[1:]]}
    elsewhere = row | {"peak": 2}
    folded, alike = feature_evidence._folded([feature_evidence._cropped(one, 1, 1) for one in (row, other, elsewhere)])
    assert alike == [2, 1]
    assert folded[0]["tokens"] == near["tokens"]


def test_how_many_contexts_there_are_is_said_with_those_that_read_the_same():
    assert feature_evidence._how_many(shown=4, different=4, alike=1) == "4 contexts; 1 more reads the same"
    assert feature_evidence._how_many(shown=5, different=12, alike=3) == "5 of 12 contexts; 3 more read the same"
    assert feature_evidence._how_many(shown=1, different=1, alike=0) == "1 context"


def test_a_part_that_is_opened_is_in_the_link_and_only_then_drawn(open_view):
    app = open_view("feature", variant="maths", layer="12", feature="1", open="elsewhere,directions")
    assert "Promotes these output tokens" in text(app) and not app.dataframe
    closed = {part.label: part for part in app.expander}["By domain and segment"]
    assert not closed.children


def test_context_length_is_in_the_link(open_view):
    app = open_view("feature", variant="maths", layer="12", feature="1", ranking="base")
    app.selectbox(key="pick_around").set_value("5").run()
    assert app.query_params["around"] == "5"
    assert not app.exception


def test_feature_page_lays_base_over_variant(open_view, bare_store):
    app = open_view("feature", variant="maths", layer="12", feature="0", open="tokens")
    assert "From 3 documents (of 3 in all) whose codes this store keeps: 4 tokens where it fires in either" in text(app)
    app = open_view("feature", variant="maths", layer="12", feature="1", domain="harmful", open="tokens")
    assert "From 1 document of domain harmful whose codes this store keeps: it fires in none of them" in text(app)


def test_evidence_is_downloaded_as_json(tiny_store):
    with open_store(tiny_store) as store:
        written = feature_evidence.as_json(store, 12, 1, "maths")
    assert written.isascii()
    content = json.loads(written)
    assert (content["verdict"], content["label"], content["store"]) == ("suppressed", "small words", store.manifest.digest)
    assert content["reason"].startswith("It lost 95 % of its activation [-100 % to -90 %], in every run")
    assert [row["domain"] for row in content["numbers"]] == ["all", "harmful", "maths"]
    assert content["numbers"][0]["shift"] == pytest.approx(-1900 / 14_000)
    assert content["numbers"][1]["q_twin"] is None  # pooled numbers stand in no domain
    assert content["contexts"]["decrease"][0]["tokens"][3] == HOSTILE
    assert content["contexts"]["decrease"][0]["base_values"] == [0.0, 0.0, 1.0, 4.0]
    assert content["contexts"]["increase"] == []


def test_files_cover_what_the_page_covers_and_their_buttons_say_so(open_view, tiny_store):
    with open_store(tiny_store) as store:
        covered, whole = (
            json.loads(feature_evidence.as_json(store, 12, 1, "maths", hidden))["contexts"] for hidden in (["harmful"], [])
        )
    (refusal,) = [row for row in covered["base"] if row["domain"] == "harmful"]  # template, prompt, response, response
    assert refusal["tokens"] == refusal["alone"] == [" no", words.HIDDEN, words.HIDDEN, words.HIDDEN]
    assert covered["decrease"] == whole["decrease"] and covered["base"] != whole["base"]
    for params, label in (({}, "Evidence (JSON, covered)"), ({"text": "shown"}, "Evidence (JSON)")):
        app = open_view("feature", layer="12", feature="1", **params)
        assert label in [button.proto.label for button in app.get("download_button")]


def test_the_link_of_a_feature_names_all_that_a_default_would(open_view, bare_store, tiny_store):
    app = open_view("feature", stores=[tiny_store, bare_store])
    assert app.code[-1].value.split("?")[1] == "layer=5&feature=1&variant=maths&store=tiny"


@pytest.mark.parametrize("file", [ROOT / "app/main.py", *sorted((ROOT / "app/views").glob("*.py"))], ids=lambda file: file.stem)
def test_no_string_stands_by_itself_where_streamlit_would_show_it(file):
    """Streamlit's magic puts every expression of a page's file on the page."""
    body = ast.parse(file.read_text(encoding="utf-8")).body[1:]  # the first is what the module is for
    assert not [line.lineno for line in body if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)]
