"""What the models answer to fixed prompts: a JSONL file that is made beside the run and becomes the table ``answers``.

A line is one prompt, as ``python -m extract.demo answers`` writes it: ``task``, ``prompt`` (as the user typed it) and
``answers``, model -> {``text``}. Other fields are not read.
"""

import hashlib
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from extract.config import RunConfig
from extract.corpus.jsonl import read_objects
from store.errors import UserError
from store.format.writer import StoreWriter
from store.names import BASE


def read_answers(path: Path, models: Collection[str]) -> pd.DataFrame:
    """Rows of the table answers: those of the run's models.

    Args:
        models: 'base' and the variants; answers of others are left out.

    Raises:
        UserError: the file is missing, empty, or a line (named) is not as it should be or has no answer of the base.
    """
    if not path.is_file():
        raise UserError(f"There is no file of answers at '{path}'; check 'answers' in the configuration.")
    rows: list[dict[str, Any]] = []
    prompts: Counter[str] = Counter()
    for number, fields in read_objects(path, "file of answers"):
        try:
            task, text, said = _parse(fields)
        except ValueError as error:
            raise UserError(f"The file of answers '{path}', line {number}, cannot be read: {error}.") from error
        place = {"task": task, "prompt": prompts[task], "text": text}
        rows += [{**place, "model": model, "answer": said[model]} for model in models if model in said]
        prompts[task] += 1
    if not rows:
        raise UserError(f"The file of answers '{path}' is empty; check 'answers' in the configuration.")
    return pd.DataFrame(rows)


def answers_fingerprint(config: RunConfig) -> dict[str, str]:
    """What an interrupted run must find unchanged of the file of answers: its hash, once it is known to be readable.

    Raises:
        UserError: see :func:`read_answers`.
    """
    if config.answers is None:
        return {}
    read_answers(Path(config.answers), [BASE, *config.variants])
    return {"file of answers": hashlib.sha256(Path(config.answers).read_bytes()).hexdigest()}


def write_answers(config: RunConfig, writer: StoreWriter) -> None:
    """Fill the table answers, where the configuration names a file.

    Raises:
        UserError: see :func:`read_answers`.
    """
    if config.answers is not None:
        writer.load("answers", read_answers(Path(config.answers), [BASE, *config.variants]))


def _parse(fields: dict[str, Any]) -> tuple[str, str, dict[str, str]]:
    """(task, prompt, model -> answer) of one line.

    Raises:
        ValueError: it has not those fields, or the base does not answer.
    """
    for name in ("task", "prompt"):
        if not isinstance(fields.get(name), str) or not fields[name].strip():
            raise ValueError(f"the field '{name}' must be a text")
    answers = fields.get("answers")
    if not isinstance(answers, dict):
        raise ValueError("the field 'answers' must map each model to its answer")
    for model, answer in answers.items():
        if not isinstance(answer, dict) or not isinstance(answer.get("text"), str):
            raise ValueError(f"the answer of {model!r} must be an object with a text")
    if BASE not in answers:
        raise ValueError("there is no answer of the base")
    return fields["task"], fields["prompt"], {model: answer["text"] for model, answer in answers.items()}
