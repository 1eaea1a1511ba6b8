"""`python -m extract publish`: a smaller store that keeps every statistic and says what it left out.

Long because each thing that is left out is looked at in the copy.
"""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from extract.__main__ import main
from store import UserError, open_store, verify
from store.exchange import publish as publishing
from store.exchange.subset import DETAILS, Cut, coded_documents
from store.format.codes import part_file
from store.format.manifest import read_manifest
from store.format.part_reading import read_counted
from store.format.tables import STORE
from store.sidecar import entries as sidecar
from store.sidecar.reviews import Review
from store.sidecar.steering import Steering

CUT_TABLES = ("contexts", "token_metrics", "documents", "vocabulary")
ROUNDS = (Cut(contexts=2, features=5, tokens=200), Cut(contexts=1, features=3, tokens=1))


@pytest.fixture(scope="module")
def published(extracted, tmp_path_factory):
    """The small world's store, cut harder than anybody would, so that everything that can be left out is."""
    out = tmp_path_factory.mktemp("published") / "copy"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "ROUNDS", ROUNDS)
        assert main(["publish", str(extracted), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def both(extracted, published):
    with open_store(extracted) as source, open_store(published) as copy:
        yield source, copy


def rows(store, table):
    return store.sql(f"SELECT * FROM {table} ORDER BY {', '.join(STORE.keys[table])}")


def test_it_is_a_sound_store_and_names_its_source(extracted, published):
    assert verify(published) == []
    source, copy = read_manifest(extracted), read_manifest(published)
    assert copy.published_from == {"digest": source.digest}
    assert source.published_from is None
    assert copy.digest != source.digest
    assert copy.counts == source.counts
    assert {path.name for path in published.parent.iterdir()} == {"copy"}
    assert {path.name for path in published.iterdir()} == {"latents", "manifest.json", "pilot.npz", "statistics.duckdb"}


def test_causal_checks_go_with_the_copy_and_reviews_stay(tiny_store, tmp_path):
    store = tmp_path / "own"
    shutil.copytree(tiny_store, store)
    digest = read_manifest(store).digest
    check = Steering(12, 1, "maths", "restore", 9, 40, 0.5, 0.25, -0.3, -0.2, {0: 0.5, 2: 0.6}, 7)
    sidecar.write_steering(store, digest, check)
    sidecar.write_review(store, digest, Review("maths", 12, 1, "Ada", "benign", None, "", ""))
    copy = publishing.publish(store, tmp_path / "copy", 60)
    assert sidecar.read_steering(tmp_path / "copy", copy.digest) == [check]
    assert sidecar.read_reviews(store, digest, "maths") and not sidecar.read_reviews(tmp_path / "copy", copy.digest, "maths")


@pytest.mark.parametrize("table", sorted(set(STORE.keys) - set(CUT_TABLES)))
def test_statistics_are_whole(both, table):
    source, copy = both
    pd.testing.assert_frame_equal(rows(source, table), rows(copy, table))


def test_documents_are_all_there_and_few_have_codes(both):
    source, copy = both
    before, after = rows(source, "documents"), rows(copy, "documents")
    same = ["document", "source", "domain", "cluster", "n_tokens"]
    pd.testing.assert_frame_equal(before[same], after[same])
    coded = after[after["has_codes"]]
    assert coded["document"].tolist() == coded_documents(source, 200)
    assert (after.loc[~after["has_codes"], ["part", "first_row"]] == -1).all(axis=None)
    tokens = coded.groupby("domain")["n_tokens"]
    longest = before["n_tokens"].max()
    assert set(coded["domain"]) == set(before["domain"])
    assert (tokens.sum() >= 200).all() and (tokens.sum() < 200 + longest).all()
    assert len(coded) < len(before)


def test_codes_of_the_kept_documents_are_the_sources(both):
    source, copy = both
    for document in coded_documents(source, 200):
        for layer in source.layers:
            for model in ("base", *source.variants):
                pd.testing.assert_frame_equal(source.codes(document, layer, model), copy.codes(document, layer, model))


def test_codes_of_the_others_are_refused_in_a_sentence(both):
    _source, copy = both
    without = int(copy.sql("SELECT min(document) AS d FROM documents WHERE NOT has_codes")["d"][0])
    with pytest.raises(UserError, match=f"did not keep the codes of document {without}"):
        copy.codes(without, copy.layers[0])


def test_activations_cover_the_documents_with_codes(both):
    source, _copy = both
    kept = coded_documents(source, 200)
    for feature in range(0, 64, 7):
        before, after = (store.activations(2, feature, "tuned") for store in both)
        pd.testing.assert_frame_equal(before[before["document"].isin(kept)].reset_index(drop=True), after)


def test_tokens_that_do_not_count_stay_so(both):
    source, copy = both
    for number, row in copy.documents(limit=None).query("has_codes").set_index("document").iterrows():
        old = source.sql("SELECT * FROM documents WHERE document = ?", [number]).iloc[0]
        counted = read_counted(copy.path / part_file(row["part"]), 2)
        before = read_counted(source.path / part_file(old["part"]), 2)
        here = slice(row["first_row"], row["first_row"] + row["n_tokens"])
        there = slice(old["first_row"], old["first_row"] + old["n_tokens"])
        assert np.array_equal(counted[here], before[there])


def test_token_metrics_of_the_kept_documents(both):
    source, copy = both
    before = rows(source, "token_metrics")
    before = before[before["document"].isin(coded_documents(source, 200))].reset_index(drop=True)
    pd.testing.assert_frame_equal(before, rows(copy, "token_metrics"))


def test_contexts_are_the_best_of_the_features_that_matter(both):
    source, copy = both
    stats = source.sql(
        "SELECT variant, layer, feature, abs(shift) AS shift, abs(change) AS change, freq_base, freq_variant, verdict "
        "FROM feature_stats WHERE domain = 'all'"
    )
    stats["claimed"] = stats["verdict"].isin(["suppressed", "amplified"])
    seen = stats[(stats["verdict"] != "could not be seen") & (stats[["freq_base", "freq_variant"]].max(axis=1) <= 0.1)]
    wanted = []
    for frame, scores in ((stats, ["shift"]), (stats, ["freq_base"]), (seen, ["claimed", "change"])):
        for _, group in frame.groupby(["variant", "layer"]):
            order = group.sort_values([*scores, "feature"], ascending=[*[False] * len(scores), True])
            wanted.append(order.head(5))
    keys = pd.concat(wanted)[["variant", "layer", "feature"]].drop_duplicates()
    expected = rows(source, "contexts").merge(keys)
    expected = expected[expected["rank"] <= 2].sort_values(STORE.keys["contexts"]).reset_index(drop=True)
    found = rows(copy, "contexts")
    pd.testing.assert_frame_equal(found, expected)
    assert 0 < len(found) < len(rows(source, "contexts"))


def test_the_vocabulary_is_what_is_still_mentioned(tiny_store, tmp_path):
    publishing.publish(tiny_store, tmp_path / "copy", 60)
    with open_store(tmp_path / "copy") as copy:
        assert copy.sql("SELECT token_id FROM vocabulary ORDER BY 1")["token_id"].tolist() == list(range(1, 10))  # 0: <bos>
        assert len(copy.contexts(5, 0, "maths", "base")) == 1
        assert copy.activations(5, 0)["value"].tolist() == [3.0, 1.0, 4.0, 1.0]


def test_of_replicates_only_statistics_are_kept(tiny_store, tmp_path):
    manifest = publishing.publish(tiny_store, tmp_path / "copy", 60)
    assert verify(tmp_path / "copy") == []
    assert [name for name, made in manifest.variants.items() if made.get("statistics_only")] == ["maths-seed2"]
    assert "Replicates: of maths-seed2 only statistics are here, no contexts, codes and token metrics." in manifest.notes
    with open_store(tiny_store) as source, open_store(tmp_path / "copy") as copy:
        for table in ("contexts", "token_metrics"):
            assert set(rows(source, table)["variant"]) == {"maths", "maths-seed2", "safety"}
            assert set(rows(copy, table)["variant"]) == {"maths", "safety"}
        for table in ("feature_stats", "layer_metrics", "document_sums"):
            pd.testing.assert_frame_equal(rows(source, table), rows(copy, table))
        assert (copy.keeps_codes("maths"), copy.keeps_codes("maths-seed2"), copy.keeps_codes("base")) == (True, False, True)
        assert len(copy.codes(0, 12, "maths")) == len(source.codes(0, 12, "maths-seed2")) > 0
        for ask in (lambda: copy.codes(0, 12, "maths-seed2"), lambda: copy.paired_activations(12, 1, "maths-seed2")):
            with pytest.raises(UserError, match="statistics only of the replicate 'maths-seed2'"):
                ask()


def test_replicates_are_kept_whole_where_asked(tiny_store, tmp_path):
    assert main(["publish", str(tiny_store), "--out", str(tmp_path / "copy"), "--replicates"]) == 0
    with open_store(tmp_path / "copy") as copy:
        assert copy.keeps_codes("maths-seed2")
        assert set(rows(copy, "contexts")["variant"]) == {"maths", "maths-seed2", "safety"}
        assert not any("Replicates" in note for note in copy.manifest.notes)


def test_a_copy_of_a_copy_still_has_no_codes_of_replicates(tiny_store, tmp_path):
    publishing.publish(tiny_store, tmp_path / "copy", 60)
    again = publishing.publish(tmp_path / "copy", tmp_path / "again", 60, replicates=True)
    assert again.variants["maths-seed2"]["statistics_only"] is True
    assert verify(tmp_path / "again") == []


def test_details_of_replicates_go_where_size_needs_it(tiny_store, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "ROUNDS", (Cut(contexts=10, features=300, tokens=2000, details=False),))
    manifest = publishing.publish(tiny_store, tmp_path / "copy", 60)
    with open_store(tmp_path / "copy") as copy:
        counted = copy.sql("SELECT variant, count(DISTINCT domain) AS n FROM feature_stats GROUP BY ALL ORDER BY ALL")
        for table, column in DETAILS.items():
            of = copy.sql(f"SELECT DISTINCT {column} AS name FROM {table}")["name"]
            assert len(of) and "maths-seed2" not in set(of), table
    assert counted.values.tolist() == [["maths", 3], ["maths-seed2", 1], ["safety", 3]]
    assert "of replicates' features no numbers by domain or segment" in manifest.notes[-1]


def test_a_store_without_any_codes_has_no_activations(both, monkeypatch):
    _source, copy = both
    of_none = copy.sql("SELECT document, part, first_row FROM documents WHERE false")
    ask = copy.sql
    monkeypatch.setattr(copy, "sql", lambda query, *rest: of_none if "has_codes" in query else ask(query, *rest))
    empty = copy.activations(2, 0)
    assert len(empty) == 0 and list(empty.columns) == ["document", "position", "value"]


def test_notes_say_what_is_missing(published, capsys):
    manifest = read_manifest(published)
    text = " ".join(manifest.notes)
    assert "every statistic is complete" in text
    kept, total = re.search(r"Contexts: ([\d,]+) of ([\d,]+), at most 2 a ranking, for the 5 most shifted", text).groups()
    assert int(kept.replace(",", "")) == manifest.rows["contexts"] < int(total.replace(",", ""))
    assert re.search(rf"token metrics: \d+ of {manifest.rows['documents']} documents", text)
    assert "To fit" not in text
    assert main(["info", str(published)]) == 0
    assert "Contexts: " in capsys.readouterr().out


def test_it_is_the_same_every_time(extracted, published, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "ROUNDS", ROUNDS)
    assert publishing.publish(extracted, tmp_path / "again", 60).digest == read_manifest(published).digest


def test_a_copy_of_a_copy(published, tmp_path):
    """Whatever a copy still has can be cut again; both sets of notes stay."""
    manifest = publishing.publish(published, tmp_path / "copy", 60)
    assert verify(tmp_path / "copy") == []
    before = read_manifest(published)
    assert manifest.published_from == {"digest": before.digest}
    assert manifest.notes[: len(before.notes)] == before.notes
    assert manifest.rows["contexts"] == before.rows["contexts"]


def test_the_ladder_gives_up_details_of_replicates_then_contexts_then_features_then_documents():
    cuts = publishing.ladder()
    assert cuts[0] == Cut(contexts=10, features=300, tokens=2000)
    assert cuts[1:5] == [
        Cut(10, 300, 2000, details=False), Cut(8, 300, 2000, details=False), Cut(8, 200, 2000, details=False),
        Cut(8, 200, 1000, details=False),
    ]  # fmt: skip
    sizes = np.array([[cut.details, cut.contexts, cut.features, cut.tokens] for cut in cuts], dtype=int)
    assert (np.diff(sizes, axis=0) <= 0).all()


def test_it_shrinks_until_it_fits(extracted, published, tmp_path, monkeypatch):
    """The largest cut that fits, found by halving, and said in the notes."""
    monkeypatch.setattr(publishing, "ROUNDS", ROUNDS)
    limit = (publishing.size(published) - 1) / publishing.MB
    manifest = publishing.publish(extracted, tmp_path / "small", limit)
    assert publishing.size(tmp_path / "small") <= limit * publishing.MB
    assert verify(tmp_path / "small") == []
    assert re.search(r"To fit [\d.]+ MB, less was kept than usual: contexts a ranking from 2 to 1", manifest.notes[-1])


@pytest.mark.parametrize("fits_from", range(len(publishing.ladder())))
def test_the_first_cut_that_fits_is_found(fits_from, tmp_path, monkeypatch):
    """Against any threshold, with the sizes made up: at most six copies are written."""
    written = []

    def write(_source, folder, cuts, *_others):
        folder.mkdir()
        written.append(len(cuts) - 1)
        (folder / "file").write_bytes(b"." * (100 - len(cuts)))

    monkeypatch.setattr(publishing, "_write", write)
    _manifest, folder = publishing._largest_that_fits(None, tmp_path, (99 - fits_from) / publishing.MB, [])
    assert folder.name == str(fits_from) and folder.exists()
    assert len(written) <= 6


def test_what_cannot_fit_is_refused_and_leaves_nothing(tiny_store, tmp_path, capsys):
    assert main(["publish", str(tiny_store), "--out", str(tmp_path / "copy"), "--max-mb", "0.001"]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and "cannot be cut to 0.001 MB" in error[0]
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_exists_is_kept(tiny_store, tmp_path):
    (tmp_path / "copy").mkdir()
    with pytest.raises(UserError, match="exists already"):
        publishing.publish(tiny_store, tmp_path / "copy", 60)
    assert list((tmp_path / "copy").iterdir()) == []


def test_a_full_disk_leaves_nothing(tiny_store, tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("store.format.writer.StoreWriter.write_part", full)
    with pytest.raises(UserError, match="disk is full"):
        publishing.publish(tiny_store, tmp_path / "copy", 60)
    assert list(tmp_path.iterdir()) == []


def test_no_path_of_this_machine_is_written(published, extracted):
    text = json.dumps(json.loads((published / "manifest.json").read_text()))
    assert str(extracted) not in text and str(published) not in text


def test_publish_needs_no_torch():
    from tests.unit.test_imports import loaded_after

    assert "torch" not in loaded_after("import store.exchange.publish")
