"""README, ARCHITECTURE and docs say what is so: commands, files, fields and metrics that they name exist."""

import re

import pytest
import yaml

from extract.__main__ import app
from extract.config import RunConfig, describe_fields
from store import open_store
from store.format.document_sums import DOCUMENT_SUMS
from store.metrics.layer_metrics import layer_values
from store.reports import glossary
from tests.support import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("*.md")]


def commands() -> set[str]:
    """Names of the command line's commands."""
    return {name for name in app if not name.startswith("-")}


def test_every_command_is_in_the_readme_or_the_changelog():
    text = README + (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for command in commands():
        assert re.search(rf"\b{command}\b", text), command


def test_every_command_named_in_the_docs_exists():
    for page in PAGES:
        for command in re.findall(r"python -m extract ([a-z-]+)", page.read_text(encoding="utf-8")):
            assert command in commands(), f"{page.name}: {command}"


def test_make_targets_named_in_the_readme_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for target in re.findall(r"^make ([a-z-]+)", README, re.MULTILINE):
        assert target in targets


def test_the_example_configuration_is_valid():
    example = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)[1]
    config = RunConfig.model_validate(yaml.safe_load(example))
    assert set(config.variants) == {"maths", "maths-2", "safety"}


def test_every_field_has_help():
    for name, _default, text in describe_fields():
        assert len(text) > 10, name
    names = [name for name, _default, _text in describe_fields()]
    assert {"base", "variants.adapter", "variants.planted.layer", "saes.release", "corpus.licence"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_architecture_describes_every_package_and_no_other():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    described = set(re.findall(r"\*\*((?:extract|store|app)/\w+)\*\*", text))
    inits = [path for top in ("extract", "store", "app") for path in (ROOT / top).glob("*/__init__.py")]
    assert described == {str(path.parent.relative_to(ROOT)) for path in inits} | {"app/views"}
    for name in re.findall(r"`((?:extract|store|app)/[\w/.]+\.(?:py|sql))`", text):
        assert (ROOT / name).exists(), name


def test_every_metric_is_defined_in_the_docs():
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for name in layer_values(dict.fromkeys(DOCUMENT_SUMS, 1.0), 0.0, 0.0, 1.0):
        assert f"`{name}`" in text, name
    for column in glossary.schema()["feature_stats"].columns:
        if column.name not in ("variant", "layer", "domain", "feature"):
            assert column.name in text, column.name


def test_every_column_of_the_schema_is_commented_or_says_it_itself():
    """A column without a comment must be one of the words that the page's head defines."""
    plain = {"variant", "layer", "domain", "feature", "segment", "document", "position", "bin", "token_id", "fvu_base",
             "fvu_variant", "freq_variant", "n_documents", "n_tokens", "suppressed_logits",
             "l0_base", "l0_variant"}  # fmt: skip
    for table in (*glossary.schema().values(), *glossary.contributions_schema().values()):
        for column in table.columns:
            assert column.comment or column.name in plain, (table.name, column.name)


def test_the_notebook_lines_work(tiny_store):
    """The README's Python, on the tiny store instead of the demo's."""
    lines = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    lines = lines.replace("runs/demo", str(tiny_store)).replace("431", "1")
    names = {}
    exec(lines, names)  # our own README
    names["s"].close()
    with open_store(tiny_store) as store:
        assert store.contexts(layer=12, feature=1, variant="maths", ranking="decrease")["token_ids"].iloc[0] is not None
