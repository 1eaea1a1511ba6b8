"""The image that serves a store: what it copies is all that the app needs, and nothing of it needs to be written."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.support import ROOT

LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
OPEN_EVERY_PAGE = """
import sys
from pathlib import Path
from streamlit.testing.v1 import AppTest
for view in sorted(path.stem for path in Path("app/views").glob("[a-z]*.py")):
    page = AppTest.from_file(str(Path("app/main.py").resolve()), default_timeout=60)
    page.switch_page(f"views/{view}.py")
    page.run()
    assert not page.exception, (view, page.exception[0].message)
    assert page.markdown, view
assert not {"torch", "transformers", "extract"} & set(sys.modules)
"""


def copied() -> list[str]:
    """What the Dockerfile copies from the repository."""
    found = [line.split()[1:-1] for line in LINES if line.startswith("COPY ")]
    return [name for names in found for name in names]


@pytest.fixture
def image(tmp_path, tiny_store):
    """A folder with what the image holds, with the tiny store for the shipped one."""
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("demo", "__pycache__", "demo-*"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(tiny_store, tmp_path / "store" / "demo")
    return tmp_path


@pytest.mark.thorough
def test_every_page_opens_with_what_is_copied(image):
    before = sorted(image.rglob("*"))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}
    for variable in [name for name in environment if name.startswith("FEATURESHIFT")]:
        del environment[variable]
    done = subprocess.run(
        [sys.executable, "-c", OPEN_EVERY_PAGE], cwd=image, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(image.rglob("*")) == before


def test_what_is_copied_is_not_ignored():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {name.rstrip("/") for name in copied()} <= kept


def test_it_serves_the_shipped_store_without_rights():
    text = "\n".join(LINES)
    assert re.search(r"^USER 1000$", text, re.M) and re.search(r'^CMD \["store/demo"\]$', text, re.M)
    assert text.index("USER 1000") > text.index("COPY store store")
