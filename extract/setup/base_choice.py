"""Which model is the base: the one that was named, that the adapters name, or that is left."""

from collections.abc import Sequence
from pathlib import Path

from extract.models.base_names import display_base, plain_name
from extract.setup.parts import Parts, Weights, is_local
from extract.setup.recipes import words
from store.errors import UserError
from store.numbers import listed


def choose_base(parts: Parts) -> tuple[str, list[Weights], list[str]]:
    """(the base's spec, the variants, how it came to be that).

    Raises:
        UserError: there is no base, or it is not known which of several models is it.
    """
    every = [*parts.weights, *parts.variants]
    if parts.base is not None:
        return parts.base, every, []
    models = [one for one in parts.weights if one.kind == "model" and one.series is None]
    if (chosen := _by_what_they_say(models, every)) is not None:
        remark = f"'{chosen.name}' is taken as the base, since what was trained on it names it."
    elif len(called := [one for one in models if "base" in words(Path(chosen_name(one)).name)]) == 1:
        chosen, remark = called[0], f"'{called[0].name}' is taken as the base by its name."
    elif len(models) == 1:
        chosen, remark = models[0], f"'{models[0].name}' is taken as the base: no other model was found."
    elif models:
        names = listed(sorted(f"'{one.spec}'" for one in models))
        raise UserError(f"Which of several models is the base cannot be told ({names}); name it with --base.")
    else:
        return _named_elsewhere(every), every, ["The base was not given: it is the one that the settings of the adapters name."]
    return chosen.spec, [one for one in every if one is not chosen], [remark]


def chosen_name(one: Weights) -> str:
    """A model by its file or folder."""
    return Path(one.spec).stem if one.spec.endswith(".gguf") else Path(one.spec).name


def _by_what_they_say(models: Sequence[Weights], every: Sequence[Weights]) -> Weights | None:
    """The one model that the settings of others name; None where they name none, or several."""
    found = {}
    for one in every:
        if one.base is not None:
            found |= {model.spec: model for model in models if model is not one and _is_meant(one.base, model)}
    return next(iter(found.values())) if len(found) == 1 else None


def _is_meant(said: str, model: Weights) -> bool:
    if is_local(said) and Path(said).exists():
        return Path(said).resolve() == Path(model.spec).resolve()
    return plain_name(display_base(said) or said) == plain_name(Path(model.spec).name)


def _named_elsewhere(every: Sequence[Weights]) -> str:
    """The base that adapters, or checkpoints, name and that does not lie beside them."""
    said = sorted({one.base for one in every if one.base is not None})
    here = [name for name in said if not is_local(name) or Path(name).exists()]
    if len(here) == 1:
        return here[0]
    if here:
        raise UserError(f"The variants name several bases ({listed(here)}); give the one of this run with --base.")
    if said:
        raise UserError(f"There is no base: the variants name '{said[0]}', where no model is; give it with --base.")
    raise UserError(
        "There is no base: no model was found (a folder with config.json and weights, or a .gguf file), and nothing names one; "
        "give it with --base."
    )
