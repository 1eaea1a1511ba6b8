"""``python -m extract.demo rebuild``: from the recipes to a published store, step by step, each in a process of its own.

What is made on the way lies in one folder, laid out like this one (``adapters/``, ``saes/``, ``answers.jsonl``). A step whose
output is there is skipped, so the same command goes on after an interruption; nothing that is shipped is replaced.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from extract.config import load_config
from extract.demo import ADAPTERS, task_of
from extract.demo.data import training_sets as datasets
from store.errors import UserError
from store.format.manifest import MANIFEST_FILE
from store.format.place_lock import alone
from store.format.writer import make_folder

WORLD = datasets.HERE / "configs" / "world.yaml"
MAX_MB = 48
TRAIN_MINUTES = {"maths": 15, "code": 16, "dialogue": 12, "safety": 10}
EVALUATE_MINUTES = {"maths": 9, "code": 4, "dialogue": 3, "safety": 3}
"""Of each run of a task."""


@dataclass(frozen=True)
class Step:
    """One step: what it is, about how many minutes it takes on two CPU cores, its command, and whether it is done."""

    title: str
    minutes: int
    command: list[str]
    """Arguments of ``python -m``."""
    done: Callable[[], bool]


def steps(base: str, work: Path, out: Path) -> list[Step]:
    """Every step in order; each command is one that can be given by hand."""

    def recipe(*arguments: str | Path) -> list[str]:
        return ["extract.demo", "--base", base, *map(str, arguments)]

    trained = [work / "adapters" / name for name in ADAPTERS]
    return [
        Step("training sets and corpus", 3, recipe("data"), (datasets.training_folder() / "general.jsonl").is_file),
        *(
            Step(
                f"adapter {folder.name}",
                TRAIN_MINUTES[task_of(folder.name)],
                recipe("train-adapter", folder.name, "--out", folder),
                (folder / "card.json").is_file,
            )
            for folder in trained
        ),
        Step(
            "dictionaries",
            90,
            recipe("train-saes", "--out", work / "saes"),
            (work / "saes" / "card.json").is_file,
        ),
        *(
            Step(
                f"held-out figures of {folder.name}",
                EVALUATE_MINUTES[task_of(folder.name)],
                recipe("evaluate", folder.name, "--folder", folder),
                lambda folder=folder: _is_evaluated(folder / "card.json"),
            )
            for folder in trained
        ),
        Step(
            "answers",
            60,
            recipe("answers", "--adapters", work / "adapters", "--out", work / "answers.jsonl"),
            (work / "answers_card.json").is_file,
        ),
        Step(
            "extraction",
            105,
            ["extract", "run", str(work / WORLD.name), "--out", str(work / "store")],
            (work / "store" / MANIFEST_FILE).is_file,
        ),
        Step(
            "publishing",
            5,
            ["extract", "publish", str(work / "store"), "--out", str(out), "--max-mb", str(MAX_MB)],
            (out / MANIFEST_FILE).is_file,
        ),
    ]


def plan(todo: list[Step], n_done: int) -> str:
    """What is to be done, in words."""
    hours = sum(step.minutes for step in todo) / 60
    lines = [f"  {step.minutes:4d} min  {step.title}" for step in todo]
    skipped = f" ({n_done} are done)" if n_done else ""
    return "\n".join([f"{len(todo)} steps{skipped}, about {hours:.1f} hours on two CPU cores:", *lines])


def rebuild(base: str, work: Path, out: Path, only_plan: bool = False) -> None:
    """Carry out every step that is not done, saying first what that takes.

    Args:
        work: folder for what is made on the way.
        out: the published store.
        only_plan: say it and stop.

    Raises:
        UserError: a step failed; what was finished before it is kept.
    """
    work = work.resolve()
    every = steps(base, work, out)
    todo = [step for step in every if not step.done()]
    if not todo:
        print(f"Everything is done: the store is at {out}.")
        return
    print(plan(todo, len(every) - len(todo)), flush=True)
    if only_plan:
        return
    make_folder(work.parent)
    with alone(work):
        _carry_out(todo, base, work)
    print(f"\nThe store is at {out}; open it with: make app STORE={out}")


def _carry_out(todo: list[Step], base: str, work: Path) -> None:
    write_config(base, work)
    for number, step in enumerate(todo, 1):
        print(f"\n[{number}/{len(todo)}] {step.title}: python -m {' '.join(step.command)}", flush=True)
        if subprocess.run([sys.executable, "-m", *step.command], check=False).returncode:
            raise UserError(f"The step '{step.title}' failed (see above); the same command goes on from there.")


def write_config(base: str, work: Path) -> None:
    """``world.yaml`` of the rebuilt world: the shipped one with what was rebuilt in place of what is shipped."""
    content = load_config(WORLD).model_dump(mode="json", exclude_unset=True)
    text = json.dumps(content | {"base": base}, ensure_ascii=False)
    for part in ("adapters", "saes", "answers.jsonl"):
        text = text.replace(str(datasets.HERE / part), str(work / part))
    work.mkdir(parents=True, exist_ok=True)
    (work / WORLD.name).write_text(yaml.safe_dump(json.loads(text), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _is_evaluated(card: Path) -> bool:
    return card.is_file() and "held_out" in json.loads(card.read_text(encoding="utf-8"))
