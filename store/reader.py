"""Reading a store, from the app or a notebook. Read-only in every way; needs no torch.

>>> from store import open_store
>>> s = open_store("store/demo")
>>> s.shifted_features(variant="maths", layer=12, limit=10)
"""

import hashlib
import inspect
import itertools
import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from store import bounded, compare, contents, document_queries, feature_lists, firings, parts, queries, sidecar, tables, trust
from store import manifest as manifests
from store.errors import UserError, first_line
from store.manifest import Manifest
from store.names import BASE
from store.writer import PILOT_FILE, content_digest

_NUMBERS = itertools.count()
_FILE_NAME = re.compile(r"statistics\.duckdb|pilot\.npz|latents/part-\d{5}\.h5")
READ_ONLY = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "lock_configuration": "true",
    **trust.LIMITS,
}
"""DuckDB's configuration for reading: no file but the database itself, no extension, half of the memory, and none of this can
be changed."""

LABELS_DATABASE = """
ATTACH ':memory:' AS {name} (READ_WRITE);
CREATE TABLE {name}.labels (layer INTEGER, feature INTEGER, label VARCHAR, label_source VARCHAR);
"""
FEATURES_WITH_LABELS = f"""
CREATE TEMP VIEW features AS
SELECT f.* REPLACE (coalesce(i.label, f.label) AS label, coalesce(i.label_source, f.label_source) AS label_source)
FROM {Path(manifests.DATABASE_FILE).stem}.main.features f LEFT JOIN {{name}}.labels i USING (layer, feature);
"""  # a temporary name goes before the store's own, and belongs to one cursor
_NO_ACTIVATIONS = {
    "document": np.zeros(0, dtype=np.int32),
    "position": np.zeros(0, dtype=np.int64),
    "value": np.zeros(0, dtype=np.float32),
}


class Store:
    """A finished store. Every question (:func:`_questions`) is a method.

    ``store.contexts(layer=12, feature=431, ...)``, ``store.shifted_features(variant="maths", layer=12, limit=10)``.

    Attributes:
        path: the store's folder.
        manifest: what the run was.
        connection: DuckDB, read-only, without access to anything outside the file: the tables as they were written. To ask
            take :meth:`cursor`, one a thread.
        n_labels: labels that were imported for it, which stand in place of the automatic ones in every answer.
        content: names what the answers depend on: the manifest's digest, and the imported labels'.
        seconds: after which a question is given up; None: never. The app sets it, since its store may be a stranger's.
    """

    def __init__(
        self, path: Path, manifest: Manifest, connection: duckdb.DuckDBPyConnection, labels: pd.DataFrame | None = None
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.seconds: float | None = None
        self.connection = connection
        self.n_labels = 0 if labels is None else len(labels)
        self.content = manifest.digest
        if self.n_labels:
            self.content += hashlib.sha256(labels.to_csv().encode()).hexdigest()
            self._imported = f"imported_{next(_NUMBERS)}"  # whoever opens the same file in this process shares the names
            connection.execute(LABELS_DATABASE.format(name=self._imported))
            connection.register("incoming", labels)
            connection.execute(f"INSERT INTO {self._imported}.labels SELECT * FROM incoming")
            connection.unregister("incoming")
        self.variants: list[str] = list(manifest.variants)
        self.layers: list[int] = self._column("SELECT layer FROM layers ORDER BY layer")
        self.domains: list[str] = self._column("SELECT DISTINCT domain FROM documents ORDER BY domain")
        self.segments: list[str] = self._column("SELECT DISTINCT segment FROM tokens ORDER BY segment")

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database file."""
        self.connection.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for one thread that sees imported labels in the table features.

        The one place where they come in: whatever asks by it, SQL of a notebook included, gets them.
        """
        cursor = self.connection.cursor()
        if self.n_labels:
            cursor.execute(FEATURES_WITH_LABELS.format(name=self._imported))
        return cursor

    def sql(self, query: str, parameters: list[Any] | dict[str, Any] | None = None) -> pd.DataFrame:
        """Run read-only SQL over the tables of schema.sql.

        Raises:
            duckdb.Error: the query is wrong, or tries to write or to reach outside the store.
            UserError: the answer is larger than any question's, or takes longer than :attr:`seconds`.
        """
        return bounded.frame(self.cursor(), query, parameters, self.seconds)

    def activations(self, layer: int, feature: int, model: str = BASE) -> pd.DataFrame:
        """One feature's every scaled activation in a model, from the HDF5 parts.

        Returns:
            DataFrame: document, position, value (float32, scaled activation), in reading order; only of documents with codes.
        """
        norm = self._decoder_norm(layer, feature)
        places = self.sql("SELECT document, part, first_row FROM documents WHERE has_codes ORDER BY part, first_row")
        document, part, first_row = (places[name].to_numpy() for name in ("document", "part", "first_row"))
        pieces: dict[str, list[np.ndarray]] = {name: [empty] for name, empty in _NO_ACTIVATIONS.items()}
        for number in np.unique(part):
            row, value = parts.read_feature(self._part(number), layer, model, feature)
            start, stop = np.searchsorted(part, [number, number + 1])
            which = start + np.searchsorted(first_row[start:stop], row, side="right") - 1
            pieces["document"].append(document[which])
            pieces["position"].append(row - first_row[which])
            pieces["value"].append((value * norm).astype(np.float32))
        return pd.DataFrame({name: np.concatenate(arrays) for name, arrays in pieces.items()})

    def codes(self, document: int, layer: int, model: str = BASE) -> pd.DataFrame:
        """Every active feature of a document, from the HDF5 parts.

        Returns:
            DataFrame: position, feature, value (float32, scaled activation).

        Raises:
            UserError: no such document, or the store did not keep its codes.
        """
        found = self.sql("SELECT part, first_row, n_tokens, has_codes FROM documents WHERE document = ?", [document])
        if found.empty:
            raise UserError(f"The store has no document {document}; it has {self.manifest.rows['documents']} documents.")
        place = found.iloc[0]
        if not place.has_codes:
            raise UserError(
                f"This store did not keep the codes of document {document} (documents.has_codes says which it kept); the store "
                "that it was cut from, or a new extraction, has them."
            )
        codes = parts.read_codes(self._part(place.part), layer, model, int(place.first_row), int(place.n_tokens))
        norms = self.sql("SELECT decoder_norm FROM features WHERE layer = ? ORDER BY feature", [layer])["decoder_norm"]
        if codes.index.max(initial=-1) >= len(norms):
            raise UserError(f"The codes of layer {layer} name features that the store does not have; do not trust this copy.")
        value = (codes.value * norms.to_numpy()[codes.index]).astype(np.float32)
        return pd.DataFrame({"position": codes.rows, "feature": codes.index, "value": value})

    def _part(self, number: int) -> Path:
        """A part's file.

        Raises:
            UserError: the manifest does not name it, so that nobody has looked whether it lies in the store.
        """
        name = parts.part_file(int(number))
        if name not in self.manifest.files:
            raise UserError(f"Documents stand in the part '{name}', which the manifest does not name; do not trust this copy.")
        return self.path / name

    def _column(self, query: str) -> list:
        return [row[0] for row in self.connection.cursor().execute(query).fetchall()]

    def _decoder_norm(self, layer: int, feature: int) -> float:
        norm = self._column(f"SELECT decoder_norm FROM features WHERE layer = {int(layer)} AND feature = {int(feature)}")
        if not norm:
            raise UserError(f"The store has no feature {feature} at layer {layer}.")
        return norm[0]


def _questions() -> dict[str, Any]:
    """The public functions that take a store first, of the modules of questions."""
    return {
        name: function
        for module in (queries, feature_lists, firings, compare, document_queries)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_") and next(iter(inspect.signature(function).parameters), None) == "store"
    }


for _name, _function in _questions().items():
    setattr(Store, _name, _function)


def open_store(path: str | Path) -> Store:
    """Open a finished store for reading, with the labels that were imported for it (:mod:`store.sidecar`).

    Raises:
        UserError: there is none, it is unfinished, damaged, cut short, or of another schema version; its sidecar is damaged.
    """
    folder = Path(path)
    manifest = manifests.read_manifest(folder)
    return _open(folder, manifest, sidecar.read_labels(folder, manifest.digest))


def _open(folder: Path, manifest: Manifest, labels: pd.DataFrame | None) -> Store:
    _check_names(folder, manifest)
    for name, expected in manifest.files.items():
        _check_size(folder, name, expected["bytes"])
    database = folder / manifests.DATABASE_FILE
    try:
        connection = duckdb.connect(str(database), read_only=True, config=READ_ONLY)
        trust.check_database(connection, manifest, manifest.files[manifests.DATABASE_FILE]["bytes"])
        return Store(folder, manifest, connection, labels)
    except duckdb.Error as error:
        raise UserError(
            f"The database '{database.name}' of the store '{folder}' is damaged ({first_line(error)}); copy or extract it"
            " again."
        ) from error


def verify(path: str | Path) -> list[str]:
    """Check every byte and row of a store against its manifest, and the structure of its sidecar.

    Returns:
        One sentence for each thing that is wrong; an empty list for a sound store.

    Raises:
        UserError: it cannot be opened at all.
    """
    folder = Path(path)
    manifest = manifests.read_manifest(folder)
    _check_names(folder, manifest)
    problems = []
    for name, expected in manifest.files.items():
        file = folder / name
        if not file.is_file():
            problems.append(f"The file '{name}' is missing.")
        elif manifests.file_hash(file) != expected["sha256"]:
            problems.append(f"The file '{name}' differs from what was written: its SHA-256 does not match the manifest.")
    problems += contents.strange(folder, manifest)
    problems += sidecar.check(folder)
    if problems:
        return problems
    with _open(folder, manifest, labels=None) as store:
        try:
            rows, digest = tables.row_counts(store.connection), tables.digest(store.connection)
        except duckdb.Error as error:
            return [f"The database '{manifests.DATABASE_FILE}' lacks what a store has ({first_line(error)})."]
        problems += [
            f"The table {table!r} has {rows.get(table, 'no')} rows, the manifest says {count}."
            for table, count in manifest.rows.items()
            if rows.get(table) != count
        ]
        part_digests = [parts.digest(folder / name) for name in sorted(manifest.files) if name.endswith(".h5")]
        if content_digest(digest, part_digests) != manifest.digest:
            problems.append("The content digest does not match the manifest.")
        problems += trust.repeated_keys(store.connection)
    return problems


def _check_names(folder: Path, manifest: Manifest) -> None:
    """A store that somebody shared must not make its reader look at other files, nor at what the manifest does not vouch for.

    Raises:
        UserError: it would.
    """
    for name in (*manifest.files, PILOT_FILE):
        if not _FILE_NAME.fullmatch(name):
            raise UserError(f"The manifest names the file {name!r}, which does not belong to a store; do not trust this copy.")
        if not _is_inside(folder / name, folder):
            raise UserError(f"The file '{name}' of the store is a link to another place; do not trust this copy.")
    if manifests.DATABASE_FILE not in manifest.files:
        raise UserError(f"The manifest of '{folder}' does not name '{manifests.DATABASE_FILE}'; do not trust this copy.")
    contents.check_folder(folder)


def _is_inside(file: Path, folder: Path) -> bool:
    """Whether a file is where its path says, or elsewhere in the folder; not where links go round in a circle."""
    try:
        return file.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False


def _check_size(folder: Path, name: str, expected: int) -> None:
    file = folder / name
    if not file.is_file():
        raise UserError(f"The store '{folder}' is damaged: '{name}' is missing; extract it again.")
    if file.stat().st_size != expected:
        raise UserError(
            f"The store '{folder}' is damaged: '{name}' has {file.stat().st_size:,} bytes instead of {expected:,}; "
            "copy or extract it again."
        )
