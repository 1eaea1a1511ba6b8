"""The page About this store through AppTest, and the definitions it shares with docs/metrics.md."""

import re
import shutil
from dataclasses import replace

import pytest

from app import data
from app.components import manifest_rows
from app.words import metrics
from store import open_store
from store.format.document_sums import DOCUMENT_SUMS
from store.metrics import definitions
from store.metrics.layer_metrics import METRICS, layer_values
from store.names import CONTROLS
from store.reports.terminal import describe
from tests.support import ROOT, pages
from tests.support.forged import rewrite_manifest

METRICS_PAGE = ROOT / "docs" / "metrics.md"
PARTS = ("Provenance", "Dictionaries", "Left out", "Integrity", "Glossary", "Licences")


@pytest.fixture
def about_page(monkeypatch, tiny_store):
    """about_page('Glossary') -> that part of the page."""

    def opened(part="Provenance", store=tiny_store):
        monkeypatch.setenv(data.VARIABLE, str(store))
        app = pages.open_page("about", part=part)
        assert not app.exception
        return app

    return opened


def text(app):
    kinds = (app.markdown, app.caption, app.info, app.error, app.success, app.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def cells(app):
    return {str(cell) for frame in app.dataframe for row in frame.value.itertuples(index=False) for cell in row}


@pytest.mark.parametrize("part", PARTS)
def test_every_part_opens_for_both_stores(about_page, tiny_store, bare_store, part):
    for store in (tiny_store, bare_store):
        app = about_page(part, store)
        assert not app.error and not app.warning
        said = text(app)
        assert "**maths, maths-seed2 and safety** compared with **tiny-base** on 14 tokens of 3 documents" in said
        assert "; made 2026-01-01" in said
        assert "Requests that may be harmful are covered until asked for" in text(app)


def test_provenance_names_everything_with_its_hash(about_page, tiny_store):
    app = about_page()
    with open_store(tiny_store) as store:
        digest = store.manifest.digest
    assert {"tiny-base", "maths-lora", "safety-lora", "adapter", "tiny-12", "blocks.5.hook_resid_post"} <= cells(app)
    assert {"hand-written", "not recorded in the store", digest, "2026-01-01T00:00:00+00:00"} <= cells(app)
    assert "Not a cut-down copy" in text(app)
    models = app.dataframe[0].value.set_index("role")["replicate of"]
    assert models.to_dict() == {"base": "–", "maths": "–", "maths-seed2": "maths", "safety": "–"}


def test_what_the_dictionaries_are_fed(about_page, tiny_store, tmp_path):
    """Of a store that says it; the tiny one, like those of before, does not."""
    assert not [frame for frame in about_page().dataframe if "residual" in frame.value]
    copy = tmp_path / "copy"
    shutil.copytree(tiny_store, copy)
    plain = {"name": "a", "architecture": "topk", "centred": False, "normalize_activations": "layer_norm", "folded": None,
             "apply_b_dec_to_input": True, "model_name": None, "prepend_bos": None, "context_size": 128,
             "stored_dtype": "float32", "dtype": "float32"}  # fmt: skip
    scale = "expected_average_only_in: 0.44"
    folded = {"centred": True, "normalize_activations": "none", "folded": scale, "prepend_bos": False}
    rewrite_manifest(copy, saes={"5": plain, "12": plain | folded | {"model_name": "gpt2-small", "dtype": "bfloat16"}})
    (fed,) = [frame.value for frame in about_page(store=copy).dataframe if "residual" in frame.value]
    assert fed["layer"].tolist() == [5, 12] and fed["model"].tolist() == ["not said", "gpt2-small"]
    assert fed["residual"].tolist() == ["as it is", "less its mean over d_model"]
    assert fed["normalisation"].tolist() == ["layer_norm", "expected_average_only_in: 0.44 (folded into the weights)"]
    assert fed["BOS"].tolist() == ["not said", "no"] and fed["window"].tolist() == ["128", "128"]
    assert fed["dtype"].tolist() == ["float32", "bfloat16, stored in float32"]


def test_settings_are_written_as_they_are(about_page, tiny_store, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_store, copy)
    settings = {"token_kl": 0, "spectrum": 1, "count_sinks": False, "answers": None, "tasks": {"a": ["b", "c"]}}
    rewrite_manifest(copy, settings=settings, notes=["Half is left out."], published_from={"digest": "abc"})
    app = about_page(store=copy)
    settings = next(frame.value for frame in app.dataframe if "setting" in frame.value)
    assert settings["value"].tolist() == ["0", "1", "no", "none", "a: b, c"]
    assert "Half is left out." in text(app) and "published from digest: abc" in text(app)


def test_dictionaries_have_their_dead_and_dense_shares(about_page, tiny_store):
    with open_store(tiny_store) as store:
        rows = store.dictionary_quality()
        fit = store.base_fit().set_index(["domain", "layer"])["fvu_base"]
    # Of the six densities two are 0, and one, 50/140, is above a tenth.
    assert rows[["layer", "dead", "dense"]].values.tolist() == [[5, 2 / 6, 1 / 6], [12, 2 / 6, 1 / 6]]
    assert rows["self_test_fvu"].tolist() == pytest.approx([0.1, 0.24])
    assert (fit[("all", 5)], fit[("maths", 12)]) == (0.1, 0.3)
    assert fit.index[0][0] == "all"
    shown = about_page("Dictionaries")
    assert shown.dataframe[0].value[["dead", "dense"]].values.tolist() == [["33 %", "17 %"]] * 2
    gates = shown.dataframe[2].value.set_index("variant")
    assert gates.loc["safety"].tolist() == ["fits", "does not fit"]


def test_what_was_left_out(about_page):
    said = text(about_page("Left out"))
    assert "A BOS token was put before every context window" in said
    assert "No document was skipped." in said
    assert "The codes of every document were kept." in said


@pytest.mark.parametrize("left_out", [{}, {"documents cut at document_tokens": 1234, "characters beyond the cut": 5}])
def test_what_was_cut_is_counted(about_page, tiny_store, tmp_path, left_out):
    copy = shutil.copytree(tiny_store, tmp_path / "copy")
    counts = {"tokens": 14, "documents": 3, "skipped": {"null instead of text": 7}, "bos": False, "left_out": left_out}
    rewrite_manifest(copy, counts=counts)
    app = about_page("Left out", store=copy)
    assert {"7", "null instead of text"} <= cells(app)
    assert ("Every document was read whole" in text(app)) == (not left_out)
    assert {*map(str, left_out.values()), *left_out} <= cells(app)
    with open_store(copy) as store:
        said = describe(store)
    assert all(f"left out  {number} {what}" in said for what, number in left_out.items())


@pytest.mark.parametrize(
    ("used", "shown"),
    [({"from": "safety", "sha256": "ab" * 32}, {"chat template of", "ab" * 32}), (None, {"chat template"}), ({}, set())],
)
def test_whose_chat_template_it_was(about_page, tiny_store, tmp_path, used, shown):
    copy = shutil.copytree(tiny_store, tmp_path / "copy")
    if used != {}:
        rewrite_manifest(copy, corpus={"sources": [], "chat_template": used})
    app = about_page(store=copy)
    assert shown <= cells(app)
    assert ("none: prompts and responses were joined by a line break" in cells(app)) == (used is None)
    with open_store(copy) as store:
        assert ("template  of safety (abababababab)" in describe(store)) == bool(used)


def test_a_sound_store_is_said_to_be_whole(about_page):
    app = about_page("Integrity")
    app.button(key="verify").click().run()
    assert "The store is whole: 3 files" in text(app)
    assert not app.error


def test_a_damaged_store_is_named_by_its_file(about_page, tiny_store, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_store, copy)
    part = copy / "latents" / "part-00000.h5"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    app = about_page("Integrity", copy)
    app.button(key="verify").click().run()
    assert "This store is damaged" in text(app)
    assert "'latents/part-00000.h5' differs from what was written" in text(app)
    assert not app.success


def test_every_metric_is_in_the_glossary_with_a_formula():
    expected = [*layer_values(dict.fromkeys(DOCUMENT_SUMS, 1.0), 0.0, 0.0, 1.0), *CONTROLS, "verdict", "q_twin", "change"]
    expected += [name for name in metrics.METRICS if name not in ("excess", "claimed")]
    expected += ["std_shift", "kind", "detectable_loss", "freq_variant", "magnitude_ratio"]
    defined = {name: row for section in definitions.sections() for row in section.rows for name in definitions.names(row)}
    for name in expected:
        assert defined[name][1], name
    assert defined["relative_shift"][1:] == ("sqrt(Σ‖δ‖² / Σ‖h_a‖²)", "share of the base's norm, ≥ 0", "–")
    assert defined["overlap"][2:4] == ("Jaccard, 0 … 1", "control − observed")
    assert defined["delta_coverage"][2] == "share, may be negative, ≤ 1"


def test_every_table_of_the_docs_is_what_the_code_defines():
    """Mended by 'python -m store.metrics.definitions docs/metrics.md'."""
    page = METRICS_PAGE.read_text(encoding="utf-8")
    assert definitions.written(page) == page
    lines = [line for line in page.splitlines() if line.startswith("|")]
    sections = definitions.sections()
    assert len(lines) == sum(len(section.rows) + 2 for section in sections)
    assert all(len(row) == len(section.columns) for section in sections for row in section.rows)


def test_a_page_without_a_place_for_a_table_is_refused():
    page = METRICS_PAGE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="no place for the table 'Evidence about a feature'"):
        definitions.written(page.replace("<!-- table: Evidence about a feature -->", ""))


def test_the_page_says_what_the_catalogue_says(about_page, monkeypatch):
    assert "| mean over tokens of cos(h_a, h_b) |" in text(about_page("Glossary"))
    monkeypatch.setitem(METRICS, "cosine", replace(METRICS["cosine"], definition="quite another formula"))
    said = text(about_page("Glossary"))
    assert re.search(r"`cosine` \| \*\*Cosine\*\* \| quite another formula \|", said)
    assert "mean over tokens of cos(h_a, h_b)" not in said


def test_the_glossary_finds_a_word_or_says_that_there_is_none(about_page):
    app = about_page("Glossary")
    app.text_input(key="find").set_value("jaccard").run()
    assert "`overlap`" in text(app) and "`effective_rank`" not in text(app)
    app.text_input(key="find").set_value("zebra <b>").run()
    assert "Nothing here is called “zebra <b>”" in text(app)


def test_a_source_has_the_licence_that_the_manifest_names(tiny_store):
    with open_store(tiny_store) as store:
        manifest = store.manifest
    named = {"file": "fiction.jsonl", "sha256": "f" * 64, "domain": "fiction", "licence": "CC0 1.0"}
    given = replace(manifest, corpus={"sources": [named, {"dataset": "a/b"}, "hand-written"]})
    rows = manifest_rows.sources(given)
    assert [row["source"] for row in rows] == ["fiction.jsonl", "a/b", "hand-written"]
    assert "format" not in rows[0]
    told = replace(manifest, corpus={"sources": [named | {"format": "ShareGPT"}, {"dataset": "a/b"}]})
    assert [row["format"] for row in manifest_rows.sources(told)] == ["ShareGPT", "–"]
    assert [row["licence"] for row in rows] == ["CC0 1.0", *["not recorded in the store"] * 2]
    assert (rows[0]["SHA-256"], rows[1]["SHA-256"]) == ("f" * 64, "–")
