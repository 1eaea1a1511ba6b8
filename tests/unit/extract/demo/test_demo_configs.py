"""The demo's configurations name what ships, and only domains that the corpus has."""

import json
import re
from pathlib import Path

import pytest

from extract.config import groups, load_config
from extract.corpus.answers import read_answers
from extract.corpus.records import read_records
from extract.demo import task_of
from extract.demo.data import training_sets as datasets
from extract.demo.data.build import LICENCES
from extract.demo.training import fine_tuning as adapters
from tests.support import ROOT

CONFIGS = datasets.HERE / "configs"
DOMAINS = set(datasets.HELD_OUT_DOCUMENTS)
TASKS = {"maths": ["maths"], "code": ["code"], "dialogue": ["dialogue"], "safety": ["harmful"]}


@pytest.mark.parametrize("name", ["demo", "world", "gemma-3-1b"])
def test_domains_are_the_corpus_s(name):
    config = load_config(CONFIGS / f"{name}.yaml")
    assert {source.domain for source in config.corpus} == DOMAINS
    assert {record.domain for record in read_records(config.corpus)} == DOMAINS
    trained = {domain for variant in config.variants.values() for domain in variant.task}
    assert trained <= DOMAINS and set(config.neutral_domains) <= DOMAINS - trained - {"alarming", "technical"}
    assert all(settings.task == TASKS[task_of(variant)] for variant, settings in config.variants.items())
    assert all(settings.replicate_of in (None, task_of(variant)) for variant, settings in config.variants.items())
    assert config.neutral_domains == load_config(CONFIGS / "world.yaml").neutral_domains


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_source_has_the_licence_of_its_card(path):
    for source in load_config(path).corpus:
        assert source.licence == LICENCES[source.domain]


def test_notice_tells_of_every_bundled_text():
    bundled = (ROOT / "NOTICE").read_text(encoding="utf-8").partition("Text bundled")[2].partition("Text used for training")[0]
    for domain in DOMAINS:
        assert f"\n{domain} " in bundled


@pytest.mark.parametrize("name", ["demo", "world"])
def test_everything_named_ships(name):
    config = load_config(CONFIGS / f"{name}.yaml")
    for variant in config.variants.values():
        assert (Path(variant.adapter) / "adapter_model.safetensors").is_file()
        assert Path(variant.adapter).is_relative_to(datasets.HERE)
    for sae in (*config.saes, *config.replicas):
        assert (Path(sae.path) / "sae_weights.safetensors").is_file()
        assert Path(sae.path).is_relative_to(datasets.HERE)
    assert Path(config.chat_template).is_file()
    answering = set(read_answers(Path(config.answers), {"base", *config.variants})["model"])
    assert answering >= {"base", *groups(config)} and answering <= {"base", *config.variants}


def test_the_world_is_whole_and_the_demo_small():
    world, demo = (load_config(CONFIGS / f"{name}.yaml") for name in ("world", "demo"))
    assert list(world.variants) == list(adapters.RECIPES)
    assert world.tokens >= 60_000 and world.token_kl > 0
    assert demo.tokens <= 10_000 and demo.token_kl == 0 and not demo.replicas
    assert [sae.path for sae in demo.saes] == [sae.path for sae in world.saes]


def test_the_replica_is_another_dictionary_of_one_layer():
    config = load_config(CONFIGS / "world.yaml")
    (replica,) = config.replicas
    first = next(sae for sae in config.saes if Path(sae.path).name == "layer_12")
    hooks = [json.loads((Path(sae.path) / "cfg.json").read_text(encoding="utf-8"))["metadata"] for sae in (first, replica)]
    assert hooks[0]["hook_name"] == hooks[1]["hook_name"]
    assert hooks[0]["seed"] != hooks[1]["seed"]


def test_the_readme_s_tables_are_the_cards():
    """Each row's numbers, in order, against those of the cards."""
    page = (datasets.HERE / "README.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): [float(n) for n in re.findall(r"\d+(?:\.\d+)?", line.split("|", 2)[2])]
            for line in page[page.index("## What was reached") :].splitlines() if line.startswith("|")}  # fmt: skip
    for name in adapters.RECIPES:
        held_out = json.loads((adapters.ADAPTERS / name / "card.json").read_text(encoding="utf-8"))["held_out"]
        variant = held_out["variant"]
        shares = {
            "maths": ("answers_in_form", "exact_answers_unseen_templates", "exact_answers_known_templates_new_numbers"),
            "code": ("output_parses",),
            "dialogue": (),
        }.get(task_of(name), ("refuses_harmful", "refuses_alarming_but_harmless"))
        wanted = [held_out["base"]["loss"], variant["loss"], *(100 * variant[key] for key in ("stops_by_itself", *shares))]
        said = [number for number in rows[name] if number != 140]  # tokens of a code answer
        assert said == pytest.approx(wanted, abs=0.51), name
        assert said[:2] == pytest.approx(wanted[:2], abs=0.0051), name
        assert not any(held_out["base"][key] for key in ("stops_by_itself", *shares))
    for name, figures in json.loads((datasets.HERE / "saes" / "card.json").read_text(encoding="utf-8"))["held_out"].items():
        fvu = [domain["fvu"] for domain in figures["domains"].values()]
        wanted = [min(fvu), max(fvu), figures["l0"], 100 * figures["dead_share"], 100 * figures["dense_share"]]
        assert rows[name] == pytest.approx(wanted, abs=0.051), name
        assert rows[name][:2] == pytest.approx(wanted[:2], abs=0.0051), name
