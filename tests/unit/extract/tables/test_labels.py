"""Labels: made from a feature's own evidence, and imported ones in their place."""

import gzip
import json
import shutil
import sqlite3
import unicodedata
from math import log

import numpy as np
import pytest
import torch

from extract.__main__ import main
from extract.measure import feature_sums
from extract.saes.dictionary import SparseCodes
from extract.tables import labels
from extract.tables.labels import Evidence, Promoted, automatic_labels, group_scores, phrase, token_name
from store import UserError, open_store, verify
from store.format.codes import part_file
from store.format.part_reading import read_counted
from store.sidecar.entries import Label, read_labels, sidecar_path, write_labels
from tests.support.tiny_store import HOSTILE

TEXTS = {0: " The", 1: "the", 2: " number", 3: "Number", 4: " figure", 5: " odd", 6: "\n", 7: "<start_of_turn>", 8: "model"}


def evidence(cells, d_sae=1, background=None, density=0.01):
    """Evidence from {(feature, token id): (count, activation)}."""
    keys = sorted(cells)
    count, activation = (np.array([cells[key][i] for key in keys]) for i in (0, 1))
    feature, token = (np.array([key[i] for key in keys], dtype=np.int64) for i in (0, 1))
    background = background or {0: 400, 1: 100, 2: 4, 3: 4, 4: 4, 5: 1, 6: 100, 7: 20, 8: 20}
    return Evidence(feature, token, count, activation.astype(float), background, np.full(d_sae, density))


def label(cells, **kwargs):
    return automatic_labels(evidence(cells, **kwargs), TEXTS, None)[0]


# ---- the score, by hand ----


def test_the_score_is_g2s_term_with_a_prior():
    """Feature 0: 10 firings, activations 30 and 10; feature 1: 4 firings of one token."""
    feature, count = np.array([0, 0, 1]), np.array([6, 4, 4])
    scores, lift = group_scores(feature, count, np.array([30.0, 10.0, 8.0]), np.array([0.1, 0.4, 0.01]))
    assert lift == pytest.approx([80 / 15, 4.5 / 6, 405 / 9])
    assert scores == pytest.approx(
        [
            7.5 * log((7.5 + 5 * 0.1) / 15 / 0.1),  # 10 x 30/40 = 7.5 weighted firings
            2.5 * log((2.5 + 5 * 0.4) / 15 / 0.4),  # fewer than its background explains: negative
            4.0 * log((4.0 + 5 * 0.01) / 9 / 0.01),
        ]
    )
    assert scores[1] < 0 < scores[0]


def test_tokens_beyond_their_background_come_best_first():
    """' number' and 'Number' are one word; 'the' is as common here as in the corpus; the order is the score's."""
    cells = {(0, 2): (4, 8.0), (0, 3): (3, 6.0), (0, 4): (4, 8.0), (0, 0): (9, 4.0)}
    assert label(cells) == "“number”, “figure”"


def test_a_word_seen_once_never_wins():
    assert label({(0, 5): (1, 1000.0), (0, 2): (5, 5.0), (0, 6): (30, 30.0)}) != "“odd”"
    assert "odd" not in label({(0, 5): (2, 1000.0), (0, 2): (12, 12.0)})


def test_a_second_token_must_be_worth_it():
    """A quarter of the best score, at least."""
    much = {(0, 2): (40, 40.0), (0, 4): (3, 3.0)}
    assert label(much) == "“number”"
    rate = np.array([4 / 653, 4 / 653])
    (best, second), _lift = group_scores(np.array([0, 0]), np.array([40, 3]), np.array([40.0, 3.0]), rate)
    assert labels.MIN_SCORE < second < best / 4


def test_at_most_three_tokens_and_ties_by_name():
    texts = {i: f" word{9 - i}" for i in range(6)}
    cells = {(0, i): (5, 5.0) for i in range(6)}
    found = evidence(cells, background=dict.fromkeys(range(6), 5) | {6: 1000})
    assert automatic_labels(found, texts | {6: "x"}, None) == ["“word4”, “word5”, “word6”"]


def test_what_fires_on_everything_alike_says_so():
    """Every token as often as in the corpus: nothing to name it by."""
    assert label({(0, 0): (40, 40.0), (0, 1): (10, 10.0), (0, 6): (10, 10.0)}) == "fires on many different tokens"


def test_a_small_excess_names_nothing_however_certain_it_is():
    """'the' is 450 of 500 firings and 500 of 653 tokens: a lift of 1.17 with a score of 72."""
    cells = {(0, 0): (450, 450.0), (0, 6): (50, 50.0)}
    rate = np.array([500, 100]) / 653
    (score, _), (lift, _) = group_scores(np.array([0, 0]), np.array([450, 50]), np.array([450.0, 50.0]), rate)
    assert score == pytest.approx(450 * log(lift)) and score > 70
    assert lift == pytest.approx((450 + 5 * 500 / 653) / 505 * 653 / 500)
    assert label(cells) == "fires on many different tokens"


def test_what_fires_rarely_says_how_often():
    assert label({(0, 5): (1, 3.0)}) == "fires once, on “odd”"
    assert label({(0, 5): (1, 3.0), (0, 0): (1, 1.0)}) == "fires 2 times, on “odd”, “the”"


def test_dense_features_say_what_they_are():
    assert label({(0, 2): (4, 4.0), (0, 0): (250, 250.0), (0, 6): (50, 50.0)}, density=0.46) == "fires on many tokens, 46%"
    assert label({(0, 0): (400, 400.0)}, density=0.63) == "fires on most tokens, 63%"
    assert label({(0, 2): (8, 80.0), (0, 0): (60, 60.0)}, density=0.11) == "“number” (fires on many tokens, 11%)"


def test_silent_features_are_known_by_what_they_promote():
    promoted = Promoted(np.array([[0, 2], [0, 2]]), np.array([[9.0, 3.0], [5.0, 4.0]]), np.array([1.0, 1.0]))
    found = automatic_labels(evidence({}, d_sae=2, density=0.0), TEXTS, promoted)
    assert found == ["silent in the base → “ The”", "silent in the base"]


def test_promoted_tokens_show_where_they_stand_out():
    """Beyond six standard deviations; at most two, each word once; placeholders of the vocabulary are passed over."""
    texts = TEXTS | {9: "<unused12>", 10: " luck", 11: "Luck", 12: " wish", 13: " hope"}
    promoted = Promoted(np.array([[9, 10, 11, 12, 13]]), np.array([[9.0, 8.0, 8.0, 7.0, 7.0]]), np.array([1.0]))
    assert automatic_labels(evidence({(0, 2): (9, 9.0)}), texts, promoted) == ["“number” → “ luck”, “ wish”"]
    weak = Promoted(promoted.token_ids, promoted.logits, np.array([2.0]))
    assert automatic_labels(evidence({(0, 2): (9, 9.0)}), texts, weak) == ["“number”"]


def test_marks_and_white_space_are_described():
    assert [token_name(text) for text in (" ", "\n", "\n\n", "\t", "<end_of_turn>", "<|im_start|>", "</s>")] == [
        "spaces", "a line's end", "a blank line", "a tab", "end of a turn", "start of a turn", "end of the text"
    ]  # fmt: skip
    assert label({(0, 7): (9, 9.0)}) == "start of a turn"
    assert label({(0, 7): (9, 9.0), (0, 8): (9, 9.0)}) == "start of the model's turn"
    assert phrase(["“user”", "start of a turn", "“hi”"], [], 9, 0.0, []) == "start of the user's turn, “hi”"


def test_a_part_of_a_character_is_no_letter():
    """It names what a feature fires on as the byte that it is; as what is promoted, it says nothing, nor does an unknown id."""
    texts = TEXTS | {9: "<0xE9>", 10: "<0xC3><0xAD>", 11: "⟨90001⟩", 12: " <0xE4>", 13: " né", 14: " th<0xE2>"}
    assert label({(0, 2): (9, 9.0)}) == "“number”"
    found = evidence({(0, 9): (9, 9.0)}, background={0: 400, 9: 4})
    promoted = Promoted(np.array([[9, 10, 11, 12, 13, 14]]), np.full((1, 6), 9.0), np.array([1.0]))
    assert automatic_labels(found, texts, promoted) == ["“<0xe9>” → “ né”, “ th<0xE2>”"]


def test_token_texts_stay_short_and_printable():
    assert token_name("\x1b[31m" + "=" * 50) == "“·[31m" + "=" * 18 + "…”"
    assert token_name(" <b>") == "“<b>”"  # escaping is for the page that shows it


# ---- the sums ----


def random_codes(n_rows, seed):
    rng = np.random.default_rng(seed)
    keys = np.sort(rng.choice(n_rows * 8, size=n_rows * 3, replace=False))
    value = torch.from_numpy(rng.integers(1, 9, len(keys)).astype(np.float32))
    codes = SparseCodes(torch.from_numpy(keys // 8), torch.from_numpy(keys % 8), value, n_rows)
    return codes, rng.integers(0, 6, n_rows).astype(np.int32)


def test_token_sums_by_a_loop():
    codes, token_ids = random_codes(50, seed=1)
    norm = torch.arange(1, 9, dtype=torch.float64)
    sums = feature_sums.token_sums(codes, norm, token_ids)
    expected = {}
    for row, feature, value in zip(codes.row.tolist(), codes.feature.tolist(), codes.value.tolist(), strict=True):
        count, total = expected.get((feature, int(token_ids[row])), (0, 0.0))
        expected[feature, int(token_ids[row])] = (count + 1, total + value * (feature + 1))
    found = zip(*(sums[name].tolist() for name in ("feature", "token_id", "count", "activation")), strict=True)
    assert {(f, t): (n, a) for f, t, n, a in found} == expected
    assert list(expected) != sorted(expected) and list(zip(sums["feature"], sums["token_id"], strict=True)) == sorted(expected)


def test_nothing_fired():
    nothing = torch.zeros(0, dtype=torch.int64)
    sums = feature_sums.token_sums(SparseCodes(nothing, nothing, nothing.float(), 3), torch.ones(8), np.array([1, 2, 3]))
    assert all(len(values) == 0 for values in sums.values())
    assert feature_sums.token_counts(np.array([5, 7, 5]), np.array([True, False, True]))["count"].tolist() == [2]


# ---- in a store ----


@pytest.fixture(scope="module")
def store(extracted):
    with open_store(extracted) as opened:
        yield opened


def evidence_from_parts(store, layer):
    """A layer's evidence a second time, from the stored codes and tokens."""
    counts, sums, background = {}, {}, {}
    norms = store.sql("SELECT decoder_norm, density FROM features WHERE layer = ? ORDER BY feature", [layer])
    for row in store.documents(limit=None).itertuples():
        ids = store.sql("SELECT token_id AS t FROM tokens WHERE document = ? ORDER BY position", [row.document])["t"].to_numpy()
        counted = read_counted(store.path / part_file(row.part), layer)[row.first_row : row.first_row + len(ids)]
        for token in ids[counted].tolist():
            background[token] = background.get(token, 0) + 1
        for code in store.codes(row.document, layer).itertuples():
            key = (code.feature, int(ids[code.position]))
            counts[key] = counts.get(key, 0) + 1
            sums[key] = sums.get(key, 0.0) + code.value
    keys = sorted(counts)
    feature, token = (np.array([key[i] for key in keys], dtype=np.int64) for i in (0, 1))
    count, activation = (np.array([values[key] for key in keys]) for values in (counts, sums))
    return Evidence(feature, token, count, activation, background, norms["density"].to_numpy())


def test_every_feature_has_the_label_that_its_codes_give(store):
    """Over several shards; before the arrow, since the spread of the vocabulary is not stored."""
    assert len(store.sql("SELECT DISTINCT part FROM documents")) > 2
    texts = dict(zip(*store.sql("SELECT * FROM vocabulary").to_dict("list").values(), strict=True))
    for layer in store.layers:
        rows = store.sql("SELECT label, label_source FROM features WHERE layer = ? ORDER BY feature", [layer])
        assert (rows["label_source"] == "automatic").all()
        expected = automatic_labels(evidence_from_parts(store, layer), texts, None)
        assert [text.split(" → ")[0] for text in rows["label"]] == expected
        assert sum("“" in text for text in expected) > 10


# ---- imported ones ----

CSV = "layer,feature,label\n5,1,little words\n12,0,adding up\n"


def imported(own, tmp_path, text, name="labels.csv"):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return main(["labels", str(own), str(file)])


def names(store, layer):
    return store.sql("SELECT label, label_source FROM features WHERE layer = ? ORDER BY feature", [layer]).values.tolist()


def test_imported_labels_stand_in_place_of_automatic_ones(own, tmp_path, capsys):
    before = (own / "statistics.duckdb").read_bytes()
    assert imported(own, tmp_path, CSV) == 0
    assert "2 labels of 'labels.csv' imported into tiny.sidecar.sqlite" in capsys.readouterr().out
    with open_store(own) as store:
        assert names(store, 5)[:2] == [["sums", "automatic"], ["little words", "imported from labels.csv"]]
        assert names(store, 12)[0] == ["adding up", "imported from labels.csv"]
        assert store.shifted_features("maths", layer=5)["label"].tolist()[0] == "little words"
        assert store.shifted_features("maths", search="LITTLE")[["layer", "feature"]].values.tolist() == [[5, 1]]
        assert store.count_features("maths", search="small words")["count"].sum() == 1  # layer 12 has its own still
        assert store.shifted_features("maths", sort="label", descending=False)["label"].tolist()[0] == f"{HOSTILE} label"
        assert store.neighbours(5, 1, "maths", search="little")["total"].tolist() == [1]
        row = store.feature(5, 1).iloc[0]
        assert (row["label"], row["label_source"]) == ("little words", "imported from labels.csv")
        assert row["promoted_tokens"].tolist() and store.n_labels == 2
        assert len(store.sql("SELECT * FROM features")) == 8
    assert (own / "statistics.duckdb").read_bytes() == before
    assert verify(own) == []
    assert main(["info", str(own)]) == 0
    assert "2 imported" in capsys.readouterr().out


def test_a_label_is_found_however_its_accents_are_written(own, tmp_path):
    """Composed or apart, in the label and in the search; every other character stands for itself."""
    apart = unicodedata.normalize("NFD", "naïve")
    imported(own, tmp_path, f"layer,feature,label\n5,1,naïve %\n12,0,{apart} _\n")
    with open_store(own) as store:
        for search in ("naïve", apart, "NAÏVE"):
            assert store.count_features("maths", search=search)["count"].sum() == 2
        assert store.count_features("maths", search="naive")["count"].sum() == 0
        assert store.count_features("maths", search="%")["count"].sum() == 1


def test_every_thread_sees_them(own, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    imported(own, tmp_path, CSV)
    with open_store(own) as store, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _i: names(store, 12)[0][0], range(64)))
    assert set(found) == {"adding up"}


def test_a_later_import_replaces_only_what_it_names(own, tmp_path):
    imported(own, tmp_path, CSV)
    with open_store(own) as store:
        first = store.content
    assert imported(own, tmp_path, "feature,label,layer,note\n1,tiny words,5,x\n", "second.csv") == 0
    with open_store(own) as store:
        assert [names(store, 5)[1][0], names(store, 12)[0][0]] == ["tiny words", "adding up"]
        assert store.content != first != store.manifest.digest


def test_another_store_at_the_same_place_does_not_see_them(own, tmp_path):
    imported(own, tmp_path, CSV)
    assert len(read_labels(own, "another digest")) == 0


def test_publishing_takes_them_along(own, tmp_path):
    imported(own, tmp_path, CSV)
    assert main(["publish", str(own), "--out", str(tmp_path / "copy")]) == 0
    with open_store(tmp_path / "copy") as copy:
        assert names(copy, 12)[0] == ["adding up", "imported from labels.csv"]
        assert copy.n_labels == 0 and "Labels: 2 imported ones are part of this copy." in copy.manifest.notes
    assert verify(tmp_path / "copy") == []


def test_labels_are_kept_as_text_on_one_line(own, tmp_path):
    assert imported(own, tmp_path, f'layer,feature,label\n5,0,"{HOSTILE}\n\x1b[31mred"\n') == 0
    with open_store(own) as store:
        assert names(store, 5)[0][0] == f"{HOSTILE} [31mred"


def explanation(**changes):
    """A line of Neuronpedia's export."""
    entry = {"id": "c1", "modelId": "gemma-3-270m", "layer": "12-tiny-res-4", "index": "2", "description": "refusals",
             "authorId": "a", "typeName": "oai_token-act-pair", "explanationModelName": "gpt-4o-mini"}  # fmt: skip
    return json.dumps({**entry, **changes}) + "\n"


def test_neuronpedias_export(own, tmp_path, capsys):
    """Several explanations of one feature: the first is kept."""
    file = tmp_path / "batch-0.jsonl.gz"
    lines = explanation() + "\n" + explanation(description="saying no") + explanation(index=3, description="rain")
    file.write_bytes(gzip.compress(lines.encode()))
    assert main(["labels", str(own), str(file)]) == 0
    assert "1 further explanations of the same features were left out" in capsys.readouterr().out
    with open_store(own) as store:
        assert [row[0] for row in names(store, 12)[2:]] == ["refusals", "rain"]
        assert names(store, 12)[2][1] == "imported from Neuronpedia, by gpt-4o-mini"


BAD = {
    "unknown layer": ("5,0,a\n7,0,x\n", "line 3", "no layer 7", "5, 12"),
    "unknown feature": ("5,4,x\n", "line 2", "no feature 4", "0 to 3"),
    "negative": ("5,-1,x\n", "line 2", "no feature -1"),
    "empty": ("5,0,a\n12,0,  \n", "line 3", "empty"),
    "only control characters": ("5,0,\x07\n", "line 2", "empty"),
    "no number": ("5,one,x\n", "line 2", "feature must be a whole number, not 'one'"),
    "too few fields": ("5,0\n", "line 2", "fewer fields"),
    "too many fields": ("5,0,a,b\n", "line 2", "more fields"),
    "an open quote": ('5,0,"a\n', "line 2", "not CSV"),
    "twice": ("5,0,a\n5,0,b\n", "line 3", "a second time"),
    "very long": (f"5,0,{'x' * 3000}\n", "line 2", "3,000 characters"),
}


def refused(arguments, capsys, *expected):
    capsys.readouterr()
    assert main(arguments) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(error) == 1
    for piece in expected:
        assert piece in error[0]


@pytest.mark.parametrize("case", BAD)
def test_bad_lines_are_named_and_nothing_is_imported(case, tiny_store, tmp_path, capsys):
    lines, *expected = BAD[case]
    file = tmp_path / "bad.csv"
    file.write_text(f"layer,feature,label\n{lines}", encoding="utf-8")
    refused(["labels", str(tiny_store), str(file)], capsys, "bad.csv", *expected)
    assert not sidecar_path(tiny_store).exists()


BAD_JSON = {
    "no JSON": (explanation() + "{broken\n", "line 2", "not JSON"),
    "no object": ("[1]\n", "line 1", "expected an object"),
    "no description": (explanation(description=None), "line 1", "'description' is missing"),
    "empty": (explanation(description=" "), "line 1", "empty"),
    "unknown layer": (explanation(layer="3-tiny"), "line 1", "no layer 3"),
    "no layer": (explanation(layer="blocks"), "line 1", "layer must be a whole number"),
    "unknown feature": (explanation(index="99"), "line 1", "no feature 99"),
    "a truth": (explanation(index=True), "line 1", "index must be a whole number"),
    "too deep": ("[" * 100_000 + "\n", "line 1", "not JSON"),
    "nothing": ("", "holds no labels"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_exports_are_refused(case, tiny_store, tmp_path, capsys):
    lines, *expected = BAD_JSON[case]
    (tmp_path / "bad.jsonl").write_text(lines, encoding="utf-8")
    refused(["labels", str(tiny_store), str(tmp_path / "bad.jsonl")], capsys, "bad.jsonl", *expected)
    assert not sidecar_path(tiny_store).exists()


def test_labels_of_another_dictionary_are_refused(own, tmp_path, capsys, monkeypatch):
    """Where the store knows its dictionary's name on Neuronpedia, the file's must be the same."""
    from store.read.store import Store

    real = Store.dictionaries
    monkeypatch.setattr(Store, "dictionaries", lambda self: real(self).assign(neuronpedia="gemma-3-270m/12-other"))
    (tmp_path / "other.jsonl").write_text(explanation())
    refused(["labels", str(own), str(tmp_path / "other.jsonl")], capsys, "12-tiny-res-4", "gemma-3-270m/12-other")


def test_files_that_cannot_be_read(tiny_store, tmp_path, capsys):
    refused(["labels", str(tiny_store), str(tmp_path / "none.csv")], capsys, "none.csv", "there is no such file")
    (tmp_path / "labels.txt").write_text(CSV)
    refused(["labels", str(tiny_store), str(tmp_path / "labels.txt")], capsys, "neither .csv nor .jsonl")
    (tmp_path / "latin.csv").write_bytes("layer,feature,label\n5,0,Größe\n".encode("latin-1"))
    refused(["labels", str(tiny_store), str(tmp_path / "latin.csv")], capsys, "line 2", "not UTF-8")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(explanation().encode() * 50)[:-20])
    refused(["labels", str(tiny_store), str(tmp_path / "cut.jsonl.gz")], capsys, "cut.jsonl.gz", "cannot be read")
    (tmp_path / "columns.csv").write_text("layer,label\n5,x\n")
    refused(["labels", str(tiny_store), str(tmp_path / "columns.csv")], capsys, "feature is missing")
    refused(["labels", str(tmp_path / "nowhere"), str(tmp_path / "columns.csv")], capsys, "There is no store")
    assert not sidecar_path(tiny_store).exists()


# ---- the sidecar ----


def test_the_sidecar_is_in_wal_mode_and_leaves_no_files_about(own, tmp_path):
    path = write_labels(own, "d", [Label(1, 2, "x", "y")])
    assert path == tmp_path / "tiny.sidecar.sqlite"
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny", "tiny.sidecar.sqlite"]


def test_all_labels_or_none(own):
    write_labels(own, "d", [Label(1, 2, "x", "y")])
    with pytest.raises(UserError, match="NOT NULL"):
        write_labels(own, "d", [Label(1, 2, "changed", "y"), Label(1, 3, None, "y")])
    assert read_labels(own, "d").values.tolist() == [[1, 2, "x", "y"]]


def test_labels_can_be_read_while_others_are_written(own):
    path = write_labels(own, "d", [Label(1, 2, "x", "y")])
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE labels SET label = 'half done'")
    assert read_labels(own, "d")["label"].tolist() == ["x"]
    connection.execute("ROLLBACK")
    connection.close()


def test_labels_in_a_folder_that_cannot_be_written(own, monkeypatch):
    """SQLite's own answer there, for any user (root may write anywhere)."""
    write_labels(own, "d", [Label(1, 2, "x", "y")])
    real = sqlite3.connect

    def read_only(database, *arguments, **options):
        return real(f"{sidecar_path(own).resolve().as_uri()}?mode=ro", **{**options, "uri": True})

    monkeypatch.setattr(sqlite3, "connect", read_only)
    assert len(read_labels(own, "d")) == 1


def test_a_damaged_sidecar_is_said_in_a_sentence(own, capsys):
    sidecar_path(own).write_bytes(b"no database" * 1000)
    refused(["info", str(own)], capsys, "tiny.sidecar.sqlite", "not a database", "move it away")
    (problem,) = verify(own)
    assert "tiny.sidecar.sqlite" in problem


def test_a_sidecar_of_a_later_version_is_refused(own):
    path = write_labels(own, "d", [])
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(UserError, match="has version 9"):
        read_labels(own, "d")


def test_a_store_that_was_moved_with_its_sidecar(own, tmp_path):
    imported(own, tmp_path, CSV)
    (tmp_path / "there").mkdir()
    for path in (own, sidecar_path(own)):
        shutil.move(path, tmp_path / "there" / path.name)
    with open_store(tmp_path / "there" / "tiny") as store:
        assert store.n_labels == 2
