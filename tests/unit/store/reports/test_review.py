"""Judgements in the sidecar: there and back, history, several writers at once; and the report made of them.

Long because a review's content, page and JSON are held to the same history.
"""

import dataclasses
import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from store import open_store
from store.errors import UserError
from store.read.feature_filter import Filter
from store.reports.review import as_json, collect, list_in_words, order_in_words
from store.reports.review_page import as_html
from store.sidecar import database as sidecar_file
from store.sidecar import entries as sidecar
from store.sidecar.entries import (
    Label,
    can_write,
    labels_state,
    read_labels,
    read_reviews,
    read_steering,
    sidecar_path,
    write_labels,
    write_review,
)  # fmt: skip
from store.sidecar.reviews import MAX_NOTE, Review, disagree, standing, step
from store.sidecar.schema import VERSION
from store.sidecar.steering import Steering
from store.text import HIDDEN
from tests.support import ROOT
from tests.support.tiny_store import HOSTILE

CONCERN = Review("maths", 12, 1, "Ada", "concern", "high", "Refusals fade.")
STEERING = Steering(12, 1, "maths", "restore", 10, 212, 0.25, 0.125, -0.2, -0.05, {3: 0.3}, 4)
VERSION_1 = """
CREATE TABLE labels (
    store TEXT NOT NULL, layer INTEGER NOT NULL, feature INTEGER NOT NULL, label TEXT NOT NULL, label_source TEXT NOT NULL,
    imported TEXT NOT NULL, PRIMARY KEY (store, layer, feature)
) WITHOUT ROWID;
INSERT INTO labels VALUES ('d', 5, 1, 'small words', 'somebody', '2026-01-01T00:00:00+00:00');
PRAGMA user_version = 1;
"""
VERSION_2 = (
    VERSION_1.replace("user_version = 1", "user_version = 2")
    + """
CREATE TABLE steering (
    store TEXT NOT NULL, layer INTEGER NOT NULL, feature INTEGER NOT NULL, variant TEXT NOT NULL, mode TEXT NOT NULL,
    n_contexts INTEGER NOT NULL, n_positions INTEGER NOT NULL, kl_before REAL NOT NULL, kl_after REAL NOT NULL, low REAL,
    high REAL, controls TEXT NOT NULL, seed INTEGER NOT NULL, made TEXT NOT NULL, PRIMARY KEY (store, layer, feature, variant)
) WITHOUT ROWID;
INSERT INTO steering VALUES ('d', 12, 1, 'maths', 'restore', 10, 212, 0.25, 0.125, -0.2, -0.05, '{"3": 0.3}', 4, '2026');
"""
)
ATTACKS = (
    "<script>alert(0)</script>",
    '"><img src=x onerror=alert(2)>',
    "</style><svg onload=alert(3)>",
    "javascript:alert(4)",
    "&lt;b&gt; 'x' onmouseover='alert(5)'",
    "\u202egnp.exe\x00\x1b[31m",
    "]]></td></table>--><iframe src=//evil.example>",
)


@pytest.fixture
def place(tmp_path):
    """The place of a store; a sidecar asks nothing of what is in it."""
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def without_time(reviews):
    return [dataclasses.replace(review, made="") for review in reviews]


# ---- what one judgement may say ----


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": "bad"}, "There is no verdict 'bad'"),
        ({"verdict": "benign"}, "Only a concern has a severity"),
        ({"severity": "huge"}, "one of low, medium, high"),
        ({"reviewer": "  "}, "needs a name"),
        ({"reviewer": "x" * 81}, "1 to 80 characters"),
        ({"note": "x" * (MAX_NOTE + 1)}, "this one has 5,001"),
    ],
)
def test_a_judgement_that_makes_no_sense_is_refused(change, said):
    with pytest.raises(UserError, match=said):
        dataclasses.replace(CONCERN, **change)


def test_the_latest_of_each_reviewer_stands():
    history = [
        CONCERN,
        Review("maths", 12, 1, "Ben", "benign"),
        Review("maths", 5, 1, "Ben", "unclear"),
        Review("maths", 12, 1, "Ada", "unclear", note="Not so sure."),
        Review("maths", 12, 1, "Ben", "benign", note="Sure."),
    ]
    found = standing(history)
    assert found == {(5, 1): [history[2]], (12, 1): [history[3], history[4]]}
    assert disagree(found[12, 1])
    assert not disagree(found[5, 1])
    assert not disagree([history[1], history[4]])
    assert standing([]) == {}


def test_steps_go_round_past_what_is_done():
    keys = [(1, 0), (1, 1), (2, 0), (2, 5)]
    assert step(keys, set(), (1, 1), ahead=True) == (2, 0)
    assert step(keys, {(2, 0), (2, 5)}, (1, 1), ahead=True) == (1, 0)
    assert step(keys, {(1, 0)}, (1, 1), ahead=False) == (2, 5)
    assert step(keys, {(1, 0), (2, 0), (2, 5)}, (1, 1), ahead=True) is None
    assert step([(1, 0)], set(), (1, 0), ahead=True) is None


# ---- the sidecar ----


def test_judgements_come_back_in_the_order_of_writing_with_their_time(place):
    other = Review("maths", 12, 1, "Ben", "benign", None, 'He said "no"; \n\u202e😀')
    for review in (CONCERN, other, CONCERN, Review("safety", 12, 1, "Ada", "unclear")):
        assert write_review(place, "d", review) == sidecar_path(place)
    found = read_reviews(place, "d", "maths")
    assert without_time(found) == [CONCERN, other, CONCERN]
    assert all(review.made.endswith("+00:00") for review in found)
    assert [review.made for review in found] == sorted(review.made for review in found)
    assert read_reviews(place, "another store", "maths") == []
    assert len(read_reviews(place, "d", "safety")) == 1


def test_without_a_sidecar_nothing_was_judged(place):
    assert read_reviews(place, "d", "maths") == []
    assert not sidecar_path(place).exists()


@pytest.mark.parametrize("earlier", [VERSION_1, VERSION_2])
def test_earlier_sidecars_are_read_as_they_are_and_kept_by_the_first_judgement(place, earlier):
    connection = sqlite3.connect(sidecar_path(place))
    connection.executescript(earlier)
    connection.close()
    before = sidecar_path(place).read_bytes()
    checks = [STEERING] if earlier is VERSION_2 else []
    assert read_reviews(place, "d", "maths") == []
    assert read_steering(place, "d") == checks
    assert sidecar_path(place).read_bytes() == before
    write_review(place, "d", CONCERN)
    assert without_time(read_reviews(place, "d", "maths")) == [CONCERN]
    assert read_labels(place, "d").values.tolist() == [[5, 1, "small words", "somebody"]]
    assert read_steering(place, "d") == checks
    connection = sqlite3.connect(sidecar_path(place))
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    connection.close()


def test_a_file_that_somebody_is_just_making_holds_nothing_yet(place):
    sqlite3.connect(sidecar_path(place)).execute("PRAGMA journal_mode = WAL").connection.close()
    assert sidecar_path(place).exists()
    assert read_reviews(place, "d", "maths") == []
    assert read_labels(place, "d").empty


WRITER = """
import sys
from pathlib import Path
from store.sidecar.reviews import Review
from store.sidecar.entries import read_reviews, write_review
place, name = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for i in range(25):
    write_review(place, "d", Review("maths", 12, i, name, "benign", note=str(i)))
    mine = [r.feature for r in read_reviews(place, "d", "maths") if r.reviewer == name]
    assert mine == list(range(i + 1)), mine
"""


def test_writers_at_once_lose_nothing_and_meet_no_lock(place):
    """Six processes begin together on a sidecar that does not exist yet; each also reads after every row."""
    names = [f"reviewer {i}" for i in range(6)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(place), name], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for name in names
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        _, complaint = writer.communicate(timeout=120)
        assert writer.returncode == 0, complaint
    found = read_reviews(place, "d", "maths")
    assert sorted((r.reviewer, r.feature) for r in found) == sorted((name, i) for name in names for i in range(25))
    for name in names:
        assert [r.feature for r in found if r.reviewer == name] == list(range(25))


def test_a_writer_waits_for_another_and_says_so_when_it_has_to_give_up(place, monkeypatch):
    write_review(place, "d", CONCERN)
    monkeypatch.setattr(sidecar_file, "TIMEOUT", 0.2)
    other = sqlite3.connect(sidecar_path(place), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UserError, match="kept busy by another program"):
        write_review(place, "d", CONCERN)
    assert len(read_reviews(place, "d", "maths")) == 1
    other.execute("COMMIT")
    other.close()
    write_review(place, "d", CONCERN)
    assert len(read_reviews(place, "d", "maths")) == 2


def test_labels_imported_are_noticed_and_judgements_are_not_taken_for_them(place):
    nothing = labels_state(place)
    write_review(place, "d", CONCERN)
    assert labels_state(place) == nothing
    write_labels(place, "d", [Label(5, 1, "x", "y")])
    once = labels_state(place)
    assert once != nothing
    write_labels(place, "d", [Label(5, 1, "z", "y")])
    assert labels_state(place) != once


def test_a_store_can_be_opened_again_after_labels_were_imported_twice(own):
    """Every opening in one process shares the database's name space."""
    digest = json.loads((own / "manifest.json").read_text())["digest"]
    opened = []
    for label in ("first", "second"):
        write_labels(own, digest, [Label(5, 1, label, "y")])
        opened.append(open_store(own))
    assert [store.feature(layer=5, feature=1)["label"].tolist() for store in opened] == [["first"], ["second"]]


def test_where_nothing_can_be_written(place, monkeypatch):
    assert can_write(place)
    monkeypatch.setattr(sidecar.os, "access", lambda path, mode, **_: Path(path) != place.parent)
    assert not can_write(place)
    monkeypatch.undo()
    write_review(place, "d", CONCERN)
    monkeypatch.setattr(sidecar.os, "access", lambda path, mode, **_: Path(path) != sidecar_path(place))
    assert not can_write(place)


# ---- the report ----


def test_a_list_in_words():
    plain = dataclasses.asdict(Filter("maths"))
    assert list_in_words(plain) == "every layer; every domain; any verdict; none that fires on more than 10 % of the tokens"
    narrow = Filter("maths", 12, "harmful", ("vanished",), ("suppressed", "steady"), 1000, "<b>", "down", dense=True)
    assert list_in_words(dataclasses.asdict(narrow)) == (
        "layer 12; domain harmful; verdict suppressed, steady; kind vanished; mean fell; at least 1,000 firings; search “<b>”"
    )


def test_a_list_in_words_says_what_is_picked_what_is_only_here_and_the_order():
    alone = Filter("maths", not_in=("safety",), sort="focus_kl", focus=("toxic", "abuse"), contributions=True, dense=True)
    assert list_in_words(dataclasses.asdict(alone)) == "every layer; every domain; any verdict; claimed of no other recipe"
    first = "those first that move the prediction most on toxic and abuse, then elsewhere"
    assert order_in_words(dataclasses.asdict(alone)) == first
    assert list_in_words(dataclasses.asdict(Filter("maths", picked=((5, 1),)))) == "1 picked feature"


NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


class Outline(HTMLParser):
    """The tags, attributes and text of a page, by what a browser would make of it."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], "", []
        self.feed(str(text))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


@pytest.fixture(scope="module")
def shown(tiny_store):
    """shown(history, layer=12, ...) -> what a report of maths' list says."""

    def made(history, path=tiny_store, **filters):
        with open_store(path) as store:
            return collect(store, history, Filter("maths", **filters), NOW)

    return made


def at(layer, feature, reviewer="Ada", verdict="benign", **more):
    return Review("maths", layer, feature, reviewer, verdict, made="2026-01-01T00:00:00+00:00", **more)


def test_a_report_tells_what_was_judged_from_what_was_not(shown):
    """maths at layers 5 and 12 fell at features 1 and 2 (and the dense 4); features 0 and 5 rose, 3 never fires."""
    history = [
        at(5, 2), at(12, 1), at(12, 1, "Ben", "concern", severity="low"), at(5, 1, verdict="concern", severity="high"),
        at(5, 0), Review("safety", 5, 2, "Ada", "concern"),
    ]  # fmt: skip
    content = shown(history, direction="down")
    assert content["made"] == "2026-03-04T05:06:07+00:00"
    assert content["progress"] == {
        "reviewed": 3, "concerns": 2, "disagreements": 1, "reviewers": {"Ada": 3, "Ben": 1}, "total": 4,
    }  # fmt: skip
    assert [(one["layer"], one["feature"]) for one in content["reviewed"]] == [(5, 1), (12, 1), (5, 2)]
    assert [one["disagreement"] for one in content["reviewed"]] == [False, True, False]
    assert content["not_reviewed"] == {"count": 1, "features": [[12, 2]]}
    assert [(one["layer"], one["feature"]) for one in content["reviewed_elsewhere"]] == [(5, 0)]


def test_a_report_covers_what_the_page_covers(own):
    with open_store(own) as store:
        chosen = Filter("maths", verdicts=("suppressed",), layer=12)
        told = [collect(store, [at(12, 1)], chosen, NOW, hidden) for hidden in ((), ("maths",))]
    whole, covered = ([context["tokens"] for context in one["reviewed"][0]["contexts"]] for one in told)
    assert whole and covered == [[HIDDEN] * len(tokens) for tokens in whole]  # of text without a template none is readable


def test_a_judged_feature_comes_with_its_evidence(shown):
    """Feature 1 of maths: a mean of 20/140 in the base, 1/140 in the variant; the contexts where it fell."""
    (one,) = shown([at(12, 1, note="Refusals fade.")], verdicts=("suppressed",), layer=12)["reviewed"]
    assert one["judgements"] == [
        {"reviewer": "Ada", "verdict": "benign", "severity": None, "note": "Refusals fade.",
         "made": "2026-01-01T00:00:00+00:00"}
    ]  # fmt: skip
    assert one["label"] == "small words"
    numbers = one["numbers"]
    assert numbers["shift"] == pytest.approx(-19 / 140)
    assert numbers["mean_base"] == pytest.approx(20 / 140)
    assert [numbers[name] for name in ("change", "change_low", "twin_low")] == pytest.approx([-0.95, -1, -0.2])
    assert [numbers[name] for name in ("verdict", "reason", "gate", "moved_to")] == ["suppressed", "fell", "strained", 0]
    assert one["reason"].startswith("It lost 95 % of its activation [-100 % to -90 %], in every run (-95 % to -80 %)")
    assert [(run["variant"], run["verdict"]) for run in one["runs"]] == [("maths", "suppressed"), ("maths-seed2", "suppressed")]
    assert [run["change"] for run in one["runs"]] == pytest.approx([-0.95, -0.8])
    assert one["ranking"] == "decrease"
    (context,) = one["contexts"]
    assert (context["source"], context["peak"], context["base"]) == ("sum-2", 3, [0.0, 0.0, 1.0, 4.0])
    assert context["variant"] == [0.0, 0.0, 0.0, 0.0]
    assert context["tokens"] == [" four", " is", " two", HOSTILE]


def test_a_report_says_what_could_not_have_been_seen_and_why(shown):
    """maths: of 6 features a layer one never fires, 5 fires on 20 tokens; at layer 12 twins take as much from 2 as it has."""
    five, twelve = shown([])["sensitivity"]
    names = ("layer", "d_sae", "silent", "not_seen", "seldom", "like_twins", "uneven", "seen")
    assert [five[name] for name in names] == [5, 6, 1, 1, 1, 0, 0, 4]
    assert [twelve[name] for name in names] == [12, 6, 1, 2, 1, 1, 0, 3]
    spread = ("smallest", "quarter", "median", "three_quarters", "largest")
    assert [five[name] for name in spread] == pytest.approx([0.5, 0.5, 0.55, 0.625, 0.7])  # of 0.5, 0.5, 0.6, 0.7
    assert [twelve[name] for name in spread] == pytest.approx([0.5, 0.5, 0.5, 0.55, 0.6])  # of 0.5, 0.5, 0.6
    page = Outline(as_html(shown([]))).text
    assert (
        "Of 3 features a change could not have been seen: 2 fire too seldom or in too few texts, to 1 random changes of the "
        "weights of that size do as much as a complete loss, 0 changed, but too unevenly over texts to be sure. 2 never fired. "
        "Of these nothing is known."
    ) in page
    assert "Of the 7 others, the smallest loss that would have been claimed is 50 %" in page


def test_a_report_counts_what_it_leaves_out_as_dense(shown):
    """Feature 4 fires on more than a tenth of the tokens, at both layers; at 12 it is suppressed."""
    content = shown([])
    assert content["work_list"]["hidden_dense"] == 2
    assert "Left out as dense2 features (on more than 10 % of tokens)" in Outline(as_html(content)).text


def test_no_kind_is_called_as_a_verdict_is():
    assert "kind no material change" in list_in_words(dataclasses.asdict(Filter("maths", kinds=("steady",))))


def test_a_page_says_what_the_variant_amounts_to_and_every_run_of_a_feature(shown):
    page = Outline(as_html(shown([at(12, 1)]))).text
    assert "3 features suppressed and 1 amplified in both runs, of 7 that could have been seen over all layers" in page
    assert "Verdict of the store: suppressed, vanished; fit: strained. It lost 95 % of its activation" in page
    assert "Runs of the recipe: maths -95 % [-100 % to -90 %], maths-seed2 -80 % [-85 % to -75 %]" in page
    assert "lowest change of a twin -20 %, highest change of a twin +10 %" in page


def test_a_report_of_a_store_without_verdicts_claims_no_test(shown, bare_store):
    content = shown([at(12, 1)], path=bare_store, layer=12)
    assert content["reviewed"][0]["numbers"]["verdict"] is None
    assert content["reviewed"][0]["reason"].startswith("No verdict")
    page = Outline(as_html(content)).text
    assert "Nothing was tested: there are no twins of this variant" in page
    assert json.loads(as_json(content))["sensitivity"][0]["smallest"] is None


def test_a_report_carries_the_hashes_and_the_fit(shown, tiny_store):
    manifest = json.loads((tiny_store / "manifest.json").read_text())
    content = shown([at(12, 1)])
    store = content["store"]
    assert (store["digest"], store["base"], store["dictionaries"]) == tuple(manifest[n] for n in ("digest", "base", "saes"))
    assert store["variant"] == {"variant": "maths"} | manifest["variants"]["maths"]
    hashes = {name: f"{i}" * 64 for i, name in enumerate(("base", "variant", "tokenizer", "corpus"))}
    store |= {name: store[name] | {"sha256": sha} for name, sha in hashes.items()}
    store["dictionaries"] = {"12": {"name": "tiny", "sha256": "5" * 64}}
    store["corpus"]["sources"] = [{"file": "maths.jsonl", "sha256": "6" * 64}]
    store["published_from"] = {"digest": "7" * 64}
    page = Outline(as_html(content)).text
    for sha in (*hashes.values(), "5" * 64, "6" * 64, "7" * 64, manifest["digest"]):
        assert sha in page
    assert [(row["layer"], row["gate"]) for row in content["fit"]] == [(5, "fits"), (12, "strained")]
    assert "strained" in page


def test_a_report_of_nothing_says_so(shown):
    page = Outline(as_html(shown([], search="no such label"))).text
    assert "No feature of this list was reviewed." in page
    assert "None: every feature of the list has a judgement." not in page
    assert "The list is empty." in page


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_report_is_inert_whatever_is_written_into_it(shown, attack):
    """In notes and names, in labels and tokens (feature 2's label and a token are hostile in the tiny store), in filters."""
    content = shown([at(12, 1, attack, "concern", note=f"first\n{attack}"), at(12, 2)])
    content["reviewed"][0]["label"] = content["work_list"]["search"] = attack
    content["reviewed"][0]["contexts"][0]["tokens"][0] = attack
    content["reviewed"][0]["contexts"][0]["source"] = content["store"]["base"]["name"] = attack
    content["store"]["notes"] = [attack]
    page = as_html(content)
    outline = Outline(page)
    assert outline.open == []
    assert set(outline.tags) == {
        "html", "head", "meta", "title", "style", "body", "input", "label", "main", "h1", "h2", "h3", "p", "code", "table",
        "thead", "tbody", "tr", "th", "td", "b", "bdi", "span", "div", "section", "br",
    }  # fmt: skip
    allowed = {"lang", "charset", "http-equiv", "content", "name", "type", "id", "class", "for", "style"}
    assert {name for name, _ in outline.attributes} <= allowed
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in outline.attributes
    written = "".join(c if c.isprintable() else f"⟨U+{ord(c):04X}⟩" for c in attack)
    # base (heading, hashes), reviewer (summary, judgement), search, label, note, source, token (base, variant), store's note
    assert outline.text.count(written) == 11
    assert not set(page) & set("\u202e\x00\x1b")
    assert as_json(content).isascii()
    assert json.loads(as_json(content))["reviewed"][0]["judgements"][0]["reviewer"] == attack


def test_a_report_asks_for_nothing_from_elsewhere(shown):
    page = as_html(shown([at(12, 1)]))
    assert "url(" not in page and "@import" not in page and "http://" not in page and "https://" not in page
    assert {"src", "href"}.isdisjoint(name for name, _ in Outline(page).attributes)


def test_a_long_list_is_cut_in_the_page_and_whole_in_the_data(shown):
    content = shown([])
    content["not_reviewed"] = {"count": 2500, "features": [[12, i] for i in range(2500)]}
    page = Outline(as_html(content)).text
    assert "L12:1999 and 500 more, which the JSON names." in page
    assert "L12:2000" not in page
    assert len(json.loads(as_json(content))["not_reviewed"]["features"]) == 2500
