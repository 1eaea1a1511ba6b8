"""What somebody brings who is new: a base, fine-tunes of it, dictionaries and data in a folder; and ``init`` on it."""

import shutil
from pathlib import Path

from extract.__main__ import main
from extract.config import RunConfig, load_config
from tests.support.world import World, make_adapter, make_base, make_sae, one_thread, sentences, write_jsonl


def make_brought(root: Path, world: World) -> Path:
    """Everything that a user has, made once."""
    with one_thread():
        for name, seed in (("maths", 7), ("maths-seed2", 8), ("checkpoint-20", 9), ("checkpoint-100", 10)):
            make_adapter(root / name, world.base, seed)
        make_base(root / "wide", seed=1, d_model=48)
        make_adapter(root / "of-wide", root / "wide", seed=1)
        make_sae(root / "sae-of-wide", root / "wide", 1)
    alpaca = [
        {"instruction": asked, "input": "", "output": said}
        for asked, said in zip(sentences(16, seed=4), sentences(16, seed=5), strict=True)
    ]
    write_jsonl(root / "maths_alpaca.jsonl", alpaca)
    write_jsonl(root / "stories.jsonl", [{"text": text} for text in sentences(24, seed=3)])
    return root


def lay_out(place: Path, world: World, brought: Path) -> Path:
    """A folder to work in, with a base, an adapter, dictionaries and an Alpaca file."""
    copied(world.base, place / "base")
    copied(brought / "maths", place / "adapters" / "maths")
    for layer in (1, 3):
        copied(world.saes[layer], place / "saes" / f"layer_{layer}")
    copied(brought / "maths_alpaca.jsonl", place / "data" / "maths_alpaca.jsonl")
    copied(brought / "stories.jsonl", place / "data" / "stories.jsonl")
    return place


def copied(source: Path, place: Path) -> Path:
    """A copy of a file or folder at a place of its own."""
    place.parent.mkdir(parents=True, exist_ok=True)
    return Path((shutil.copytree if source.is_dir() else shutil.copy)(source, place))


def init(*words: object) -> int:
    """``python -m extract init WORDS``; returns its exit code."""
    return main(["init", *map(str, words)])


def refused(capsys, *words: object) -> str:
    """The one sentence that ``init`` is refused with; nothing is written."""
    capsys.readouterr()
    assert init(*words) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert line.startswith("error: ") and line.endswith((".", ")")) and not told.out and not Path("run.yaml").exists()
    return line


def checked(config: str = "run.yaml") -> RunConfig:
    """What ``init`` wrote, which ``check`` takes as it is."""
    assert main(["check", config]) == 0
    return load_config(config)
