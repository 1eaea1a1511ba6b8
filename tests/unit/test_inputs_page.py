"""docs/inputs.md is what the tests' own tables make of it, and every test that it names exists."""

import ast

import pytest

from tests.support import ROOT
from tests.support.matrix import FILE_TEST, FORMAT_TEST, SITUATIONS, page


def test_the_page_is_what_the_tests_try():
    assert (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8") == page(), (
        "write it anew: python -m tests.support.matrix docs/inputs.md"
    )


@pytest.mark.parametrize("named", [FILE_TEST, FORMAT_TEST, *(row.test for row in SITUATIONS)])
def test_a_test_that_it_names_exists(named):
    file, name = named.split("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
