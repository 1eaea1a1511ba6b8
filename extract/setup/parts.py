"""What a run can be made of, as it was found or named: weights, dictionaries, data; told from a folder's files alone."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from extract.config_file import PYPI_PREFIX
from extract.corpus.saved_sets import is_saved
from extract.step_names import CHECKPOINT
from store.errors import UserError, reason

ADAPTER, MODEL, DICTIONARY = "adapter_config.json", "config.json", "cfg.json"
STORE = "manifest.json"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model*.json")
CODES = "sae_weights.safetensors"
SAVED = (
    (DICTIONARY, CODES), ("sae.safetensors", DICTIONARY), ("ae.pt", "config.json"), ("params.npz",),
    ("params.safetensors", "config.json"), ("hyperparams.json", "checkpoints/final.safetensors"),
)  # fmt: skip
"""Files of a dictionary: of sae-lens, and of the libraries of extract/saes/folders.py."""
Kind = Literal["adapter", "model", "dictionary", "dataset", "store"]


@dataclass(frozen=True)
class Weights:
    """A model, or an adapter on one.

    Attributes:
        spec: folder, file or hub id.
        kind: None: it is on the hub, which has to be asked.
        name: what it is called; no name of a variant yet, unless it was given.
        given: whether the user named it.
        base: what its settings say that it was trained on, or saved from.
        series, step: where it is one of several states of one training.
    """

    spec: str
    kind: Literal["adapter", "model"] | None
    name: str
    given: bool = False
    base: str | None = None
    series: str | None = None
    step: int | None = None


@dataclass
class Parts:
    """Everything that was found or named.

    Attributes:
        base: as the user named it.
        weights: models and adapters of a folder; where the base is not named, one of the models is it.
        variants: those that the user named.
        saes: what of a dictionary the configuration says: ``path``, or ``release`` and ``id``; of ``release`` alone the layers
            are still to be chosen.
        asked_saes: whether the user named them; else one a layer is taken.
        data: what of a source the configuration says: ``path`` or ``dataset``.
        asked_data: those that the user named, which have to be read.
        templates: Jinja files.
        unused: (what it is called, why it is not used, or nothing).
    """

    base: str | None = None
    weights: list[Weights] = field(default_factory=list)
    variants: list[Weights] = field(default_factory=list)
    saes: list[dict[str, str]] = field(default_factory=list)
    asked_saes: bool = False
    data: list[dict[str, Any]] = field(default_factory=list)
    asked_data: bool = False
    templates: list[Path] = field(default_factory=list)
    unused: list[tuple[str, str]] = field(default_factory=list)


def kind_of(folder: Path) -> Kind | None:
    """What a folder holds, by the names of its files; an adapter that was saved with its base's settings is an adapter."""
    if (folder / ADAPTER).is_file():
        return "adapter"
    if any(all((folder / file).is_file() for file in files) for files in SAVED):
        return "dictionary"
    if (folder / MODEL).is_file() and any(True for pattern in WEIGHTS for _ in folder.glob(pattern)):
        return "model"
    if is_saved(folder):
        return "dataset"
    return "store" if (folder / STORE).is_file() and (folder / "statistics.duckdb").is_file() else None


def weights_at(place: Path, name: str, given: bool = False) -> Weights | None:
    """The model or adapter of a folder, or of a .gguf file; None where there is none."""
    if place.suffix == ".gguf" and place.is_file():
        return Weights(str(place), "model", name, given)
    kind = kind_of(place)
    if kind == "adapter":
        return Weights(str(place), kind, name, given, _said(place / ADAPTER, "base_model_name_or_path"))
    return Weights(str(place), kind, name, given, _said(place / MODEL, "_name_or_path")) if kind == "model" else None


def states_of(folder: Path, series: str) -> list[Weights]:
    """The states of one training that a trainer left in its folder, by their steps."""
    found = []
    for place in folder.iterdir():
        step = CHECKPOINT.fullmatch(place.name)
        if step and (weights := weights_at(place, f"{series}-{int(step[1])}")) is not None:
            found.append(Weights(weights.spec, weights.kind, weights.name, False, weights.base, series, int(step[1])))
    return sorted(found, key=lambda state: state.step)


def is_local(spec: str) -> bool:
    """Whether something names a place on this machine, where anything is or not."""
    if spec.startswith(PYPI_PREFIX):
        return False
    try:
        return spec.startswith((".", "/", "~")) or spec.count("/") > 1 or Path(spec).expanduser().exists()
    except (OSError, RuntimeError):
        return True


def placed(spec: str, what: str) -> Path:
    """A path that the user gave.

    Raises:
        UserError: nothing is there, or it cannot be looked at.
    """
    try:
        path = Path(spec).expanduser()
        path.stat()
    except FileNotFoundError as error:
        raise UserError(f"There is nothing at '{spec}', which was given as {what}; check the path.") from error
    except OSError as error:
        raise UserError(f"'{spec}', which was given as {what}, cannot be read: {reason(error)}.") from error
    except (RuntimeError, ValueError) as error:
        raise UserError(f"'{spec}', which was given as {what}, is no path; check it.") from error
    return path


def _said(file: Path, field_name: str) -> str | None:
    try:
        said = json.loads(file.read_text(encoding="utf-8")).get(field_name)
    except (OSError, ValueError, AttributeError, RecursionError):
        return None  # what is wrong with it is said when it is read
    return said if isinstance(said, str) and said.strip() else None
