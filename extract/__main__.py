"""The extractor's command line: arguments are parsed and validated before torch is imported."""

import argparse
import sys
from pathlib import Path

from extract.exits import CANNOT, DONE, FOUND_FAULT, carry_out
from store.errors import UserError
from store.text import on_one_line

DEMO_CONFIG = Path(__file__).parent / "demo" / "configs" / "demo.yaml"
BENCH_CONFIG = DEMO_CONFIG.with_name("bench.yaml")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code (:mod:`extract.exits`)."""
    options = _parser().parse_args(arguments)
    interrupted = "Interrupted. What was finished is kept; the same command goes on from there."
    return carry_out(lambda: options.command(options), options.debug, interrupted)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m extract", description="Featureshift's extractor: what fine-tuning changed, into a store."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = _command(commands, "run", _run, "extract a store from a configuration; goes on where it was interrupted")
    run.add_argument("config", metavar="CONFIG", help="YAML file; see 'python -m extract fields'")
    run.add_argument("--out", required=True, type=Path, metavar="DIR", help="the store to make; must not exist")
    run.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that share the work, each with all models (%(default)s)"
    )
    run.add_argument(
        "--engine", choices=("local", "ray"), default="local",
        help="where they run: this machine, or the Ray cluster at RAY_ADDRESS, one of this machine without it (%(default)s)",
    )  # fmt: skip

    check = _command(commands, "check", _check, "say what a run would do and need, and what is missing; loads nothing big")
    check.add_argument("config", metavar="CONFIG")
    check.add_argument("--out", type=Path, metavar="DIR", help="the store that is to be made, to see whether it can be")

    demo = _command(commands, "demo", _demo, "run the real extraction on a slice of the bundled corpus")
    demo.add_argument("--out", required=True, type=Path, metavar="DIR", help="the store to make; must not exist")

    info = _command(commands, "info", _info, "print a store's provenance and headline table")
    info.add_argument("store", metavar="STORE")

    findings = _command(commands, "findings", _findings, "write what a store shows as a page of Markdown")
    findings.add_argument("store", metavar="STORE")
    findings.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: the terminal)")

    verify = _command(commands, "verify", _verify, "check every byte and row of a store against its manifest")
    verify.add_argument("store", metavar="STORE")

    labels = _command(commands, "labels", _labels, "import labels of features, which then stand in place of the automatic ones")
    labels.add_argument("store", metavar="STORE", type=Path)
    labels.add_argument(
        "file", metavar="FILE", type=Path,
        help="CSV with the columns layer, feature, label; or Neuronpedia's explanations (.jsonl or .json, gzipped or not)",
    )  # fmt: skip

    steer = _command(commands, "steer", _steer, "causal check of one feature: undo its change, see what is predicted then")
    steer.add_argument("store", metavar="STORE")
    steer.add_argument("config", metavar="CONFIG", help="the YAML file that made the store")
    for name, kind in (("--layer", int), ("--feature", int), ("--variant", str)):
        steer.add_argument(name, required=True, type=kind)
    steer.add_argument("--contexts", type=int, default=20, metavar="N", help="use at most so many contexts (%(default)s)")
    steer.add_argument("--random", type=int, default=20, metavar="K", help="compare with so many random features (%(default)s)")
    steer.add_argument("--seed", type=int, default=0, help="of their draw (%(default)s)")

    publish = _command(commands, "publish", _publish, "write a cut-down copy of a store that is small enough to share")
    publish.add_argument("store", metavar="STORE", type=Path)
    publish.add_argument("--out", required=True, type=Path, metavar="DIR", help="the copy to make; must not exist")
    publish.add_argument(
        "--max-mb", type=float, default=60, metavar="MB", help="the most its files may have together, 10^6 bytes (%(default)s)"
    )

    bench = _command(commands, "bench", _bench, "measure what an extraction costs beside the bare passes")
    bench.add_argument("config", metavar="CONFIG", nargs="?", help="what to run (default: the demo's models on 8,000 tokens)")
    bench.add_argument("--tokens", type=int, metavar="N", help="instead of the configuration's")
    _results(bench, "docs/bench.md, where CONFIG and --tokens are left out")

    truth = _command(commands, "bench-truth", _bench_truth, "check the statistics on data whose answer is known")
    truth.add_argument("--quick", action="store_true", help="draw fewer stores; writes no page unless --page names one")
    _results(truth, "docs/bench-truth.md")

    _command(commands, "fields", _fields, "list every field of a configuration with its default")
    return parser


def _results(bench: argparse.ArgumentParser, page: str) -> None:
    """Where the results of a bench go."""
    bench.add_argument("--page", type=Path, metavar="FILE", help=f"page whose table is replaced (default: {page})")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON too")


def _command(commands, name: str, function, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    command.set_defaults(command=function)
    return command


def _run(options: argparse.Namespace) -> int:
    if options.workers < 1:
        raise UserError(f"--workers is {options.workers}; give 1 or more.")
    return _extract(options.config, options.out, options.workers, options.engine)


def _demo(options: argparse.Namespace) -> int:
    return _extract(DEMO_CONFIG, options.out)


def _extract(config_path: str | Path, out: Path, workers: int = 1, engine: str = "local") -> int:
    from extract.config import load_config
    from store.format.writer import check_free

    config = load_config(config_path)
    check_free(out)
    from extract.run import pipeline

    manifest = pipeline.run(config, out, workers=workers, engine=engine)
    print(f"Store written to {out}: {manifest.counts['tokens']:,} tokens, digest {manifest.digest[:16]}")
    return DONE


def _check(options: argparse.Namespace) -> int:
    from extract.config import load_config

    config = load_config(options.config)
    from extract.run import check as plan

    report = plan.check(config, options.out)
    print("\n".join([*report.lines, *(f"note: {note}" for note in report.notes)]))
    for problem in report.problems:
        print(f"error: {on_one_line(problem)}", file=sys.stderr)
    return CANNOT if report.problems else DONE


def _info(options: argparse.Namespace) -> int:
    from store import open_store
    from store.reports.terminal import describe

    with open_store(options.store) as store:
        print(describe(store))
    return DONE


def _findings(options: argparse.Namespace) -> int:
    from store import open_store
    from store.files import check_writable, write_text
    from store.reports.findings import findings

    if options.out:
        check_writable(options.out)
    with open_store(options.store) as store:
        page = findings(store)
    if options.out:
        write_text(options.out, page)
    else:
        print(page, end="")
    return DONE


def _verify(options: argparse.Namespace) -> int:
    from store import verify
    from store.read.contents import remarks

    problems = verify(options.store)
    for problem in problems:
        print(problem, file=sys.stderr)
    for remark in remarks(options.store) if not problems else []:
        print(f"note: {remark}")
    print(f"{options.store}: " + (f"{len(problems)} problem(s)" if problems else "every file, row and code is as written"))
    return FOUND_FAULT if problems else DONE


def _labels(options: argparse.Namespace) -> int:
    from extract.label_files import import_labels

    print(import_labels(options.store, options.file))
    return DONE


def _steer(options: argparse.Namespace) -> int:
    from extract.config import load_config
    from extract.steering.plan import make_plan
    from store import open_store
    from store.sidecar.entries import write_steering
    from store.sidecar.steering import in_words

    config = load_config(options.config)
    with open_store(options.store) as store:
        wanted = (options.layer, options.feature, options.variant, options.contexts, options.random, options.seed)
        plan = make_plan(store, config, *wanted)
        from extract.steering.intervention import steer

        result = steer(store, config, plan)
        store.snapshot.check()  # what was measured is of the store that stands there
    path = write_steering(store.path, store.manifest.digest, result)
    print(in_words(result))
    print(f"Kept in {path.name}, beside the store; the feature's page shows it.")
    return DONE


def _publish(options: argparse.Namespace) -> int:
    from extract.publish import publish, size

    manifest = publish(options.store, options.out, options.max_mb)
    print("\n".join(manifest.notes))
    print(f"Store written to {options.out}: {size(options.out) / 1e6:.1f} MB, digest {manifest.digest[:16]}")
    return DONE


def _bench(options: argparse.Namespace) -> int:
    from extract.config import load_config, with_tokens

    config = load_config(options.config or BENCH_CONFIG)
    if options.tokens is not None:
        config = with_tokens(config, options.tokens)
    from extract.bench import cost as bench
    from extract.bench import page as bench_page

    usual = options.config is None and options.tokens is None
    page = options.page or (bench.PAGE if usual else None)
    return bench_page.measure(lambda: bench.run(config), page, options.json, f"Measured on {bench.machine()}.")


def _bench_truth(options: argparse.Namespace) -> int:
    from extract.bench import page as bench_page
    from extract.bench import truth as bench_truth

    page = options.page or (None if options.quick else bench_truth.PAGE)
    return bench_page.measure(lambda: bench_truth.run(options.quick), page, options.json)


def _fields(_options: argparse.Namespace) -> int:
    from extract.config import describe_fields

    for name, default, text in describe_fields():
        print(f"{name:<18} {default:<10} {text}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
