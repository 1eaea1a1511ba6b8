"""The states of trainings as they were found: what one ended with is its last step, and two trainings have two names."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from extract.setup.folder import SEED, says_nothing
from extract.setup.parts import Parts, Weights
from extract.setup.recipes import as_series, free, recipe, words
from extract.step_names import CHECKPOINT

TRAINER_STATE = "trainer_state.json"
BEST = "best"
ENDS = {"final", BEST, "last", "merged", "adapter", "lora", "model", "weights", "checkpoint"}
"""Words of which the name is made that a trainer, or who runs it, gives the folder of what a training ended with."""


def with_ends(weights: Sequence[Weights], of_any_kind: bool = False) -> list[Weights]:
    """The same, but what lies with the states of a training, where a trainer writes what it ended with, is a state
    too, after the others: of the step that trainer_state.json says, or of none.

    Args:
        of_any_kind: a model beside adapters too, which may be their base.
    """
    found = list(weights)
    for one in weights:
        alone = one.given or one.series is not None
        states = [] if alone else [state for state in weights if _is_beside(one, state, of_any_kind)]
        if states and not any(state.base is not None and _same(state.base, one.spec) for state in states):
            last = max(states, key=lambda state: state.step or 0)
            step = _last_step(one, last)
            found.remove(one)
            end = replace(one, name=_state_name(last.series, step), series=last.series, step=step)
            found.insert(found.index(last) + 1, end)
    return found


def with_steps(weights: Sequence[Weights], parts: Parts) -> tuple[list[Weights], list[str]]:
    """Those that are no states of a training, and of each training one of a step; others are told as not used.

    Returns:
        also a sentence about each that is what a training ended with.
    """
    kept: dict[object, Weights] = {}
    remarks = []
    for one in sorted(weights, key=lambda one: Path(one.spec).name != f"checkpoint-{one.step}"):
        key = (one.series, one.step) if one.series is not None and not one.given else one
        if one.series is not None and one.step is None:
            why = (
                f"what '{one.series}' ended with, but no {TRAINER_STATE} says that it is of a step after the last "
                "checkpoint's; give it with --variant, or its series and step in the file"
            )
            parts.unused.append((one.spec, why))
        elif (other := kept.setdefault(key, one)) is not one:
            why = f"it is of step {one.step} of '{one.series}', as '{other.spec}' is; give the one that is meant with --variant"
            parts.unused.append((one.spec, why))
        elif one.series is not None and not one.given and not CHECKPOINT.fullmatch(Path(one.spec).name):
            remarks.append(f"'{one.spec}' is taken as step {one.step:,} of '{one.series}', its last, by {TRAINER_STATE}.")
    return [one for one in weights if one in kept.values()], remarks


def told_apart(weights: Sequence[Weights]) -> list[Weights]:
    """The same, of which those in several folders of one name are called by what their paths differ in; runs of one recipe keep
    one name for it."""
    holders = {at: _holder(one) for at, one in enumerate(weights) if not one.given}
    of_recipe: dict[str, list[int]] = {}
    for at in holders:
        of_recipe.setdefault(recipe(_called(weights[at]))[0], []).append(at)
    found = list(weights)
    for members in of_recipe.values():
        places: dict[str, set[tuple[str, ...]]] = {}
        for at in members:
            places.setdefault(_called(weights[at]), set()).add(holders[at])
        if any(len(several) > 1 for several in places.values()):
            alike = takewhile(lambda parts: len(set(parts)) == 1, zip(*(holders[at] for at in members), strict=False))
            shared = len(list(alike))
            for at in members:
                found[at] = _renamed(weights[at], "-".join(holders[at][shared:]))
    return _series_apart(found)


def _series_apart(weights: Iterable[Weights]) -> list[Weights]:
    """Series of names such as the configuration takes, each of one training: a long name is cut, and may become another's."""
    names: dict[tuple[object, ...], str] = {}
    found = []
    for one in weights:
        if one.series is not None and not one.given:
            key = (one.series, _holder(one))
            names[key] = names.get(key) or free(as_series(one.series), names.values())
            one = replace(one, series=names[key], name=_state_name(names[key], one.step))
        found.append(one)
    return found


def _is_beside(one: Weights, state: Weights, of_any_kind: bool) -> bool:
    """Whether something lies in the folder of a training, or is that folder, and its name says nothing else."""
    if state.series is None or state.given or (one.kind != state.kind and not of_any_kind):
        return False
    folder, place = Path(state.spec).parent, Path(one.spec)
    said = set(words(place.stem))
    return place == folder or (place.parent == folder and bool(said) and said <= ENDS and said != {"model"})


def _last_step(end: Weights, last: Weights) -> int | None:
    """The step that a training ended with, where it is after its last checkpoint's: its own file says it, or that one's, of how
    many steps are meant to be made."""
    step = _number(Path(end.spec) / TRAINER_STATE, "global_step")
    if step is None and BEST not in words(Path(end.spec).name):
        step = _number(Path(last.spec) / TRAINER_STATE, "max_steps")
    return step if step is not None and step > (last.step or 0) else None


def _number(file: Path, name: str) -> int | None:
    try:
        said = json.loads(file.read_text(encoding="utf-8")).get(name)
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return said if type(said) is int and 0 < said < 10**18 else None


def _same(said: str, spec: str) -> bool:
    try:
        return Path(said).expanduser().resolve() == Path(spec).resolve()
    except (OSError, RuntimeError, ValueError):
        return False


def _called(one: Weights) -> str:
    return as_series(one.series or one.name)


def _holder(one: Weights) -> tuple[str, ...]:
    """The folder in which that lies which something is called by, part by part."""
    parts, left = Path(os.path.abspath(one.spec)).parts, words(one.series or one.name)  # noqa: PTH100 - links stay
    while parts and left:
        name = Path(parts[-1]).stem if parts[-1].endswith(".gguf") else parts[-1]
        own = words(name)
        if own and left[-len(own) :] == own:
            left = left[: -len(own)]
        elif not says_nothing(name) and not set(own) <= ENDS:
            break
        parts = parts[:-1]
    return parts


def _renamed(one: Weights, label: str) -> Weights:
    """Called by its place too; a folder of a seed after the recipe, as seeds are."""
    old = one.series or one.name
    new = old if not label else f"{old}-{label}" if SEED.fullmatch(label) else f"{label}-{old}"
    return replace(one, name=new) if one.series is None else replace(one, series=new, name=_state_name(new, one.step))


def _state_name(series: str, step: int | None) -> str:
    return series if step is None else f"{series}-{step}"
