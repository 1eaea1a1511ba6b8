"""docs/inputs.md: what can be brought, as tables; each cell of theirs is a parameter of a test.

    python -m tests.support.matrix docs/inputs.md
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from store.points import POINTS, called
from tests.support.architectures import ARCHITECTURES, LAYERS, Architecture
from tests.support.data_formats import FORMATS
from tests.support.point_dictionaries import TRANSCODERS
from tests.unit.extract.corpus.test_record_files import FILES

HEAD = """# What can be brought

Written by `python -m tests.support.matrix docs/inputs.md` from what the tests try; a test holds it to them. Dictionaries of
sae-lens' registry: [dictionaries.md](dictionaries.md).
"""
POINTS_READ = """## Points of a block, by architecture

Each cell is a tiny random model on which [tests/runs/test_points.py](../tests/runs/test_points.py) reads the point, and a
dictionary's codes there, as torch's plain hooks do on paths written by hand; writes it; and goes on from it. **yes**: at every
layer that has it (some families have attention at some layers alone). **refused**: the family scales or normalises what its
modules give, so that they are not what is added to the stream; a trial on a few tokens says so when a run begins. **–**: its
blocks have no such place, which `check` says. In `make test` those in bold type, the others in `make test-all`.
"""
RUNS = """## Whole runs

[tests/runs/test_point_runs.py](../tests/runs/test_point_runs.py) makes a store at each of `resid_pre`, `resid_mid`, `attn_z`,
`attn_out`, `mlp_in`, `mlp_out` and with transcoders, and works out layer metrics, promoted tokens, contributions, a planted
edit and the causal check there a second way; at `resid_post` the other tests do.

| | |
|---|---|
"""


@dataclass(frozen=True)
class Situation:
    """What somebody comes with.

    Attributes:
        what: in words.
        outcome: what becomes of it.
        test: file and function.
    """

    what: str
    outcome: str
    test: str


FAMILIES = "tests/runs/test_families.py::"
WEIGHTS = "tests/runs/test_weights.py::"
QUANTISED = "tests/runs/test_quantised.py::"
REFUSALS = "tests/runs/test_point_refusals.py::"
MODELS = (
    Situation("a checkpoint of any architecture above", "read, promoted tokens and predictions too",
              f"{FAMILIES}test_a_checkpoint_of_each_architecture_is_loaded"),
    Situation("a checkpoint that reads images too (Mistral 3, Qwen2.5-VL)", "its language model is read",
              f"{FAMILIES}test_of_a_model_that_reads_images_the_language_model_is_read"),
    Situation("Mamba, OPT-350m (post-norm, narrow embedding), OLMo, mixtures of experts", "read",
              f"{FAMILIES}test_residuals_are_the_models_own_hidden_states"),
    Situation("the size of a mixture of experts", "all parameters, and those that a token passes through",
              f"{FAMILIES}test_parameters_of_mixtures"),
    Situation("XLNet, Gemma 3n: blocks that give no [batch, position, d_model]", "one sentence",
              f"{FAMILIES}test_what_is_not_one_residual_stream_to_the_next_token"),
    Situation("XLM: no list of blocks", "one sentence", f"{FAMILIES}test_a_list_of_modules_that_are_no_blocks"),
    Situation("BERT: reads both ways", "read without predictions", f"{FAMILIES}test_an_encoder_is_read_where_nothing_predicts"),
    Situation("T5: an encoder with a decoder", "one sentence", f"{FAMILIES}test_an_encoder_with_a_decoder"),
    Situation("a checkpoint in 8-bit floats (DeepSeek, Qwen FP8)", "read; without a GPU as floats, with a note",
              f"{QUANTISED}test_a_checkpoint_in_eight_bit_floats"),
    Situation("a checkpoint of bitsandbytes, GPTQ, AWQ, HQQ, Quanto, compressed-tensors, torchao",
              "read by its library; where that is missing one sentence names it",
              f"{QUANTISED}test_a_library_that_is_missing_is_named"),
    Situation("`quantization: 8bit` or `4bit`", "by bitsandbytes on a GPU; else one sentence",
              f"{QUANTISED}test_a_run_that_asks_for_what_is_not_there"),
    Situation("a checkpoint or an adapter with experts of the older layout", "converted, with a note",
              f"{WEIGHTS}test_experts_of_an_adapter_from_before_are_converted"),
    Situation("an adapter with an enlarged vocabulary", "one sentence with its remedy",
              f"{WEIGHTS}test_an_enlarged_vocabulary_has_a_remedy"),
    Situation("adapters of every kind of PEFT", "as PEFT makes them",
              f"{WEIGHTS}test_kinds_of_adapters_are_what_peft_makes_of_them"),
)  # fmt: skip
MIXES = (
    Situation("dictionaries of several points, a layer too deep, a hook that is no point", "one sentence",
              f"{REFUSALS}test_hooks"),
    Situation("a dictionary of another width", "one sentence", f"{REFUSALS}test_a_width_of_another_model"),
    Situation("a replica of another point", "one sentence", f"{REFUSALS}test_a_replica_of_another_point"),
    Situation("a point that the base lacks", "one sentence, in `check` too", f"{REFUSALS}test_what_the_base_lacks"),
    Situation("a point that the base computes otherwise", "one sentence, when the run begins",
              f"{REFUSALS}test_what_the_base_computes_otherwise"),
    Situation("a dictionary with settings that are not known", "one sentence",
              "tests/runs/test_dictionaries.py::test_settings_that_cannot_be_honoured"),
    Situation("a folder of another library's dictionary", "read, by sae-lens' loaders",
              "tests/runs/test_folders.py::test_a_folder_of_another_library"),
    Situation("a training checkpoint of sae-lens", "one sentence with its remedy",
              "tests/runs/test_dictionaries.py::test_training_checkpoints_of_sae_lens"),
)  # fmt: skip
FORMAT_TEST = "tests/unit/extract/corpus/test_record_formats.py::test_a_format_says_what_its_trainers_read"
FILE_TEST = "tests/unit/extract/corpus/test_record_files.py::test_a_file_of_every_kind_holds_the_same"
SOURCES = "tests/unit/extract/corpus/test_document_sources.py::"
DATA = (
    Situation("a folder of files", "each a source", f"{SOURCES}test_a_folder_is_its_files_each_a_source_and_its_texts_one"),
    Situation("a pattern, `data/*.jsonl`", "the files that it fits",
              f"{SOURCES}test_a_pattern_stands_for_the_files_that_it_fits"),
    Situation("a dataset of `save_to_disk`", "read", f"{SOURCES}test_a_saved_dataset_is_read"),
    Situation("two folders with a file of one name", "told apart", f"{SOURCES}test_folders_with_a_file_of_one_name"),
    Situation("records without text", "skipped and counted",
              "tests/unit/extract/corpus/test_record_formats.py::test_a_record_without_text_is_skipped_and_counted"),
    Situation("content that is no text", "left out and counted",
              "tests/unit/extract/corpus/test_record_formats.py::test_parts_that_are_no_text_are_left_out_and_counted"),
)  # fmt: skip
SITUATIONS = (*MODELS, *MIXES, *DATA)


def page() -> str:
    """All of it."""
    return "\n".join([HEAD, *_points(), *_runs(), *_models(), *_data()]) + "\n"


def cell(one: Architecture, point: str) -> str:
    """What becomes of a point in an architecture."""
    if point in one.refused:
        return "refused"
    return "yes" if one.layers(point) else "–"


def _points() -> Iterator[str]:
    yield POINTS_READ
    yield from ("| point | what it is |", "|---|---|")
    yield from (f"| `{point}` | {called(point)} |" for point in POINTS)
    yield from ("", f"| architecture | {' | '.join(f'`{point}`' for point in POINTS)} |", "|---" * (len(POINTS) + 1) + "|")
    for name, one in ARCHITECTURES.items():
        shown = f"**{name}**" if one.in_test else name
        yield f"| {shown} | {' | '.join(cell(one, point) for point in POINTS)} |"
    worked = sum(len(one.works(layer)) for one in ARCHITECTURES.values() for layer in range(LAYERS))
    yield f"\n{len(ARCHITECTURES)} architectures, {worked:,} points of theirs, counted layer by layer.\n"


def _runs() -> Iterator[str]:
    yield RUNS + "\n".join(f"| `{kind}` | from `mlp_in` to `mlp_out` |" for kind in TRANSCODERS)
    yield ""


def _models() -> Iterator[str]:
    yield from _table("Models and adapters", MODELS)
    yield from _table("Dictionaries and mixes", MIXES)


def _data() -> Iterator[str]:
    yield from ("## Data", "", "| record | fields | told as |", "|---|---|---|")
    yield from (f"| {case.name} | {', '.join(f'`{name}`' for name in case.record)} | {case.told} |" for case in FORMATS)
    yield from ("", f"Each a parameter of {_link(FORMAT_TEST)}.", "")
    yield from (f"Files: {', '.join(f'`{name}`' for name in FILES)}; each a parameter of {_link(FILE_TEST)}.", "")
    yield from _table(None, DATA)


def _table(title: str | None, rows: tuple[Situation, ...]) -> Iterator[str]:
    if title:
        yield from (f"## {title}", "")
    yield from ("| what | what becomes of it | test |", "|---|---|---|")
    yield from (f"| {row.what} | {row.outcome} | {_link(row.test)} |" for row in rows)
    yield ""


def _link(test: str) -> str:
    file, name = test.split("::")
    return f"[{name}](../{file})"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
