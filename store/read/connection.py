"""Reading a store, from the app or a notebook. Read-only in every way; needs no torch.

>>> from store import open_store
>>> s = open_store("store/demo")
>>> s.shifted_features(variant="maths", layer=12, limit=10)
"""

import hashlib
import inspect
import re
import stat
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from store.errors import UserError, first_line, unavailable
from store.format import manifest as manifests
from store.format import parts, tables, trust
from store.format.manifest import DATABASE_FILE, MANIFEST_FILE, Manifest
from store.format.writer import PILOT_FILE, content_digest
from store.names import BASE
from store.read import (
    bounded,
    contents,
    firings,
    opening,
    queries,
)
from store.read import (
    documents as document_queries,
)
from store.read import (
    lists as feature_lists,
)
from store.read import (
    variant_pairs as compare,
)
from store.sidecar import entries as sidecar

_FILE_NAME = re.compile(r"statistics\.duckdb|pilot\.npz|latents/part-\d{5}\.h5")
READ_ONLY = opening.READ_ONLY

LABELS_DATABASE = """
ATTACH ':memory:' AS {name} (READ_WRITE);
CREATE TABLE {name}.labels (layer INTEGER, feature INTEGER, label VARCHAR, label_source VARCHAR);
"""
FEATURES_WITH_LABELS = f"""
CREATE TEMP VIEW features AS
SELECT f.* REPLACE (coalesce(i.label, f.label) AS label, coalesce(i.label_source, f.label_source) AS label_source)
FROM {opening.CATALOG}.main.features f LEFT JOIN {{name}}.labels i USING (layer, feature);
"""  # a temporary name goes before the store's own, and belongs to one cursor
_NO_ACTIVATIONS = {
    "document": np.zeros(0, dtype=np.int32),
    "position": np.zeros(0, dtype=np.int64),
    "value": np.zeros(0, dtype=np.float32),
}
_IMPORTED = "imported"
_DATABASE = (MANIFEST_FILE, DATABASE_FILE)


class Store:
    """A finished store. Every question (:func:`_questions`) is a method.

    ``store.contexts(layer=12, feature=431, ...)``, ``store.shifted_features(variant="maths", layer=12, limit=10)``.

    Attributes:
        path: the store's folder.
        manifest: what the run was.
        connection: DuckDB, read-only, without access to anything outside the file: the tables as they were written. To ask
            take :meth:`cursor`, one a thread.
        snapshot: how the files lay when they were opened. Once they lie otherwise, every question ends in one sentence.
        n_labels: labels that were imported for it, which stand in place of the automatic ones in every answer.
        content: names what the answers depend on: the manifest's digest, the very files, and the imported labels.
        seconds: after which a question is given up; None: never. The app sets it, since its store may be a stranger's.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        snapshot: opening.Snapshot,
        connection: duckdb.DuckDBPyConnection,
        labels: pd.DataFrame | None = None,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.snapshot = snapshot
        self.seconds: float | None = None
        self.connection = connection
        self.n_labels = 0 if labels is None else len(labels)
        self.content = f"{manifest.digest}{snapshot.name()}"
        if self.n_labels:
            self.content += hashlib.sha256(labels.to_csv().encode()).hexdigest()
            connection.execute(LABELS_DATABASE.format(name=_IMPORTED))
            connection.register("incoming", labels)
            connection.execute(f"INSERT INTO {_IMPORTED}.labels SELECT * FROM incoming")
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

        Raises:
            Replaced: the database or the manifest is not the one any more that was opened.
        """
        self.snapshot.check(_DATABASE)
        cursor = opening.use(self.connection.cursor())
        if self.n_labels:
            cursor.execute(FEATURES_WITH_LABELS.format(name=_IMPORTED))
        return cursor

    def is_current(self) -> bool:
        """Whether every file of the store lies as it did when it was opened."""
        return not self.snapshot.changed()

    def sql(self, query: str, parameters: list[Any] | dict[str, Any] | None = None) -> pd.DataFrame:
        """Run read-only SQL over the tables of schema.sql.

        Raises:
            duckdb.Error: the query is wrong, or tries to write or to reach outside the store.
            Replaced: the store is not the one any more that was opened.
            UserError: the answer is larger than any question's, or takes longer than :attr:`seconds`.
        """
        found = bounded.frame(self.cursor(), query, parameters, self.seconds)
        self.snapshot.check(_DATABASE)
        return found

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
            row, value = self._read(number, parts.read_feature, layer, model, feature)
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
        codes = self._read(place.part, parts.read_codes, layer, model, int(place.first_row), int(place.n_tokens))
        norms = self.sql("SELECT decoder_norm FROM features WHERE layer = ? ORDER BY feature", [layer])["decoder_norm"]
        if codes.index.max(initial=-1) >= len(norms):
            raise UserError(f"The codes of layer {layer} name features that the store does not have; do not trust this copy.")
        value = (codes.value * norms.to_numpy()[codes.index]).astype(np.float32)
        return pd.DataFrame({"position": codes.rows, "feature": codes.index, "value": value})

    def _read(self, number: int, read: Callable[..., Any], *place: Any) -> Any:
        """What a function of store/format/parts.py reads from a part.

        Raises:
            Replaced: the part, or the store, is not the one any more that was opened.
            UserError: the manifest does not name it, so that nobody has looked whether it lies in the store.
        """
        name = parts.part_file(int(number))
        if name not in self.manifest.files:
            raise UserError(f"Documents stand in the part '{name}', which the manifest does not name; do not trust this copy.")
        self.snapshot.check([MANIFEST_FILE, name])
        found = read(self.snapshot.folder / name, *place)
        self.snapshot.check([MANIFEST_FILE, name])
        return found

    def _column(self, query: str) -> list:
        return [row[0] for row in opening.use(self.connection.cursor()).execute(query).fetchall()]

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
    """Open a finished store for reading, with the labels that were imported for it (:mod:`store.sidecar.entries`).

    Raises:
        UserError: there is none, it is unfinished, damaged, cut short, or of another schema version; its sidecar is damaged.
    """
    folder = Path(path)
    manifest, snapshot = opening.read_manifest(folder)
    return _open(folder, manifest, snapshot, with_labels=True)


def _open(folder: Path, manifest: Manifest, snapshot: opening.Snapshot, with_labels: bool) -> Store:
    opening.refuse_if_written(folder)
    _check_names(folder, manifest)
    opening.look(folder, manifest, snapshot)
    labels = sidecar.read_labels(folder, manifest.digest) if with_labels else None
    database = manifest.files[DATABASE_FILE]
    connection = opening.connect(folder, database["sha256"], database["bytes"])
    try:
        trust.check_database(connection, manifest, database["bytes"])
        store = Store(folder, manifest, snapshot, connection, labels)
        snapshot.check()  # nothing took another's place while it was opened
    except duckdb.Error as error:
        connection.close()
        raise opening.database_error(folder, error) from error
    except UserError:
        connection.close()
        raise
    return store


def verify(path: str | Path, beside: Collection[str] = ()) -> list[str]:
    """Check every byte and row of a store against its manifest, and the structure of its sidecar.

    Args:
        beside: what may lie in the folder although the manifest does not name it.

    Returns:
        One sentence for each thing that is wrong; an empty list for a sound store.

    Raises:
        UserError: it cannot be opened at all, or was replaced meanwhile.
    """
    folder = Path(path)
    manifest, snapshot = opening.read_manifest(folder)
    opening.refuse_if_written(folder)
    _check_names(folder, manifest)
    problems = []
    for name, expected in manifest.files.items():
        digest = _hash_of(folder, name)
        if digest is None:
            problems.append(f"The file '{name}' is missing.")
        elif digest != expected["sha256"]:
            problems.append(f"The file '{name}' differs from what was written: its SHA-256 does not match the manifest.")
    problems += contents.strange(folder, manifest, beside)
    problems += sidecar.check(folder)
    if problems:
        snapshot.check()
        return problems
    with _open(folder, manifest, snapshot, with_labels=False) as store:
        try:
            rows, digest = tables.row_counts(store.cursor()), tables.digest(store.connection, opening.CATALOG)
        except duckdb.Error as error:
            return [f"The database '{DATABASE_FILE}' lacks what a store has ({first_line(error)})."]
        problems += [
            f"The table {table!r} has {rows.get(table, 'no')} rows, the manifest says {count}."
            for table, count in manifest.rows.items()
            if rows.get(table) != count
        ]
        part_digests = [parts.digest(folder / name) for name in sorted(manifest.files) if name.endswith(".h5")]
        snapshot.check()
        if content_digest(digest, part_digests) != manifest.digest:
            problems.append("The content digest does not match the manifest.")
        problems += trust.repeated_keys(store.connection)
    return problems


def _hash_of(folder: Path, name: str) -> str | None:
    """SHA-256 of a file of a store; None where there is none.

    Raises:
        Unavailable: it cannot be read.
    """
    file = folder / name
    try:
        return manifests.file_hash(file) if stat.S_ISREG(file.stat().st_mode) else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unavailable(f"'{name}' of the store '{folder}'", error) from error


def _check_names(folder: Path, manifest: Manifest) -> None:
    """A store that somebody shared must not make its reader look at other files, nor at what the manifest does not vouch for.

    Raises:
        UserError: it would.
    """
    for name in (*manifest.files, PILOT_FILE):
        if not _FILE_NAME.fullmatch(name):
            raise UserError(f"The manifest names the file {name!r}, which does not belong to a store; do not trust this copy.")
        if not _is_inside(folder / name, folder):
            raise UserError(
                f"The file '{name}' of the store is a link to another place, as in the cache of the Hugging Face hub; fetch "
                "the store as plain files ('hf download REPO --local-dir FOLDER', or snapshot_download with local_dir=), and "
                "do not trust a copy with links from anywhere else."
            )
    if DATABASE_FILE not in manifest.files:
        raise UserError(f"The manifest of '{folder}' does not name '{DATABASE_FILE}'; do not trust this copy.")
    contents.check_folder(folder)


def _is_inside(file: Path, folder: Path) -> bool:
    """Whether a file is where its path says, or elsewhere in the folder; not where links go round in a circle."""
    try:
        return file.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False


