"""Contexts as HTML: inert whatever a token holds, and coloured on one scale."""

import re
from html.parser import HTMLParser

import pytest

from app import words
from app.markup import contexts
from app.words import palette
from store import text


class Outline(HTMLParser):
    """Collects the tags and attributes of a piece of HTML."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(str(text))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


HOSTILE = [
    "<script>alert(1)</script>",
    '" onmouseover="alert(2)',
    "<img src=x onerror=alert(3)>",
    "'>&lt;b&gt;",
    "</span></div>",
]


@pytest.mark.parametrize("token", HOSTILE)
def test_hostile_tokens_are_inert(token):
    row = {
        "rank": 1, "domain": token, "source": token, "position": 3, "peak": 0,
        "tokens": [token], "base_values": [1.0], "variant_values": [2.0],
    }  # fmt: skip
    outline = Outline(contexts.context(row, 2.0, ("base", token)))
    assert set(outline.tags) <= {"div", "span", "b", "bdi"}
    assert {name for name, _ in outline.attributes} <= {"class", "style", "title", "aria-hidden"}
    assert token in outline.text


def test_a_chip_names_the_characters_for_which_a_reader_may_have_no_font():
    chips = contexts.chips(["abc", " é𒀀"], [1.0, 2.0])
    assert chips.count("title=") == 1 and 'title="U+0020 U+00E9 U+12000"' in chips
    assert "⟨U+0378⟩" in contexts.chips(["\u0378"], [1.0])  # unassigned


def test_chips_and_legends_escape_too():
    outline = Outline(contexts.chips([HOSTILE[0]], [1.0]) + contexts.legend(1.0, ("base", HOSTILE[2])))
    assert "script" not in outline.tags
    assert "img" not in outline.tags
    assert "script" not in Outline(contexts.series_legend([(HOSTILE[0], "#123456", "dashed", 3)])).tags


@pytest.mark.parametrize(
    ("token", "shown"),
    [("\n", "↵"), ("\t", "⇥"), (" a", " a"), ("\u202e", "⟨U+202E⟩"), ("\x00", "⟨U+0000⟩"), ("\u200b", "⟨U+200B⟩"), ("", "∅"),
     ("😀", "😀")],
)  # fmt: skip
def test_invisible_characters_are_shown(token, shown):
    assert re.sub(r"<[^>]+>", "", text.visible(token)) == shown


def test_a_token_in_its_place_and_in_a_cell():
    """What only goes on with a character has no text of its own, and is seen."""
    assert re.sub(r"<[^>]+>", "", text.in_place("")) == "" and "<span" in text.in_place("")
    assert text.in_place(" <b>") == " &lt;b&gt;"
    assert text.in_place("", False) == text.visible("")
    assert text.marked("<b>\n\t\u202e\u00a0é") == "<b>↵⇥⟨U+202E⟩⍽é"


def test_a_title_says_which_bytes_a_token_is():
    assert contexts.called(" a", " a") == "' a'"
    assert contexts.called("你", "<0xE4>") == "'你' (<0xE4>)"
    assert contexts.called("", "<0xBD>") == "<0xBD>: the rest of the character before it"


def test_a_colour_grows_with_the_value_and_stops_at_the_top():
    assert contexts.colour(0.0, 4.0, "#1f83c6") == "transparent"
    assert contexts.colour(1.0, 0.0, "#1f83c6") == "transparent"
    assert contexts.colour(1.0, 4.0, "#1f83c6") == "rgba(31,131,198,0.30)"
    assert contexts.colour(4.0, 4.0, "#1f83c6") == "rgba(31,131,198,0.60)"
    assert contexts.colour(9.0, 4.0, "#1f83c6") == "rgba(31,131,198,0.60)"


def test_the_scale_is_shared_by_models_and_windows():
    assert contexts.scale([([1.0, 2.0], [0.0, 3.0]), ([0.5], [0.0])]) == 3.0
    assert contexts.scale([]) == 0.0


def window(tokens, base, variant, peak, top, names):
    """A context as HTML, whose place is of no matter."""
    place = {"rank": 1, "domain": "d", "source": "s", "position": 0}
    return contexts.context(
        place | {"tokens": tokens, "base_values": base, "variant_values": variant, "peak": peak}, top, names
    )


def test_a_window_has_the_peak_outlined_and_the_signed_difference():
    text = window([" a", " b"], [4.0, 0.0], [1.0, 2.0], 0, 4.0, ("base", "maths"))
    first, second = text.split('<div class="fs-token')[1:]
    assert first.startswith(" fs-peak")
    assert not second.startswith(" fs-peak")
    assert "-3.00" in first
    assert "+2.00" in second
    assert contexts.colour(3.0, 4.0, palette.DECREASE_COLOUR) in first
    assert contexts.colour(2.0, 4.0, palette.INCREASE_COLOUR) in second
    assert "base 4.00\nmaths 1.00\nchange -3.00" in first


def test_a_small_difference_is_coloured_but_not_written():
    text = window([" a"], [4.0], [3.9], 0, 4.0, ("base", "maths"))
    assert contexts.colour(0.1, 4.0, palette.DECREASE_COLOUR) in text
    assert ">-0.100</span>" not in text


def test_what_is_small_beside_another_window_is_still_written_in_its_own():
    assert ">-1.00</span>" in window([" a"], [2.0], [1.0], 0, 4000.0, ("base", "maths"))


def test_text_for_markdown_is_escaped():
    assert words.plain("<b>[x](y)*") == "\\<b\\>\\[x\\]\\(y\\)\\*"
