"""A draft as a YAML file with comments: a person reads why each line is there, and ``run`` takes it as it is."""

import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from extract.saes.dictionary import Dictionary
from extract.setup.draft import Draft, tokens_of
from store.text import on_one_line

WIDTH = 120
LOCAL = ("adapter", "model", "path", "dataset", "base", "chat_template")
"""Fields that may hold a path."""
SETTINGS = ("tokens", "context_length", "prepend_bos", "neutral_domains", "chat_template")


def as_yaml(draft: Draft, file: Path, next_steps: Sequence[str]) -> str:
    """The file's text.

    Args:
        file: where it will stand: what lies beside it is named relative to it.
        next_steps: commands.
    """
    beside = Path(os.path.abspath(file)).parent  # noqa: PTH100 - links stay as they are
    content = {key: _beside(value, key, beside) for key, value in draft.content.items()}
    return "\n".join(_lines(draft, content, next_steps)) + "\n"


def _lines(draft: Draft, content: dict[str, Any], next_steps: Sequence[str]) -> Iterator[str]:
    yield from _comment("What fine-tuning changed, as Featureshift reads it. Written by 'python -m extract init'; every field "
                        "that there is: python -m extract fields. Relative paths are relative to this file.")  # fmt: skip
    yield from _comment("Next:")
    yield from (f"#   {on_one_line(step)}" for step in next_steps)
    if draft.missing:
        yield from ("", "# Missing:")
        yield from _bullets(draft.missing)
    yield from ("", *_comment(f"The base: {draft.report.size}."), *_block("base", content["base"]))
    yield ""
    yield from _comment("What was fine-tuned from it: adapters on the base, or full checkpoints (model).")
    yield from _comment("task: the domains of the corpus that a variant was trained for; on them is told what it learned, on "
                        "the others what it cost.")  # fmt: skip
    yield from _comment("replicate_of: another run of the same recipe; a change is claimed only where every run shows it.")
    if any("series" in variant for variant in content["variants"].values()):
        yield from _comment("series, step: checkpoints of one training are shown over its steps.")
    yield from _block("variants", content["variants"])
    yield ""
    yield from _saes(draft, content["saes"])
    yield ""
    yield from _comment("The text that is read through all of them; evenly over the domains, as far as each goes.")
    yield "corpus:"
    for source, given, tokens in zip(draft.sources, content["corpus"], tokens_of(draft), strict=True):
        said = source.lines[0].partition(": ")[2] if len(source.lines) == 1 else "; ".join(source.lines)
        yield from _comment(f"{said}{'' if tokens is None else f'; {tokens:,} tokens of it'}.", "  ")
        yield from _indented(_dumped([given]))
    yield from _settings(draft, content)
    yield ""
    yield "# What it takes, by estimate:"
    yield from (f"#   {on_one_line(line)}" for line in draft.report.lines if line.startswith(COSTS))
    if draft.report.notes:
        yield from ("", "# What a run will note:")
        yield from _bullets(draft.report.notes)


COSTS = ("tokens ", "twins ", "memory ", "disk ", "time ", "token KL ", "gains ")
"""How the lines of ``check`` begin that say what a run takes."""


def _saes(draft: Draft, given: list[dict[str, str]]) -> Iterator[str]:
    yield from _comment("Dictionaries (SAEs) trained on the base, one a layer; through them the models are read.")
    for remark in draft.saes.remarks:
        yield from _comment(remark)
    yield "saes:"
    for one, entry in zip(draft.saes.read, given, strict=True):
        yield from _comment(f"{_described(one)}.", "  ")
        yield from _indented(_dumped([entry]))


def _described(one: Dictionary) -> str:
    to = f" to {one.site.point}" if one.is_transcoder else ""
    return f"Layer {one.layer} ({one.reads.point}{to}): {one.d_sae:,} features of width {one.d_model}, {one.architecture}"


def _settings(draft: Draft, content: dict[str, Any]) -> Iterator[str]:
    """What is otherwise than usual, and the budget of tokens, which everything takes longer or shorter by."""
    yield ""
    n_tokens = draft.config.tokens
    said = "all that there are" if "tokens" in content else "divided evenly over the domains"
    yield from _comment(f"Tokens that are read, {said}: more show rarer features, and take longer.")
    yield from _block("tokens", n_tokens)
    for name in SETTINGS[1:]:
        if name in content:
            yield from _block(name, content[name])


def _beside(value: Any, key: str, folder: Path) -> Any:
    """A value with the local paths in it as the file names them."""
    if isinstance(value, dict):
        return {name: _beside(inner, name, folder) for name, inner in value.items()}
    if isinstance(value, list):
        return [_beside(inner, key, folder) for inner in value]
    if key not in LOCAL or not isinstance(value, str) or not Path(value).is_absolute():
        return value
    if not Path(value).is_relative_to(folder):
        return value
    relative = str(Path(value).relative_to(folder))
    return value if relative.startswith("~") else f"./{relative}"


def _block(key: str, value: Any) -> list[str]:
    return _dumped({key: value})


def _dumped(value: Any) -> list[str]:
    """Lines of YAML; what is innermost stands on one of them."""
    inner = value.values() if isinstance(value, dict) else value
    flow = None if any(isinstance(one, dict | list) for one in inner) else False
    text = yaml.safe_dump(value, default_flow_style=flow, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text.rstrip("\n").split("\n")


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _comment(sentence: str, indent: str = "") -> list[str]:
    return textwrap.wrap(on_one_line(sentence), WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ",
                         break_on_hyphens=False)  # fmt: skip


def _bullets(sentences: Iterable[str]) -> Iterator[str]:
    for sentence in sentences:
        yield from textwrap.wrap(on_one_line(sentence), WIDTH, initial_indent="# - ", subsequent_indent="#   ",
                                 break_on_hyphens=False)  # fmt: skip
