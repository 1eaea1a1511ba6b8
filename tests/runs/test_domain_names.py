"""Domains may be called anything: each page shows them, links name them, and every answer is that of a plain name."""

import urllib.parse

import pandas as pd
import pytest

from app import data, words
from store import open_store, verify
from store.reports.findings import findings
from tests.browser.test_browser import PAGES
from tests.support import pages, tiny_store

PLAIN = ("maths", "harmful")
ODD = (
    ("General Knowledge", "general knowledge"),
    ("数学 – naïve 😀", "المعرفة"),
    ("a\"b'c <b>x</b> {y} $z$ :red[w]", "<script>alert(1)</script>"),
    ("100% #1/2?x=1&y=2+3;z", "../..\\x|y`*_~[l](http://x)"),
    ("L" * 300, "l" * 300 + " end"),
    (" spaces ", "line\nend\ttab"),
    ("null", "0"),
)
WORST = ("General Knowledge: " + "".join(name for name, _ in ODD[1:5]), "".join(name for _, name in ODD[1:6]))
"""All of that in two names, for the pages."""

VIEWS = [path or "overview" for path in PAGES]


def named(folder, domains):
    """The tiny store with its two domains called otherwise."""
    other = dict(zip(PLAIN, domains, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_store, "DOCUMENTS", [(source, other[name], *rest) for source, name, *rest in tiny_store.DOCUMENTS])
        patch.setattr(tiny_store, "N_TOKENS", {other.get(name, name): n for name, n in tiny_store.N_TOKENS.items()})
        margins = {(other.get(name, name), segment): m for (name, segment), m in tiny_store.MARGINS.items()}
        patch.setattr(tiny_store, "MARGINS", margins)
        return tiny_store.make_tiny_store(folder)


@pytest.fixture(scope="module", params=ODD, ids=range(len(ODD)))
def odd(request, tmp_path_factory):
    """(the store, its domains)."""
    return named(tmp_path_factory.mktemp("odd") / "store", request.param), request.param


@pytest.fixture(scope="module")
def worst(tmp_path_factory):
    return named(tmp_path_factory.mktemp("worst") / "store", WORST)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return named(tmp_path_factory.mktemp("plain") / "store", PLAIN)


ASKED = {
    "layer_metrics": {},
    "shifted_features": {"variant": "maths"},
    "contexts": {"layer": 12, "feature": 1, "variant": "maths", "ranking": "decrease"},
    "document_list": {"variant": "maths", "layer": 12, "value": "overlap_change"},
    "overview": {},
    "feature_keys": {"variant": "maths"},
    "count_features": {"variant": "maths"},
}


@pytest.mark.parametrize("question", ASKED)
def test_a_question_about_a_domain_has_the_answer_of_a_plain_name(odd, plain, question):
    path, domains = odd
    with open_store(path) as store, open_store(plain) as other:
        assert set(store.domains) == set(domains)
        assert len(getattr(other, question)(domain=PLAIN[0], **ASKED[question]))
        for name, as_plain in zip(domains, PLAIN, strict=True):
            found = getattr(store, question)(domain=name, **ASKED[question])
            expected = getattr(other, question)(domain=as_plain, **ASKED[question])
            if "domain" in found:
                found["domain"] = found["domain"].replace(dict(zip(domains, PLAIN, strict=True)))
            pd.testing.assert_frame_equal(found, expected)


def test_a_store_of_odd_domains_is_sound_and_has_findings(odd):
    path, _ = odd
    assert verify(path) == []
    with open_store(path) as store:
        page = findings(store)
    assert "<script>" not in page and "<b>x</b>" not in page


def on_page(*kinds):
    return "\n".join(str(element.value) for kind in kinds for element in kind)


@pytest.mark.thorough
@pytest.mark.parametrize("view", VIEWS)
def test_a_page_of_each_domain(worst, monkeypatch, view):
    monkeypatch.setenv(data.VARIABLE, str(worst))
    params = {"layer": "12", "feature": "0", "variant": "maths", "text": "shown"} if view == "feature" else {}
    for name in WORST:
        app = pages.open_page(view, domain=name, **params)
        assert not app.exception and not app.error
        assert "which is not here" not in on_page(app.warning)
        assert ":red[w]" not in on_page(app.markdown, app.caption, app.info)
        for tag in ("<script>alert", "<b>x</b>"):
            assert tag not in on_page(app.markdown, app.caption, app.info, app.html)
        chosen = [box for box in app.selectbox if box.key == "pick_domain"]
        assert [box.value for box in chosen] in ([name], [])
        for proto in app.get("page_link"):
            kept = urllib.parse.parse_qs(proto.proto.query_string, keep_blank_values=True)
            assert kept.get("domain", [name]) == [name]


def test_names_of_files():
    assert words.file_name("shifted", "maths", "General Knowledge") == "shifted_maths_General-Knowledge"
    assert words.file_name("a/b", "../..\\x|y", "数学") == "a-b_x-y_数学"
    assert words.file_name("list", "L" * 300) == "list_" + "L" * 60
    assert words.file_name("list", "///") == "list"
