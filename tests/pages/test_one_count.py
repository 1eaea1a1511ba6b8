"""One count for one thing: what is claimed of a recipe is the same number on every page that tells it."""

import re

import pytest

from app import data
from tests.support import ROOT
from tests.support.pages import open_page


@pytest.fixture(params=["tiny", "shipped"])
def told(request, tiny_store, monkeypatch):
    """(the recipe, how many features fell in every run, how many rose): of tiny by hand, else of FINDINGS.md."""
    if request.param == "tiny":
        monkeypatch.setenv(data.VARIABLE, str(tiny_store))
        return "maths", 3, 1
    monkeypatch.setenv(data.VARIABLE, str(ROOT / "store" / "demo"))
    findings = (ROOT / "FINDINGS.md").read_text(encoding="utf-8")
    fell, rose = re.search(
        r"\*\*safety\*\*: .*? (\d+) features suppressed and (\d+) amplified in all 3 runs", findings
    ).groups()
    return "safety", int(fell), int(rose)


def text(app) -> str:
    assert not app.exception and not app.error
    kinds = (app.markdown, app.caption, app.html)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "").replace("*", "")


def test_every_page_counts_the_same(told):
    variant, fell, rose = told
    row = next(str(html.value) for html in open_page("overview").html if f"<b>{variant}</b>" in str(html.value))
    assert f"{fell:,} features fell and {rose:,} rose" in row
    claims = [str(html.value) for html in open_page("overview").html if 'class="fs-claims"' in str(html.value)]
    assert sum(f"▼ {fell:,}</b> <b>▲ {rose:,}<" in one for one in claims) == 1

    of_list = text(open_page("features", variant=variant))
    assert f"{fell + rose:,} claimed: {fell:,} suppressed, {rose:,} amplified" in of_list
    assert re.search(rf"Of {fell:,} features suppressed in {variant}", text(open_page("suppressed", variant=variant)))

    across = open_page("compare", variant=variant)
    table = next(frame.value for frame in across.dataframe if "Claimed" in frame.value)
    assert table.set_index("Recipe").loc[variant, "Claimed"] == f"{fell + rose:,}"

    (progress,) = open_page("review", variant=variant, dense="shown").get("progress")
    assert f"0 of {fell + rose:,} reviewed" in progress.proto.text
