"""The text of tokens: bytes marked without ambiguity, characters whole over several tokens."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.token_text import MARK, cut, folded, in_place, raw_bytes, running, written

PIECES = st.sampled_from(
    [b"<", b"0x", b"<0xE2>", b"<0x3C>", b">", b"E2", b"\xe4", b"\xbd\xa0", b"\xed\xa0\x80", "é😀\ufffd".encode(), b" a"]
)
RAW = st.lists(PIECES | st.binary(max_size=4), max_size=6).map(b"".join)
ANY = settings(deadline=None, max_examples=300, derandomize=True)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b" the", " the"),
        ("é".encode(), "é"),
        (b"\xe9", "<0xE9>"),
        (b"\xe4\xbd", "<0xE4><0xBD>"),
        (b" \xf0\x9f", " <0xF0><0x9F>"),
        (b"\xa0\xe5\xa5\xbd", "<0xA0>好"),
        (b"<0xE2>", "<0x3C>0xE2>"),  # text that looks like a byte
        (b"<0x3C>", "<0x3C>0x3C>"),
        (b"<0x41><0xe2>", "<0x41><0xe2>"),  # no byte is written so
        (b"\xed\xa0\x80", "<0xED><0xA0><0x80>"),  # half of a surrogate pair is no character
        ("\ufffd".encode(), "\ufffd"),
    ],
)
def test_how_the_bytes_of_a_token_are_written(raw, text):
    assert written(raw) == text
    assert raw_bytes(text) == raw


@ANY
@given(RAW)
def test_what_is_written_stands_for_its_bytes_alone(raw):
    assert raw_bytes(written(raw)) == raw
    assert all(int(mark[3:5], 16) >= 0x80 or mark == "<0x3C>" for mark in re.findall(MARK, written(raw)))


@ANY
@given(st.lists(RAW.map(written), max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_tokens_in_their_places_read_as_their_bytes_do(tokens, first, more):
    whole = b"".join(map(raw_bytes, tokens))
    assert "".join(in_place(tokens)) == running(whole)
    assert len(in_place(tokens)) == len(tokens)
    last = min(first + more, len(tokens))
    piece = in_place(tokens, first, last)
    assert len(piece) == max(0, last - first)
    if piece and raw_bytes(tokens[first]):
        assert piece[0]  # what the cut parted stands at the first token


@pytest.mark.parametrize(
    ("tokens", "texts"),
    [
        (["n", "a", "<0xC3>", "<0xAF>", "ve"], ["n", "a", "ï", "", "ve"]),
        (["<0xE4>", "<0xBD>", "<0xA0><0xE5>", "<0xA5>", "<0xBD>!"], ["你", "", "好", "", "!"]),
        ([" <0xF0><0x9F>", "<0x98>", "<0x80>"], [" 😀", "", ""]),
        (["<0xE4>", "<0xBD>", " x"], ["<0xE4>", "<0xBD>", " x"]),  # not whole
        (["<0xBD>", "<0xE9>", "e"], ["<0xBD>", "<0xE9>", "e"]),
        (["<", "0x", "E2", ">", "<0xA0>"], ["<", "0x", "E2", ">", "<0xA0>"]),  # text of several tokens that looks like a byte
        (["<0x3C>0xE2>", "<0xBD>"], ["<0xE2>", "<0xBD>"]),  # and of one
        ([" the", " dog"], [" the", " dog"]),
    ],
)
def test_a_character_stands_whole_at_its_first_token(tokens, texts):
    assert in_place(tokens) == texts


def test_a_window_that_parts_a_character_shows_it_whole():
    tokens = ["a", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "b"]
    assert in_place(tokens, 2, 4) == ["😀", ""]
    assert in_place(tokens, 3, 6) == ["😀", "", "b"]
    assert in_place(tokens, 0, 2) == ["a", "😀"]
    texts = in_place(tokens)
    assert cut(texts, 2, 5) == ["😀", "", ""]
    assert cut(texts, 1, None) == ["😀", "", "", "", "b"]
    assert cut(texts, 5, 6) == ["b"]
    assert cut([" 你", "", "x"], 1, 3) == ["你", "x"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("naïve", "NAI\u0308VE", True), ("Straße", "STRASSE", True), ("naïve", "naive", False), ("é", "<0xE9>", False)],
)
def test_what_counts_as_the_same_in_a_search(one, other, same):
    assert (folded(one) == folded(other)) is same
