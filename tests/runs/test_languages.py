"""Text in any language through a byte-level tokenizer: extracted, shown, found and handed on as it reads."""

import re
import unicodedata
from html.parser import HTMLParser

import pytest

from app import data
from app.markup import contexts, token_colours
from app.markup.token_colours import VALUES
from extract.__main__ import main
from store import open_store
from store.reports.findings import _context as finding
from store.reports.review_page import PAGE
from tests.support import pages
from tests.support.world import sentences, write_jsonl

SENTENCE = "A naïve cat 你好 😀 sat"
LAYER = 2
DOMAIN = "Many Tongues: é"


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("languages")
    texts = {f"多言語-{i}": f"{SENTENCE} {text}" for i, text in enumerate(sentences(8, 6))} | {"cut": "你好" * 20}
    records = [{"source": source, "text": text, "domain": DOMAIN} for source, text in texts.items()]
    corpus = [{"path": str(write_jsonl(folder / "texts.jsonl", records))}]
    changes = {"saes": [{"path": str(world.saes[LAYER])}], "context_length": 8, "context_before": 1, "context_after": 1}
    config = world.config(folder, corpus=corpus, tokens=400, document_tokens=50, promoted_tokens=5, **changes)
    assert main(["run", str(config), "--out", str(folder / "store")]) == 0
    return folder / "store"


@pytest.fixture(scope="module")
def store(folder):
    with open_store(folder) as opened:
        yield opened


class Text(HTMLParser):
    """The text of a piece of HTML."""

    def __init__(self, html):
        super().__init__()
        self.text = ""
        self.feed(str(html))

    def handle_data(self, data):
        self.text += data


def document(store, source):
    number = int(store.documents(search=source)["document"].iloc[0])
    return store.document_tokens(number, "tuned", LAYER)


def test_a_document_reads_as_it_was_written(store):
    rows = document(store, "多言語-3")
    assert "".join(rows["token"]).startswith(SENTENCE)
    begin = "".join(rows["token"]).index("你")
    at = next(i for i in range(len(rows)) if len("".join(rows["token"][: i + 1])) > begin)
    assert rows["alone"][at : at + 3].tolist() == ["<0xE4>", "<0xBD>", "<0xA0>"]  # 你 is E4 BD A0
    assert rows["token"][at : at + 3].tolist() == ["你", "", ""]


def test_a_character_that_the_end_of_a_document_cuts_stays_bytes(store):
    """50 tokens of 3 a character: 16 characters and two bytes of 你."""
    assert "".join(document(store, "cut")["token"]) == "你好" * 8 + "<0xE4><0xBD>"


@pytest.mark.parametrize(
    "search",
    ["你好", "naïve", "NAÏVE", unicodedata.normalize("NFD", "naïve"), "好 😀 s", "多言語-", "e CAT 你", "😀"],
)  # fmt: skip
def test_text_is_found_across_tokens(store, search):
    found = store.document_list("tuned", LAYER, search=search, limit=None)
    assert len(found) >= 8
    assert any(source.startswith("多言語") for source in found["source"])


@pytest.mark.parametrize("search", ["Ã¯", "ðŁĺĢ", "naive", "é", "你 好", "好%", "_", "<0xBD>你", "\ufffd"])
def test_what_is_not_there_is_not_found(store, search):
    assert store.document_list("tuned", LAYER, search=search).empty


def test_bytes_that_are_no_character_are_found_as_they_are_shown(store):
    assert store.document_list("tuned", LAYER, search="<0xe4><0xbd>")["source"].tolist() == ["cut"]


def test_a_list_begins_with_whole_characters(store):
    starts = store.document_list("tuned", LAYER, search="cat", limit=None)["start"]
    assert len(starts) and all(start.startswith(SENTENCE) for start in starts)
    assert store.document_list("tuned", LAYER, search="cut")["start"].tolist() == ["你好" * 4]  # 24 tokens


def all_contexts(store):
    keys = store.sql("SELECT DISTINCT feature, ranking FROM contexts ORDER BY ALL").itertuples(index=False)
    return [row for key in keys for row in store.contexts(LAYER, key.feature, "tuned", key.ranking).to_dict("records")]


@pytest.mark.thorough
def test_a_window_that_cuts_a_character_shows_it_whole(store):
    whole = {document: "".join(store.document_tokens(document, "tuned", LAYER)["token"]) for document in range(9)}
    parted = 0
    for row in all_contexts(store):
        text = "".join(row["tokens"])
        assert text in whole[row["document"]]
        assert row["tokens"][0] and len(row["tokens"]) == len(row["alone"]) == len(row["token_ids"]) == row["n_window"]
        parted += text != "".join(row["alone"]) and row["alone"][0] != "<0xE4>"
    assert parted > 10


def test_no_letter_of_the_byte_alphabet_is_shown(store):
    """The vocabulary, promoted tokens included, and the labels made of it."""
    letters = "[¡-ÿĀ-ń]"
    vocabulary = store.sql("SELECT token FROM vocabulary")["token"]
    assert not vocabulary.str.contains(letters).any()
    marked = vocabulary[vocabulary.str.contains("<0x")]
    assert len(marked) > 20 and marked.str.fullmatch("(<0x[89A-F][0-9A-F]>)+").all()
    labels = store.sql("SELECT label FROM features")["label"]
    assert not labels.str.contains(letters).any()
    assert labels.str.contains("“<0x(?:e4|bd|a0|e5|a5)>”").any()
    assert not labels.str.contains("→.*<0x").any()  # parts of characters say nothing as what is promoted
    promoted = store.feature(LAYER, 0)["promoted_tokens"].iloc[0]
    assert not any(re.search(letters, token) for token in promoted)


def a_window_within_a_character(store):
    """A context whose peak only goes on with a character that begins in the window."""
    return next(row for row in all_contexts(store) if not row["tokens"][row["peak"]])


def test_html_reads_as_the_text_does(store):
    rows = document(store, "多言語-3")
    html = token_colours.document(rows, VALUES["cosine"], 1.0, ("base", "tuned"), None, str)
    read = re.sub(r"window \d+, from token \d+", "", Text(html).text)
    assert read.startswith(SENTENCE)
    assert "&#39;你&#39; (&lt;0xE4&gt;)" in html and "&lt;0xBD&gt;: the rest of the character before it" in html
    assert html.count("<a ") == len(rows)
    row = a_window_within_a_character(store)
    context, line = contexts.context(row, 1.0, ("base", "tuned")), contexts.excerpt(row, ("base", "tuned"))
    assert "∅" not in context + line and context.count('class="fs-token') == row["n_window"]
    assert "".join(row["tokens"]) in Text(line).text


@pytest.mark.thorough
def test_findings_and_reports_show_the_character_that_a_peak_goes_on_with(store):
    row = a_window_within_a_character(store)
    place = next(i for i in range(row["peak"], -1, -1) if row["tokens"][i])
    assert f"**{row['tokens'][place].strip()}**" in finding(row)
    given = {"tokens": row["tokens"], "base": row["base_values"], "peak": row["peak"]}
    html = PAGE.window(given, "base", 1.0)
    assert Text(html).text == "".join(row["tokens"]) and html.count('class="peak"') == 1


def test_the_page_finds_a_domain_with_spaces_and_accents_and_reads(folder, monkeypatch):
    monkeypatch.setenv(data.VARIABLE, str(folder))
    app = pages.open_page("documents", find=unicodedata.normalize("NFD", "NAÏVE CAT 你"), domain=DOMAIN, layer="2")
    assert not app.exception and not app.warning
    listed = app.dataframe[0].value
    assert len(listed) == 8 and set(listed["domain"]) == {DOMAIN}
    assert all(start.startswith(SENTENCE) for start in listed["start"])
    whole = next(element.value for element in app.html if 'class="fs-document' in element.value)
    assert "goes on with the character before it" in "".join(element.value for element in app.html)
    assert re.sub(r"window \d+, from token \d+", "", Text(whole.split("</style>")[1]).text).startswith(SENTENCE)
    assert {"<0xE4>", "<0xBD>"} <= set(app.dataframe[-1].value["token"])  # a token by itself, in the table
    assert "No such document" in "".join(info.value for info in pages.open_page("documents", find="naive", layer="2").info)


def test_a_copy_to_share_reads_alike(folder, tmp_path):
    assert main(["publish", str(folder), "--out", str(tmp_path / "copy")]) == 0
    with open_store(tmp_path / "copy") as copy:
        assert "".join(document(copy, "多言語-3")["token"]).startswith(SENTENCE)
