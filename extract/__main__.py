"""The extractor's command line: one function a command. Arguments are parsed and validated before torch is imported.

Long because every command's options and their help stand here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from extract.command_line import Whole, Words, command_line, parse
from extract.demo import BENCH_CONFIG, DEMO_CONFIG
from extract.exits import CANNOT, DONE, FOUND_FAULT, carry_out
from store.errors import UserError
from store.text import on_one_line

if TYPE_CHECKING:
    from extract.config import RunConfig
    from store.read.store import Store


Several = Annotated[list[str] | None, Parameter(consume_multiple=1)]


def init(
    folder: str | None = None, /, *, base: str | None = None, variant: Several = None, sae: Several = None,
    data: Several = None, task: Several = None, chat_template: str | None = None, out: Path = Path("run.yaml"),
    force: bool = False,
) -> int:  # fmt: skip
    """Write a configuration from what it is pointed at, with comments; asks nothing.

    Args:
        folder: look through it for a base, adapters and checkpoints, dictionaries and data
        base: model: folder, .gguf or hub id; without it the one that lies there, or that adapters name
        variant: name=PATH of an adapter or a model; with a * that stands for a number, checkpoints of one training
        sae: release/id, release, or folder that sae-lens saved; without it what sae-lens' registry has for the base
        data: files or datasets of records
        task: name=domain, what a variant was trained for
        chat_template: Jinja file that renders conversations, where no model carries one
        out: the file to write
        force: write it where one is
    """
    from extract.setup.writing import write_config

    pointed = [tuple(several or ()) for several in (variant, sae, data, task)]
    print("\n".join(write_config(folder, base, *pointed, chat_template, out, force)))
    return DONE


def run(config: str, /, *, out: Path, workers: Whole = 1, engine: Literal["local", "ray"] = "local") -> int:
    """Extract a store from a configuration; resumes where it was interrupted.

    Args:
        config: YAML file; see 'python -m extract fields'
        out: the store to make; must not exist
        workers: processes that share the work, each with all models
        engine: where they run: this machine, or the Ray cluster at RAY_ADDRESS, one of this machine without it
    """
    if workers < 1:
        raise UserError(f"--workers is {workers}; give 1 or more.")
    return _extract(config, out, workers, engine)


def check(config: str, /, *, out: Path | None = None) -> int:
    """Say what a run would do and need, and what is missing; loads nothing big.

    Args:
        config: YAML file; see 'python -m extract fields'
        out: the store that is to be made, to see whether it can be
    """
    from extract.config import load_config

    settings = load_config(config)
    from extract.run import check as plan

    report = plan.check(settings, out)
    print("\n".join([*report.lines, *(f"note: {note}" for note in report.notes)]))
    for problem in report.problems:
        print(f"error: {on_one_line(problem)}", file=sys.stderr)
    return CANNOT if report.problems else DONE


def demo(*, out: Path) -> int:
    """Run the real extraction on a slice of the bundled corpus.

    Args:
        out: the store to make; must not exist
    """
    return _extract(DEMO_CONFIG, out)


def info(store: str, /) -> int:
    """Print a store's provenance and headline table.

    Args:
        store: the store's folder
    """
    from store import open_store
    from store.reports.terminal import describe

    with open_store(store) as opened:
        print(describe(opened))
    return DONE


def findings(store: str, /, *, out: Path | None = None) -> int:
    """Write what a store shows as a page of Markdown.

    Args:
        store: the store's folder
        out: file to write; without it, the terminal
    """
    from store import open_store
    from store.files import check_writable, write_text
    from store.reports import findings

    if out:
        check_writable(out)
    with open_store(store) as opened:
        page = findings.findings(opened)
    if out:
        write_text(out, page)
    else:
        print(page, end="")
    return DONE


def verify(store: str, /) -> int:
    """Check every byte and row of a store against its manifest.

    Args:
        store: the store's folder
    """
    from store import verify
    from store.read.contents import remarks

    problems = verify(store)
    for problem in problems:
        print(problem, file=sys.stderr)
    for remark in remarks(store) if not problems else []:
        print(f"note: {remark}")
    print(f"{store}: " + (f"{len(problems)} problem(s)" if problems else "every file, row and code is as written"))
    return FOUND_FAULT if problems else DONE


def labels(store: Path, file: Path, /) -> int:
    """Import labels of features, which then stand in place of the automatic ones.

    Args:
        store: the store's folder
        file: CSV with the columns layer, feature, label; or Neuronpedia's explanations (.jsonl or .json, gzipped or not)
    """
    from store.exchange.label_files import import_labels

    print(import_labels(store, file))
    return DONE


def steer(
    store: str, config: str, /, *, variant: str, layer: Whole | None = None, feature: Whole | None = None,
    features: str | None = None, top: Whole | None = None, by: str = "contribution", claimed: bool = False,
    domain: str | None = None, contexts: Whole = 20, predictions: Whole = 128, random: Whole = 20, seed: Whole = 0,
) -> int:  # fmt: skip
    """Causal check of one feature, or of a set: undo the change, see what is predicted then.

    Args:
        store: the store's folder
        config: the YAML file that made the store
        variant: the fine-tuned model
        layer: of the features; of a set without it the layer whose features make most
        feature: one, checked where it changed most
        features: a set, numbers with commas between: 12,34
        top: a set, so many of the features that contribute most
        by: of --top: contribution, gain or loss
        claimed: a set, every feature of the layer that is claimed to be suppressed or amplified
        domain: of a set: text to check it on; without it the variant's own task
        contexts: of one feature: use at most so many contexts
        predictions: of a set: sampled
        random: compare with so many random features, or sets of them
        seed: of their draw
    """
    from extract.config import load_config
    from extract.steering.command import check_feature, check_set, features_of
    from extract.steering.set_plan import Choice
    from store import open_store

    settings, asked = load_config(config), features_of(features) if features is not None else ()
    choice = Choice(asked, top, by, claimed)
    if (feature is not None) + choice.ways != 1:
        raise UserError("Give exactly one of --feature, --features, --top and --claimed.")
    with open_store(store) as opened:
        if feature is not None:
            said = check_feature(opened, settings, variant, layer, feature, contexts, random, seed)
        else:
            said = check_set(opened, settings, variant, layer, domain, choice, predictions, random, seed)
    print(said)
    return DONE


def contributions(
    store: str, config: str, /, *, predictions: Whole | None = None, passage: Whole = 8, points: Whole = 2, twins: Whole = 1,
    workers: Whole = 1,
) -> int:  # fmt: skip
    """Measure what was learned and lost, and through which features; kept beside the store.

    Args:
        store: the store's folder
        config: the YAML file that made the store
        predictions: predicted tokens that are taken apart, beside eight times as many that are read; without it the
            configuration's number
        passage: of those that are taken apart in one context window at most
        points: of the way from variant to base, 2, 5 or 12; more are taken where they miss the sum by more than 2 %
        twins: of the first run of each recipe, measured too
        workers: processes that share the work, each with all models
    """
    from extract.config import load_config
    from extract.contributions.scope import make_scope
    from store import open_store

    settings = load_config(config)
    with open_store(store) as opened:
        scope = make_scope(opened, settings, predictions, passage, points, twins)
        if workers < 1:
            raise UserError(f"--workers is {workers}; give 1 or more.")
        from extract.contributions.addition import add_contributions

        path = add_contributions(opened, settings, scope, workers)
    print(f"Kept in {path.name}, beside the store.")
    return DONE


def publish(store: Path, /, *, out: Path, max_mb: float = 60, replicates: bool = False) -> int:
    """Write a cut-down copy of a store that is small enough to share.

    Args:
        store: the store's folder
        out: the copy to make; must not exist
        max_mb: the most its files may have together, in 10^6 bytes
        replicates: keep contexts, codes and token metrics of replicates too, not their statistics only
    """
    from extract.progress import progress_bar
    from store.exchange.publish import publish, size

    manifest = publish(store, out, max_mb, progress_bar, replicates)
    print("\n".join(manifest.notes))
    print(f"Store written to {out}: {size(out) / 1e6:.1f} MB, digest {manifest.digest[:16]}")
    return DONE


def bench(
    config: str | None = None, /, *, tokens: Whole | None = None, page: Path | None = None, json: Path | None = None
) -> int:
    """Measure what an extraction costs beside the bare passes.

    Args:
        config: what to run; without it, the demo's models on 8,000 tokens
        tokens: instead of the configuration's
        page: page whose table is replaced; without it, CONFIG and --tokens, docs/bench.md
        json: write the results as JSON too
    """
    from extract.config import load_config, with_tokens

    settings = load_config(config or BENCH_CONFIG)
    if tokens is not None:
        settings = with_tokens(settings, tokens)
    from extract.bench import cost
    from extract.bench.page import measure

    usual = config is None and tokens is None
    return measure(lambda: cost.run(settings), page or (cost.PAGE if usual else None), json, f"Measured on {cost.machine()}.")


def bench_truth(*, quick: bool = False, section: str = "", page: Path | None = None, json: Path | None = None) -> int:
    """Check the statistics on data whose answer is known.

    Args:
        quick: draw fewer stores; writes no page unless --page names one
        section: part of a title; only the sections that have it are made, and their tables replaced
        page: page whose table is replaced; without it and --quick, docs/bench-truth.md
        json: write the results as JSON too
    """
    from extract.bench import truth
    from extract.bench.page import measure

    return measure(lambda: truth.run(quick, section), page or (None if quick else truth.PAGE), json, keep=bool(section))


def fields() -> int:
    """List every field of a configuration with its default."""
    from extract.config import describe_fields

    for name, default, text in describe_fields():
        print(f"{name:<18} {default:<10} {text}")
    return DONE


def _extract(config_path: str | Path, out: Path, workers: int = 1, engine: str = "local") -> int:
    from extract.config import load_config
    from store.format.additions import is_begun
    from store.format.writer import check_free

    config = load_config(config_path)
    asked = config.contributions != 0
    if not (asked and is_begun(out)):
        check_free(out)
        from extract.run import pipeline

        manifest = pipeline.run(config, out, workers=workers, engine=engine)
        print(f"Store written to {out}: {manifest.counts['tokens']:,} tokens, digest {manifest.digest[:16]}")
    from store import open_store
    from store.reports.terminal import amounts

    with open_store(out) as opened:
        if asked:
            _contribute(opened, config, workers)
        print(amounts(opened))
    return DONE


def _contribute(store: Store, config: RunConfig, workers: int) -> None:
    """A run's last phase. Where contributions cannot be had and nobody asked for a number of them, a note says why."""
    from extract.contributions.scope import make_scope
    from store.format.additions import is_begun

    try:
        scope = make_scope(store, config)
        from extract.contributions.addition import add_contributions

        path = add_contributions(store, config, scope, workers)
    except UserError as error:
        if config.contributions is not None or is_begun(store.path):
            raise
        print(f"note: no contributions: {on_one_line(str(error))}")
    else:
        print(f"Contributions written to {path.name}, beside it")


app = command_line(
    "python -m extract", "Featureshift's extractor: what fine-tuning changed, into a store.",
    (init, run, check, demo, info, findings, verify, labels, steer, contributions, publish, bench, bench_truth, fields),
)  # fmt: skip


@app.meta.default
def launch(*words: Words, debug: bool = False) -> int:
    """Carry out a command.

    Args:
        debug: show the traceback of an error
    """
    return parse(app, words)()


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code (:mod:`extract.exits`)."""
    words = sys.argv[1:] if arguments is None else arguments
    interrupted = "Interrupted. What was finished is kept; the same command goes on from there."
    return carry_out(lambda: parse(app.meta, words)(), "--debug" in words, interrupted)


if __name__ == "__main__":
    sys.exit(main())
