"""Data beside data that is refused: told and left out where it was found, refused where it was named."""

import pytest

from extract.setup.parts import Parts
from extract.setup.text_sources import read_sources
from store.errors import UserError
from tests.support.data_formats import chat
from tests.support.world import write_jsonl

REFUSED = {
    "no format": ({"body": "A cat."}, "has none of"),
    "a role": ({"messages": [{"role": "narrator", "content": "x"}]}, "a turn from 'narrator'"),
    "no role": ({"messages": [{"content": "x"}]}, "does not say who speaks"),
    "a number": ({"messages": [{"role": "user", "content": 5}]}, "content is a int"),
    "a part": ({"messages": [{"role": "user", "content": [5]}]}, "a part that is a int"),
    "words": ({"messages": ["a cat"]}, "a turn that is a str"),
    "nothing read": ({"text": None, "body": "A cat."}, "hold text in body alone"),
    "a domain": ({"text": "x", "domain": "all"}, "reserved for the total"),
    "a lookalike": ({"text": "x", "domain": "good "}, "look the same"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_a_file_that_is_refused_is_told_and_left_out(tmp_path, name, first):
    record, said = REFUSED[name]
    good = {"path": str(write_jsonl(tmp_path / "good.jsonl", [{"messages": chat("a", "b"), "domain": "good"}]))}
    bad = {"path": str(write_jsonl(tmp_path / "bad.jsonl", [record]))}
    parts = Parts(data=[bad, good] if first and name != "a lookalike" else [good, bad])
    assert [source.given["path"] for source in read_sources(parts)] == [good["path"]]
    ((path, why),) = parts.unused
    assert path == bad["path"] and why.startswith("it was not read: ") and said in why
    with pytest.raises(UserError, match=said):
        read_sources(Parts(data=[good, bad], asked_data=True))
