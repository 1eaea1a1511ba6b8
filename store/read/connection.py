"""An open store: its tables by SQL, its codes by feature or by document. Read-only in every way.

The questions stand in the classes that build on it, which :class:`store.read.store.Store` puts together.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
import pandas as pd

from store.errors import UserError
from store.format import trust
from store.format.codes import part_file
from store.format.manifest import DATABASE_FILE, MANIFEST_FILE, Manifest
from store.format.part_reading import read_codes, read_feature
from store.names import BASE
from store.points import RESID_POST, point_of, where_of
from store.read import attached, bounded, contents, opening
from store.sidecar import entries
from store.trainings import Member, speakers

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


class Connection:
    """A finished store that is open to read.

    Attributes:
        path: the store's folder.
        manifest: what the run was.
        connection: DuckDB, read-only, without access to anything outside the file: the tables as they were written. To ask
            take :meth:`cursor`, one a thread.
        snapshot: how the files lay when they were opened. Once they lie otherwise, every question ends in one sentence.
        n_labels: labels that were imported for it, which stand in place of the automatic ones in every answer.
        has_contributions: whether there are any beside it; in SQL their tables are ``contributions.NAME``.
        content: names what the answers depend on: the manifest's digest, the very files, and the imported labels.
        seconds: after which a question is given up; None: never. The app sets it, since its store may be a stranger's.
    """

    @property
    def point(self) -> str:
        """What of a layer all its numbers are of (:mod:`store.points`); the same at every layer."""
        return next((point_of(sae) for sae in self.manifest.saes.values()), RESID_POST)

    @property
    def where(self) -> str:
        """The same, for people: of transcoders both points."""
        return where_of(self.manifest.saes)

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        snapshot: opening.Snapshot,
        connection: duckdb.DuckDBPyConnection,
        labels: pd.DataFrame | None = None,
        has_contributions: bool = False,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.snapshot = snapshot
        self.seconds: float | None = None
        self.connection = connection
        self.n_labels = 0 if labels is None else len(labels)
        self.has_contributions = has_contributions
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

    @classmethod
    def open(cls, folder: Path, manifest: Manifest, snapshot: opening.Snapshot, with_labels: bool = True) -> Self:
        """A finished store, once its manifest is read (:func:`store.read.opening.read_manifest`).

        Raises:
            UserError: as :func:`store.read.store.open_store`.
        """
        opening.refuse_if_written(folder)
        contents.check_names(folder, manifest)
        opening.look(folder, manifest, snapshot)
        labels = entries.read_labels(folder, manifest.digest) if with_labels else None
        database = manifest.files[DATABASE_FILE]
        found = attached.find(folder, snapshot)
        connection = opening.connect(folder, database["sha256"], database["bytes"], found)
        try:
            trust.check_database(connection, manifest, database["bytes"])
            belong = found is not None and attached.belong(connection, found, manifest)
            store = cls(folder, manifest, snapshot, connection, labels, belong)
            snapshot.check()  # nothing took another's place while it was opened
        except duckdb.Error as error:
            connection.close()
            raise opening.database_error(folder, error) from error
        except UserError:
            connection.close()
            raise
        return store

    def __enter__(self) -> Self:
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

        Raises:
            UserError: the store keeps statistics only of the model (:meth:`keeps_codes`).
        """
        self._check_kept(model)
        norm = self._decoder_norm(layer, feature)
        places = self.sql("SELECT document, part, first_row FROM documents WHERE has_codes ORDER BY part, first_row")
        document, part, first_row = (places[name].to_numpy() for name in ("document", "part", "first_row"))
        pieces: dict[str, list[np.ndarray]] = {name: [empty] for name, empty in _NO_ACTIVATIONS.items()}
        for number in np.unique(part):
            row, value = self._read(number, read_feature, layer, model, feature)
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
            UserError: no such document, or the store did not keep its codes, or those of the model.
        """
        self._check_kept(model)
        found = self.sql(
            "SELECT part, first_row, n_tokens, has_codes FROM documents WHERE document = $document", {"document": document}
        )
        if found.empty:
            raise UserError(f"The store has no document {document}; it has {self.manifest.rows['documents']} documents.")
        place = found.iloc[0]
        if not place.has_codes:
            raise UserError(
                f"This store did not keep the codes of document {document} (documents.has_codes says which it kept); the store "
                "that it was cut from, or a new extraction, has them."
            )
        codes = self._read(place.part, read_codes, layer, model, int(place.first_row), int(place.n_tokens))
        norms = self.sql("SELECT decoder_norm FROM features WHERE layer = $layer ORDER BY feature", {"layer": layer})[
            "decoder_norm"
        ]
        if codes.index.max(initial=-1) >= len(norms):
            raise UserError(f"The codes of layer {layer} name features that the store does not have; do not trust this copy.")
        value = (codes.value * norms.to_numpy()[codes.index]).astype(np.float32)
        return pd.DataFrame({"position": codes.rows, "feature": codes.index, "value": value})

    def groups(self) -> pd.DataFrame:
        """Which variants are runs of one recipe, replicates of each other: a row a variant, in the store's order.

        Columns: variant; first, the variant that its group is called by (the group's first in this store); n_runs, how many of
        the group the store has. From ``replicate_of`` in the manifest, never from names. A *task* is a group.
        """
        recipe = [made.get("replicate_of", name) for name, made in self.manifest.variants.items()]
        frame = pd.DataFrame({"variant": pd.Series(self.variants, dtype=object), "recipe": pd.Series(recipe, dtype=object)})
        of_recipe = frame.groupby("recipe", sort=False)["variant"]
        return frame.assign(first=of_recipe.transform("first"), n_runs=of_recipe.transform("size"))[
            ["variant", "first", "n_runs"]
        ]

    def members(self) -> dict[str, Member]:
        """Each variant -> the first of its recipe in this store, and its place in a training; in the store's order."""
        about = self.manifest.variants
        firsts = self.groups()[["variant", "first"]].itertuples(index=False)
        return {name: Member(first, about[name].get("series"), about[name].get("step")) for name, first in firsts}

    def compared(self) -> pd.DataFrame:
        """Of :meth:`groups` those that are held against each other: of a training with several checkpoints the last's alone.

        Others of its checkpoints, and of its other seeds', are no recipes beside it: they are told over steps.
        """
        speaks, groups = speakers(self.members()), self.groups()
        return groups[groups["first"].map(speaks) == groups["first"]].reset_index(drop=True)

    def keeps_codes(self, model: str) -> bool:
        """Whether the store has codes, contexts and token metrics of a model: not of replicates that a copy left out."""
        return not self.manifest.variants.get(model, {}).get("statistics_only", False)

    def _check_kept(self, model: str) -> None:
        if not self.keeps_codes(model):
            raise UserError(
                f"This store keeps statistics only of the replicate '{model}'; the store that it was cut from, or a copy of it "
                "by 'publish --replicates', has its codes."
            )

    def _read(self, number: int, read: Callable[..., Any], *place: Any) -> Any:
        """What a function of store/format/part_reading.py reads from a part.

        Raises:
            Replaced: the part, or the store, is not the one any more that was opened.
            UserError: the manifest does not name it, so that nobody has looked whether it lies in the store.
        """
        name = part_file(int(number))
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
