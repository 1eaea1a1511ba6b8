"""What the command line of ``init`` names, as parts of a run; a pattern names the states of a training."""

import glob
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from extract.setup.folder import look_through, told_name
from extract.setup.parts import Parts, Weights, is_local, kind_of, placed, states_of, weights_at
from extract.step_names import CHECKPOINT, counted, is_bare, step_of
from store.errors import UserError

NAMED = re.compile(r"([A-Za-z0-9_*][\w.*-]*)=(.+)", re.DOTALL)
MOST_FILES = 20
"""Of a folder or pattern of data, named each by itself at most."""
HUB_RECORDS = 2_000
"""Read of a dataset of the hub, which may be of any size."""
MAGIC = re.compile(r"[*?\[]")


def parts_of(folder: str | None, base: str | None, variants: Sequence[str], saes: Sequence[str], data: Sequence[str]) -> Parts:
    """Everything that a line points at; what it names goes before what lies in the folder.

    Raises:
        UserError: it names what is not there, or what is no such thing.
    """
    found = Parts() if folder is None else look_through(Path(folder))
    found.base = base
    if base is not None and is_local(base):
        place = placed(base, "--base")
        if (weights := weights_at(place, place.name)) is None or weights.kind == "adapter":
            raise UserError(f"'{base}' is no model (it holds no config.json with weights); give one as --base.")
        found.weights = [other for other in found.weights if not _same_place(other.spec, place)]
    if variants:
        found.variants = [weights for text in variants for weights in variants_of(text)]
        places = [Path(weights.spec) for weights in found.variants]
        found.unused += [(other.spec, "--variant names others") for other in found.weights if other.kind == "adapter"]
        models = [other for other in found.weights if other.kind == "model" and other.series is None]
        found.weights = [] if base else [one for one in models if not any(_same_place(one.spec, place) for place in places)]
    if saes:
        found.saes, found.asked_saes = [sae for text in saes for sae in dictionaries_of(text)], True
    if data:
        found.data, found.asked_data = [source for text in data for source in sources_of(text, found.unused)], True
    return found


def variants_of(text: str) -> list[Weights]:
    """The variants of ``name=PATH``, of a PATH alone, or of a pattern, ``maths-*=checkpoints/maths-*``.

    Raises:
        UserError: nothing is there, or nothing that is a model or an adapter.
    """
    given = NAMED.fullmatch(text)
    name, spec = (given[1], given[2]) if given else (None, text)
    if MAGIC.search(spec) and not Path(spec).exists():
        return _of_pattern(name, spec)
    if name is not None and "*" in name:
        raise UserError(f"--variant {text} has a * in the name alone; put one into the path too, '{name}=FOLDER/{name}'.")
    if not is_local(spec):
        return [Weights(spec, None, name or spec.rpartition("/")[2], name is not None)]
    place = placed(spec, "--variant")
    called = name or told_name(place.absolute(), place.absolute().parent)
    if (weights := weights_at(place, called, name is not None)) is not None:
        return [weights]
    if place.is_dir() and (states := states_of(place, called)):
        return [replace(state, given=name is not None) for state in states]
    raise UserError(
        f"'{spec}' is neither an adapter (adapter_config.json) nor a model (config.json with weights, or .gguf), and holds no "
        "checkpoint-N; give its folder as --variant."
    )


def _of_pattern(name: str | None, pattern: str) -> list[Weights]:
    """One variant for each place that a pattern matches: states of one training where what the star stands for is a step."""
    places, found = _matching(pattern), []
    for place in places:
        star, step = _star_and_step(pattern, place, named="*" in (name or ""))
        called = _filled(name, star, place, step)
        if (weights := weights_at(place, called)) is None:
            continue
        stem = re.sub(r"[-_. ]*[0-9]+$", "", called) if step is not None else ""
        series, number = (stem, step) if stem else (None, None)
        found.append(Weights(weights.spec, weights.kind, called, name is not None, weights.base, series, number))
    if not found:
        what = f"{len(places):,} places, none of them a model or an adapter" if places else "nothing"
        raise UserError(f"The pattern '{pattern}' of --variant matches {what}; check it, and quote it.")
    with_step, other = ([one for one in found if (one.series is None) == without] for without in (False, True))
    if with_step and other:
        raise UserError(
            f"The pattern '{pattern}' of --variant matches '{with_step[0].spec}', which has a step, and '{other[0].spec}', "
            "which has none; move the one elsewhere, or give it a --variant of its own and the others a pattern that leaves it "
            "out."
        )
    return sorted(found, key=lambda state: (state.series or "", state.step or 0, state.name))


def _star_and_step(pattern: str, place: Path, named: bool) -> tuple[str, int | None]:
    """What the wildcards of a pattern stand for in a place that it matches; and the step, where the last of them is one.

    Args:
        named: whether the variant's name has a star too, which that is put in place of.
    """
    stars, before, after = _stars(pattern, str(place))
    step = CHECKPOINT.fullmatch(place.name)
    number = int(step[1]) if step else step_of(stars[-1], before, after)
    if number is not None:
        return "-".join(filter(None, [*stars[:-1], str(number)])), number
    what = counted(before) if is_bare(stars[-1]) and not named else None
    return "-".join(filter(None, [*stars[:-1], f"{what or ''}{stars[-1]}"])), None


def _filled(name: str | None, star: str, place: Path, step: int | None) -> str:
    """What one place of a pattern is called."""
    if name is None:
        return f"{place.parent.name}-{step}" if CHECKPOINT.fullmatch(place.name) else place.name
    return name.replace("*", star) if "*" in name else f"{name}-{star}"


def _stars(pattern: str, place: str) -> tuple[list[str], str, str]:
    """What the wildcards of a pattern stand for in a place that it matches, the brackets of a class included; and what the
    name that has the last of them has before and after it."""
    pieces = re.split(r"(\*+|\?|\[[^\]]+\])", str(Path(pattern).expanduser()))
    written = "".join(f"({'.' if piece[0] in '?[' else '.*'})" if n % 2 else re.escape(piece) for n, piece in enumerate(pieces))
    match = re.fullmatch(written, place, re.DOTALL)
    if match is None:
        return [Path(place).name], "", ""
    start, end = match.span(match.lastindex)
    return list(match.groups()), place[:start].rpartition("/")[2], place[end:].partition("/")[0]


def dictionaries_of(text: str) -> list[dict[str, str]]:
    """The dictionaries of ``release/id``, of a release alone, of a folder, or of a folder of folders; whether the release is a
    repository of the hub, ``owner/name/id``, is for sae-lens' registry to say.

    Raises:
        UserError: there is no dictionary at a path.
    """
    if not is_local(text) or (text.count("/") > 1 and not Path(text).exists() and not text.startswith((".", "/", "~"))):
        release, _, inside = text.partition("/")
        return [{"release": release, "id": inside} if inside else {"release": release}]
    place = placed(text, "--sae")
    if place.is_dir() and kind_of(place) != "dictionary":
        within = [inner for inner in sorted(place.iterdir()) if inner.is_dir() and kind_of(inner) == "dictionary"]
        if within:
            return [{"path": str(inner)} for inner in within]
    return [{"path": str(place)}]  # what is wrong with it is said by the code that reads it


def sources_of(text: str, unused: list[tuple[str, str]] | None = None) -> list[dict[str, Any]]:
    """The source of a file or of a dataset of the hub; of a folder or pattern each file, since each has its domain, or all in
    one where there are many.

    Args:
        unused: filled with what of a folder is none.

    Raises:
        UserError: nothing is at a path.
    """
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not Path(text).exists() and not Path(text).parent.exists():
        return [{"dataset": text, "limit": HUB_RECORDS}]
    if MAGIC.search(text) and not Path(text).exists():
        files = [{"path": str(place)} for place in _matching(text) if place.is_file()]
        return files if 0 < len(files) <= MOST_FILES else [{"path": str(Path(text).expanduser())}]
    place = placed(text, "--data")
    if not place.is_dir() or kind_of(place) == "dataset":
        return [{"path": str(place)}]
    within = look_through(place)
    if not 0 < len(within.data) <= MOST_FILES:
        return [{"path": str(place)}]
    if unused is not None:
        unused += within.unused
    return within.data


def _matching(pattern: str) -> list[Path]:
    return [Path(place) for place in sorted(glob.glob(str(Path(pattern).expanduser())))]  # noqa: PTH207 - it may be absolute


def tasks_of(words: Sequence[str]) -> dict[str, list[str]]:
    """Variant -> domains, of ``name=domain`` and ``name=domain,domain``.

    Raises:
        UserError: it is something else.
    """
    found: dict[str, list[str]] = {}
    for text in words:
        name, sign, domains = text.partition("=")
        if not (name and sign and domains):
            raise UserError(f"--task {text} is not of the form name=domain; give a variant and the domain it was trained for.")
        found.setdefault(name, []).extend(domain.strip() for domain in domains.split(",") if domain.strip())
    return found


def _same_place(spec: str, place: Path) -> bool:
    try:
        return Path(spec).resolve() == place.resolve()
    except OSError:
        return False
