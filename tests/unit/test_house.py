"""How the house is kept: files of a size that can be read, names once, and no way from app and store to another top folder."""

import ast
import re
from collections import Counter

import pytest

from tests.support import ROOT

TOPS = ("extract", "store", "app", "tests")
MOST_LINES = 300
REASON = "Long because"
TO_SPLIT = {
    "app/charts/features.py", "app/views/compare.py", "app/views/documents.py", "app/views/feature.py",
    "extract/bench/truth.py", "extract/corpus/turns.py", "extract/measure/feature_sums.py",
    "extract/measure/token_kl.py", "extract/models/adapters.py", "extract/models/checkpoints.py",
    "extract/saes/dictionary.py", "store/format/parts.py", "store/read/connection.py", "store/read/lists.py",
    "store/read/queries.py", "store/read/variant_pairs.py", "tests/attacks/test_bad_input.py",
    "tests/attacks/test_fuzz.py", "tests/attacks/test_sandbox_answer.py", "tests/attacks/test_strangers.py",
    "tests/attacks/test_unavailable.py", "tests/attacks/test_untrusted.py", "tests/browser/test_browser.py",
    "tests/demo/test_gemma.py", "tests/pages/test_views.py", "tests/runs/test_commands.py",
    "tests/runs/test_controls.py", "tests/runs/test_dictionaries.py", "tests/runs/test_planted.py",
    "tests/runs/test_properties.py", "tests/runs/test_reference.py", "tests/runs/test_steer.py",
    "tests/runs/test_token_kl.py", "tests/runs/test_weights.py", "tests/support/reference.py",
    "tests/support/tiny_store.py", "tests/unit/extract/corpus/test_corpus.py",
    "tests/unit/extract/corpus/test_records.py", "tests/unit/extract/corpus/test_turns.py",
    "tests/unit/store/metrics/test_evidence.py", "tests/unit/store/read/test_compare.py",
    "tests/unit/store/read/test_documents.py", "tests/unit/store/read/test_queries.py",
    "tests/unit/store/reports/test_review.py", "tests/unit/store/sidecar/test_sidecar.py",
}  # fmt: skip
"""Longer, and without a reason yet."""
FOREIGN = {"app": ("extract/", "docs/", "tests/"), "store": ("extract/", "docs/", "tests/", "app/")}
"""Top folder -> beginnings of paths that its code has no business to name."""


def modules(top):
    """Paths of a top folder's Python files."""
    return sorted(path for path in (ROOT / top).rglob("*.py") if "__pycache__" not in path.parts)


@pytest.mark.parametrize("top", TOPS)
def test_no_file_is_long_without_a_reason(top):
    for path in modules(top):
        text, name = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        if len(text.splitlines()) > MOST_LINES and name not in TO_SPLIT:
            said = (ast.get_docstring(ast.parse(text)) or "").splitlines()[:6]
            assert REASON in " ".join(said), f"{name}: over {MOST_LINES} lines; split it, or begin with '{REASON} ...'"


@pytest.mark.parametrize("top", TOPS)
def test_no_module_name_stands_twice_in_a_top_folder(top):
    counts = Counter(path.name for path in modules(top) if not path.name.startswith("__") and path.name != "conftest.py")
    twice = {name for name, count in counts.items() if count > 1}
    assert twice <= ({"features.py"} if top == "app" else set())


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
