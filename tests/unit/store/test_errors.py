"""What libraries say, in a sentence of ours."""

import pytest

from store.errors import first_line


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("it is broken\nhere is why", "it is broken"),
        ("it is broken:\nhere\nor there", "it is broken: here"),
        ("what type: \x0e of\tit", "what type: of it"),
        ("", "ValueError"),
    ],
)
def test_a_librarys_words_are_one_line_that_can_be_printed(said, told):
    assert first_line(ValueError(said)) == told
    assert first_line(ValueError(said)).isprintable()
