"""The file of answers: read, checked, part of the run's identity, and asked for; what ``check`` says of it and of token KL."""

import json
from pathlib import Path

import pytest

import extract.run.pipeline
from extract.__main__ import main
from extract.corpus.answers import read_answers
from store import UserError, open_store
from tests.support.world import World, one_thread

LINES = [
    {"task": "sums", "source": "s-1", "prompt": "2 + 2?", "reference": "4",
     "answers": {"base": {"text": "2 + 2 + 2", "stopped": False}, "able": {"text": "4", "stopped": True}}},
    {"task": "chat", "source": "c-1", "prompt": "Hi\nthere", "reference": "Hello.",
     "answers": {"able": {"text": "<b>Hello</b>", "stopped": True}, "base": {"text": "", "stopped": True}}},
    {"task": "sums", "source": "s-2", "prompt": "1 + 1?", "reference": "2",
     "answers": {"base": {"text": "11", "stopped": False}, "stranger": {"text": "no", "stopped": True}}},
]  # fmt: skip
ROWS = [
    ["chat", 0, "Hi\nthere", "base", ""],
    ["chat", 0, "Hi\nthere", "able", "<b>Hello</b>"],
    ["sums", 0, "2 + 2?", "base", "2 + 2 + 2"],
    ["sums", 0, "2 + 2?", "able", "4"],
    ["sums", 1, "1 + 1?", "base", "11"],
]
"""Of the lines above: numbered within the task, the stranger left out."""
MODELS = ["base", "able"]  # in the order that they are shown in, which is not the alphabet's
COLUMNS = ["task", "prompt", "text", "model", "answer"]


def write(path: Path, lines: list[dict | str]) -> Path:
    """A file of answers; a text is written as it is."""
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
    return path


def configure(world: World, folder: Path, **changes) -> Path:
    """A short run with the variant of the answers."""
    return world.config(folder, variants={"able": {"adapter": str(world.adapter)}}, tokens=300, **changes)


@pytest.fixture(scope="module")
def answers_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("answers") / "answers.jsonl", LINES)


def test_rows_are_numbered_within_their_task(answers_file: Path) -> None:
    rows = read_answers(answers_file, MODELS)[COLUMNS]
    assert sorted(rows.values.tolist()) == sorted(ROWS)


def test_blank_lines_are_passed_over(tmp_path: Path) -> None:
    rows = read_answers(write(tmp_path / "a.jsonl", [LINES[0], "", "  ", LINES[2]]), ["base"])
    assert rows["prompt"].tolist() == [0, 1]


def without(name: str) -> dict:
    return {key: value for key, value in LINES[0].items() if key != name}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{not json", "line 2"),
        ("[1, 2]", "line 2.*JSON object"),
        (without("task"), "line 2.*'task'"),
        (without("prompt"), "line 2.*'prompt'"),
        ({**LINES[0], "task": " "}, "line 2.*'task'"),
        ({**LINES[0], "prompt": 4}, "line 2.*'prompt'"),
        (without("answers"), "line 2.*'answers'"),
        ({**LINES[0], "answers": ["4"]}, "line 2.*'answers'"),
        ({**LINES[0], "answers": {"base": "4"}}, "line 2.*'base'"),
        ({**LINES[0], "answers": {"base": {"stopped": True}}}, "line 2.*'base'"),
        ({**LINES[0], "answers": {"able": {"text": "4"}}}, "line 2.*answer of the base"),
        (json.dumps({**LINES[0], "prompt": "\ud800"}), "line 2"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: dict | str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_answers(write(tmp_path / "a.jsonl", [LINES[1], line]), MODELS)


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(json.dumps(LINES[0]).encode() + b'\n{"task": "\xff"}\n')
    with pytest.raises(UserError, match="line 2"):
        read_answers(tmp_path / "a.jsonl", ["base"])


def test_an_empty_or_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="empty"):
        read_answers(write(tmp_path / "a.jsonl", [""]), ["base"])
    with pytest.raises(UserError, match="no file of answers"):
        read_answers(tmp_path / "none.jsonl", ["base"])


# ---- in a run ----


def test_a_run_takes_the_answers_in(world: World, answers_file: Path, tmp_path: Path) -> None:
    """The question gives them in order, the base first; the manifest says the file's name and not its place."""
    config = configure(world, tmp_path, answers=str(answers_file))
    with one_thread():
        assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 0
    with open_store(tmp_path / "store") as store:
        assert list(store.answers().columns) == COLUMNS
        assert store.answers().values.tolist() == ROWS
        assert store.answers(task="sums").values.tolist() == ROWS[2:]
        assert store.answers(task="nothing").empty
        assert store.manifest.settings["answers"] == "answers.jsonl"


class _PowerCutError(BaseException):
    """Stands for whatever ends a run in the middle."""


def test_another_file_is_another_run(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """An interrupted run is not resumed with other answers under the same name."""

    def power_cut(*_arguments) -> None:
        raise _PowerCutError

    file = write(tmp_path / "answers.jsonl", LINES)
    command = ["run", str(configure(world, tmp_path, answers=str(file))), "--out", str(tmp_path / "store")]
    with monkeypatch.context() as patch, one_thread():
        patch.setitem(extract.run.pipeline.PHASES, "shards", power_cut)
        with pytest.raises(_PowerCutError):
            main(command)
    write(file, LINES[:2])
    assert main(command) == 2
    assert "another file of answers" in capsys.readouterr().err
    write(file, LINES)
    with one_thread():
        assert main(command) == 0


def test_a_wrong_file_is_refused_before_anything_is_read(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Not after hours of extraction."""
    monkeypatch.setitem(extract.run.pipeline.PHASES, "pilot", lambda *_arguments: pytest.fail("the run went on"))
    file = write(tmp_path / "answers.jsonl", ["{"])
    assert main(["run", str(configure(world, tmp_path, answers=str(file))), "--out", str(tmp_path / "store")]) == 2
    assert "answers.jsonl" in capsys.readouterr().err and not (tmp_path / "store").exists()


# ---- check ----


def test_check_counts_the_answers(world: World, answers_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["check", str(configure(world, tmp_path, answers=str(answers_file)))]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("answers"))
    assert "3 prompts in 2 tasks" in line and line.endswith("base, able")


def test_check_refuses_a_missing_file(world: World, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["check", str(configure(world, tmp_path, answers="./none.jsonl"))]) == 2
    assert "error: There is no file of answers" in capsys.readouterr().err


def test_check_says_what_token_kl_costs(world: World, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """No line without the pass, and never more tokens than the run reads."""
    assert main(["check", str(configure(world, tmp_path))]) == 0
    assert "token KL" not in capsys.readouterr().out
    assert main(["check", str(configure(world, tmp_path, token_kl=10**6))]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("token KL"))
    assert "300 tokens, about 0 minutes" in line


def test_the_cost_of_token_kl_is_what_was_measured() -> None:
    """Gemma 3 270M's shape, base and one variant: 22 ms a token, so 60,000 tokens are 22 minutes."""
    from transformers import Gemma3TextConfig

    from extract.config import RunConfig
    from extract.run.estimates import _token_kl_line

    shape = Gemma3TextConfig(
        vocab_size=262_144, hidden_size=640, intermediate_size=2048, num_hidden_layers=18, num_attention_heads=4,
        num_key_value_heads=1, head_dim=256,
    )  # fmt: skip
    config = RunConfig.model_validate(
        {"base": "b", "variants": {"v": {"model": "m"}}, "saes": [{"path": "s"}], "corpus": [{"path": "c"}], "token_kl": 60_000}
    )
    assert "about 22 minutes" in _token_kl_line(config, shape)
