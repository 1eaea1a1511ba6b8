"""Templates of pages: what is put in is text unless it is markup by type, and nothing unknown is printed as nothing."""

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from store.reports import findings
from store.templates import macros, style


@pytest.fixture
def template(tmp_path):
    """template(text, ...) -> the macros of a template of that text."""

    def made(text, *arguments, **names):
        (tmp_path / "page.j2").write_text(text)
        return macros(tmp_path / "page.j2", *arguments, **names)

    return made


def test_what_is_no_markup_is_escaped(template):
    page = template("{% macro one(name) %}<b>{{ name }}</b>{% endmacro %}{% macro two(name) %}{{ one(name) }}{% endmacro %}")
    assert page.two("<i>") == "<b>&lt;i&gt;</b>" and isinstance(page.two("<i>"), Markup)
    assert page.two(Markup("<i>")) == "<b><i></b>"


def test_in_markdown_as_well(template):
    page = template("{% macro one(name) %}**{{ name }}**{% endmacro %}{% macro two(name) %}{{ one(name) }}{% endmacro %}",
                    findings.escaped)  # fmt: skip
    assert page.two("*a* <b>") == "**\\*a\\* &lt;b&gt;**"


def test_filters_show_what_cannot_be_seen_and_write_numbers(template):
    page = template("{% macro one(name, size) %}{{ name | visible }} {{ size | percent }}{% endmacro %}")
    assert page.one("<\u202e", 0.5) == '&lt;<span class="fs-mark">⟨U+202E⟩</span> 50 %'


def test_a_name_that_is_not_known_stops_it(template):
    page = template("{% macro one(row) %}{{ row.wrong }}{% endmacro %}")
    with pytest.raises(UndefinedError, match="wrong"):
        page.one({"right": 1})


def test_a_style_sheet_knows_colours_by_name(tmp_path):
    (tmp_path / "a.css").write_text(".a { color: var(--fs-base); }\n")
    assert style(tmp_path / "a.css", base="#123456") == (
        "<style>\n:root { --fs-base: #123456; }\n.a { color: var(--fs-base); }\n</style>"
    )
