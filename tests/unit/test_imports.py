"""The direction of imports: app -> store <- extract, and neither app nor store ever loads torch."""

import re
import subprocess
import sys

import pytest

from tests.support import ROOT

HEAVY = ("torch", "transformers", "sae_lens", "peft", "datasets", "extract")
SCRIPTS = ("app/main.py", "store/sandbox/worker.py")
"""Run as they are, never imported."""
LIGHT_MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in ("store", "app")
    for path in (ROOT / folder).rglob("*.py")
    if path.name != "__init__.py" and str(path.relative_to(ROOT)) not in SCRIPTS
)


def loaded_after(statement: str) -> set[str]:
    """Top-level names in sys.modules of a fresh Python after a statement."""
    code = f"{statement}\nimport sys\nprint('\\n'.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


def test_no_module_of_app_or_store_loads_torch_or_the_extractor():
    """All of them in one fresh interpreter: a heavy package that any of them pulled in would show. A page ends at its store."""
    assert "app.views.feature" in LIGHT_MODULES
    page = "try:\n    import {}\nexcept Exception:\n    pass"
    loaded = loaded_after("\n".join((page if ".views." in name else "import {}").format(name) for name in LIGHT_MODULES))
    assert not loaded & set(HEAVY)


def test_store_does_not_load_the_app():
    assert "streamlit" not in loaded_after("import store.read.store, store.format.writer")


@pytest.mark.parametrize("folder", ["app", "store"])
def test_no_source_line_imports_upward(folder):
    """Imports inside functions count too."""
    forbidden = {"app": HEAVY, "store": (*HEAVY, "app", "streamlit", "altair")}[folder]
    pattern = re.compile(rf"^\s*(?:from|import)\s+({'|'.join(forbidden)})\b", re.MULTILINE)
    for path in (ROOT / folder).rglob("*.py"):
        found = pattern.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path.relative_to(ROOT)} imports {found[1]}"


def test_arguments_are_checked_before_torch_is_imported(tmp_path):
    """A wrong configuration is refused by a process that never loads torch."""
    (tmp_path / "run.yaml").write_text("base: x\n")
    loaded = loaded_after(
        f"from extract.__main__ import main\nassert main(['run', {str(tmp_path / 'run.yaml')!r}, '--out', 'nowhere']) == 2"
    )
    assert "torch" not in loaded
