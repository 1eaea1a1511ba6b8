"""What the tests of charts share: rows of layer metrics, and the parts of a specification."""

import pandas as pd


def layer_rows(**changes):
    rows = pd.DataFrame(
        {"layer": [5, 12], "variant": "maths", "value": [0.9, 0.4], "low": None, "high": None, "gate": "fits"}
    ).assign(n_tokens=14, n_clusters=3)
    return rows.assign(**changes)


def marks(spec):
    """The marks of a specification, layers included."""
    inner = [mark for layer in spec.get("layer", []) for mark in marks(layer)]
    mark = spec.get("mark")
    return inner + ([mark if isinstance(mark, str) else mark["type"]] if mark else [])


def values(spec):
    return [row for rows in spec["datasets"].values() for row in rows]


def inner(spec, mark):
    return [part for part in spec["layer"] if part["mark"]["type"] == mark]
