"""How the house is kept: files of a size that can be read, names once, and no way from app and store to another top folder."""

import ast
import re
from collections import Counter

import pytest

from tests.support import ROOT

TOPS = ("extract", "store", "app", "tests")
MOST_LINES = 300
REASON = "Long because"
FOREIGN = {"app": ("extract/", "docs/", "tests/"), "store": ("extract/", "docs/", "tests/", "app/")}
"""Top folder -> beginnings of paths that its code has no business to name."""


def modules(top):
    """Paths of a top folder's Python files."""
    return sorted(path for path in (ROOT / top).rglob("*.py") if "__pycache__" not in path.parts)


@pytest.mark.parametrize("top", TOPS)
def test_no_file_is_long_without_a_reason(top):
    for path in modules(top):
        text, name = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        if len(text.splitlines()) > MOST_LINES:
            said = (ast.get_docstring(ast.parse(text)) or "").splitlines()[:6]
            assert REASON in " ".join(said), f"{name}: over {MOST_LINES} lines; split it, or begin with '{REASON} ...'"


@pytest.mark.parametrize("top", TOPS)
def test_no_module_name_stands_twice_in_a_top_folder(top):
    counts = Counter(path.name for path in modules(top) if not path.name.startswith("__") and path.name != "conftest.py")
    twice = {name for name, count in counts.items() if count > 1}
    assert not twice


def strings(tree):
    """String constants of a module's code: neither docstrings nor texts that stand by themselves."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone
    ]


@pytest.mark.parametrize("top", FOREIGN)
def test_code_names_no_path_of_another_top_folder(top):
    pattern = re.compile(rf"(?<![\w/.])(?:{'|'.join(map(re.escape, FOREIGN[top]))})")
    found = [
        (str(path.relative_to(ROOT)), text)
        for path in modules(top)
        for text in strings(ast.parse(path.read_text(encoding="utf-8")))
        if pattern.search(text)
    ]
    assert found == ALLOWED.get(top, [])


ALLOWED = {"app": [("app/views/about.py", "The tables of docs/metrics.md.")]}
"""What a reader is told, which opens nothing."""
