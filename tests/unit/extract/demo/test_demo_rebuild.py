"""`make demo-full`: its steps, what it skips, what it says, and the configuration it runs."""

import json
import subprocess
from pathlib import Path

import pytest

from extract.__main__ import app as extract_app
from extract.command_line import parse
from extract.config import load_config
from extract.demo import ADAPTERS, rebuild
from extract.demo.__main__ import app as demo_app
from extract.demo.__main__ import main
from extract.demo.data import training_sets as datasets

BASE = "some/base"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("FEATURESHIFT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def finish(step: rebuild.Step, work: Path, out: Path) -> None:
    """Leave what a step's command would leave behind."""
    arguments = step.command[1:]
    if "data" in arguments:
        path = datasets.training_folder() / "general.jsonl"
    elif "train-adapter" in arguments or "evaluate" in arguments:
        path = Path(arguments[-1]) / "card.json"
    elif "train-saes" in arguments:
        path = work / "saes" / "card.json"
    elif "answers" in arguments:
        path = work / "answers_card.json"
    elif "run" in arguments:
        path = work / "store" / "manifest.json"
    else:
        path = out / "manifest.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"held_out": {}} if "evaluate" in arguments else {}))


def test_every_command_is_one_that_can_be_given(cache):
    every = rebuild.steps(BASE, cache / "work", cache / "out")
    for step in every:
        module, *arguments = step.command
        assert module in ("extract", "extract.demo")
        if module == "extract":
            parse(extract_app, arguments)
        else:
            assert arguments[:2] == ["--base", BASE]
            parse(demo_app, arguments[2:])
        assert step.minutes > 0
    assert [step.command[-3] for step in every if "train-adapter" in step.command] == list(ADAPTERS)
    assert all(BASE in step.command for step in every if step.command[0] == "extract.demo")


def test_an_interrupted_rebuild_goes_on_where_it_stopped(cache, monkeypatch, capsys):
    work, out = cache / "work", cache / "out"
    every = rebuild.steps(BASE, work, out)
    ran: list[list[str]] = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess:
        step = next(step for step in every if step.command == command[2:])
        failed = len(ran) == 8
        ran.append(step.command)
        if not failed:
            finish(step, work, out)
        return subprocess.CompletedProcess(command, int(failed))

    monkeypatch.setattr(rebuild.subprocess, "run", run)
    arguments = ["--base", BASE, "rebuild", "--work", str(work), "--out", str(out)]
    assert main(arguments) == 2
    assert f"'{every[8].title}' failed" in capsys.readouterr().err
    assert main(arguments) == 0
    assert ran == [step.command for step in (*every[:9], *every[8:])]
    assert "15 steps (8 are done)" in capsys.readouterr().out
    assert main(arguments) == 0
    assert len(ran) == len(every) + 1
    assert "Everything is done" in capsys.readouterr().out


def test_the_plan_says_the_hours_and_starts_nothing(cache, capsys):
    steps = [rebuild.Step("one", 30, [], lambda: False), rebuild.Step("two", 60, [], lambda: False)]
    assert "about 1.5 hours" in rebuild.plan(steps, 0)
    assert main(["rebuild", "--work", str(cache / "work"), "--out", str(cache / "out"), "--plan"]) == 0
    assert "23 steps, about" in capsys.readouterr().out
    assert not (cache / "work").exists() and not (cache / "out").exists()


def test_the_rebuilt_world_is_the_shipped_one_with_rebuilt_parts(cache):
    rebuild.write_config(BASE, cache / "work")
    shipped, made = load_config(rebuild.WORLD), load_config(cache / "work" / "world.yaml")
    assert made.base == BASE
    assert {name: variant.task for name, variant in made.variants.items()} == {
        name: variant.task for name, variant in shipped.variants.items()
    }
    assert [variant.adapter for variant in made.variants.values()] == [str(cache / "work" / "adapters" / n) for n in ADAPTERS]
    assert {Path(sae.path).parent for sae in (*made.saes, *made.replicas)} == {cache / "work" / "saes"}
    assert [Path(sae.path).name for sae in made.saes] == [Path(sae.path).name for sae in shipped.saes]
    kept = ("corpus", "chat_template", "tokens", "context_length", "neutral_domains", "token_kl")
    assert all(getattr(made, name) == getattr(shipped, name) for name in kept)
