"""``init`` on the demo's own folder, with the real Gemma: recipes, tasks and layers are those of the demo's configuration."""

from pathlib import Path

import pytest

from extract.__main__ import main
from extract.config import load_config
from extract.demo import DEMO_CONFIG
from tests.support import ROOT


@pytest.mark.thorough
@pytest.mark.gemma
def test_the_demos_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = load_config(DEMO_CONFIG)
    assert main(["init", str(ROOT / "extract" / "demo"), "--base", shown.base, "--task", "safety=harmful"]) == 0
    config = load_config("run.yaml")
    repeated = {name: one.replicate_of for name, one in config.variants.items() if one.replicate_of}
    assert repeated == {
        "code-seed2": "code", "dialogue-seed2": "dialogue", "maths-seed2": "maths", "safety-seed2": "safety",
        "safety-seed3": "safety",
    }  # fmt: skip
    for name, one in shown.variants.items():
        assert (config.variants[name].adapter, config.variants[name].task) == (one.adapter, one.task)
    assert [sae.path for sae in config.saes] == [sae.path for sae in shown.saes]
    assert {Path(source.path).name for source in shown.corpus} <= {Path(source.path).name for source in config.corpus}
    assert set(shown.neutral_domains) <= set(config.neutral_domains) and config.chat_template == shown.chat_template
