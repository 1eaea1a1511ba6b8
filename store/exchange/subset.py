"""Copying part of a store into a new one: every statistic, fewer contexts, the codes of a few documents and models.

The copy is of what a reader sees: imported labels become part of it, with where they come from.
"""

import hashlib
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from store.format.codes import Codes, LayerCodes, part_file
from store.format.part_guard import MAX_PART_TOKENS
from store.format.part_reading import read_codes, read_counted
from store.format.tables import STORE
from store.format.writer import PILOT_FILE, StoreWriter
from store.names import BASE
from store.read.expressions import is_claimed, is_dense, is_seen
from store.read.store import Store

NOWHERE = -1  # part and first_row of a document without codes: a query that forgets has_codes fails, and gets no other's codes
ROWS_AT_ONCE = 262_144
LONG = 256
"""Tokens of a document that keeps its codes after the shorter ones: several that can be read at a glance tell more than one."""
DETAILS = {
    "feature_segments": "variant", "feature_kl": "variant", "token_kl": "variant", "replicas": "variant", "histograms": "model",
}  # fmt: skip
"""Table that says more of the features and tokens of each variant -> its column that names it."""


@dataclass(frozen=True)
class Cut:
    """How much a copy keeps of what is not a statistic.

    Attributes:
        contexts: contexts a ranking of each feature, the best ones.
        features: that many most shifted features (|shift|, all domains together), as many by evidence (claimed ones first, then
            by |change|, of those that could have been seen and are not dense), and as many most active (frequency in the base)
            of each layer and variant have contexts.
        tokens: documents of a domain keep codes and token_metrics until they have this many tokens together.
        details: whether variants of which only statistics are kept keep what DETAILS has of them, and rows of single domains in
            feature_stats.
    """

    contexts: int
    features: int
    tokens: int
    details: bool = True


def coded_documents(source: Store, tokens: int) -> list[int]:
    """Numbers, ascending, of the documents that keep their codes.

    Of each domain whole documents until they have ``tokens`` tokens together, or all that have codes where it has fewer: those
    of at most LONG tokens in the order of a hash of their source id, then the others, the shortest first.
    """
    documents = source.sql("SELECT document, source, domain, n_tokens FROM documents WHERE has_codes ORDER BY document")
    documents["hash"] = [hashlib.sha256(name.encode()).hexdigest() for name in documents["source"]]
    kept: list[int] = []
    documents["length"] = documents["n_tokens"].where(documents["n_tokens"] > LONG, 0)
    for _, rows in documents.sort_values(["length", "hash", "document"]).groupby("domain"):
        before = rows["n_tokens"].cumsum() - rows["n_tokens"]
        kept += rows.loc[before < tokens, "document"].tolist()
    return sorted(int(number) for number in kept)


def copy_subset(
    source: Store, writer: StoreWriter, cut: Cut, lean: Collection[str], progress: Callable[[int], None]
) -> dict[str, int]:
    """Fill a new store with what a cut keeps of another; the caller finishes it.

    Args:
        lean: variants of which only statistics are kept: no contexts, codes and token metrics.
        progress: called with 1 for every table and every document with codes; :func:`steps` says how many there will be.

    Returns:
        What was kept: ``contexts``, ``documents`` and ``tokens`` (those with codes).
    """
    kept = coded_documents(source, cut.tokens)
    documents = _write_parts(source, writer, kept, lean, progress)
    writer.load("documents", documents)
    progress(1)
    for table in STORE.keys:
        if table in ("documents", "vocabulary"):
            continue
        for rows in _batches(source, *_selection(table, cut, kept, lean)):
            writer.load(table, rows)
        progress(1)
    _copy_vocabulary(source, writer)
    progress(1)
    if (source.path / PILOT_FILE).is_file():
        shutil.copyfile(source.path / PILOT_FILE, writer.partial / PILOT_FILE)
    return {
        "contexts": writer.connection.execute("SELECT count(*) FROM contexts").fetchone()[0],
        "documents": len(kept),
        "tokens": int(documents.loc[documents["has_codes"], "n_tokens"].sum()),
    }


def steps(source: Store, cut: Cut) -> int:
    """How often :func:`copy_subset` will report progress."""
    return len(STORE.keys) + len(coded_documents(source, cut.tokens))


def _selection(table: str, cut: Cut, documents: Sequence[int], lean: Collection[str]) -> tuple[str, dict[str, Any]]:
    """The query that a table is copied by, and its parameters."""
    is_whole, left_out = "NOT list_contains($lean::VARCHAR[], variant)", {"lean": sorted(lean)}
    if table == "contexts":
        telling = f"{is_seen()} AND NOT {is_dense()}"
        return (
            f"""
            SELECT * FROM contexts SEMI JOIN (
                SELECT variant, layer, feature FROM feature_stats s WHERE domain = 'all' AND {is_whole}
                QUALIFY row_number() OVER (PARTITION BY variant, layer ORDER BY abs(shift) DESC, feature) <= $features
                     OR row_number() OVER (PARTITION BY variant, layer ORDER BY freq_base DESC, feature) <= $features
                     OR row_number() OVER (
                         PARTITION BY variant, layer ORDER BY {telling} DESC, {is_claimed()} DESC, abs(change) DESC, feature
                     ) <= $features AND {telling}
            ) USING (variant, layer, feature) WHERE rank <= $contexts
            """,
            {"features": cut.features, "contexts": cut.contexts} | left_out,
        )
    if table == "token_metrics":
        query = f"SELECT * FROM token_metrics WHERE list_contains($kept::INTEGER[], document) AND {is_whole}"
        return query, {"kept": list(documents)} | left_out
    if table == "feature_stats" and not cut.details:
        return f"SELECT * FROM feature_stats WHERE domain = 'all' OR {is_whole}", left_out
    if table in DETAILS and not cut.details:
        return f"SELECT * FROM {table} WHERE NOT list_contains($lean::VARCHAR[], {DETAILS[table]})", left_out
    return f"SELECT * FROM {table}", {}


def _batches(source: Store, query: str, parameters: dict[str, Any]) -> Iterator[pa.Table]:
    for batch in source.cursor().sql(query, params=parameters).to_arrow_reader(ROWS_AT_ONCE):
        yield pa.Table.from_batches([batch])


def _copy_vocabulary(source: Store, writer: StoreWriter) -> None:
    """The texts of the token ids that the new store still mentions."""
    used = writer.connection.execute(
        """
        SELECT token_id FROM tokens UNION SELECT unnest(promoted) FROM features UNION SELECT unnest(suppressed) FROM features
        """
    ).fetchnumpy()["token_id"]
    texts = source.sql("SELECT * FROM vocabulary")
    writer.load("vocabulary", texts[texts["token_id"].isin(used)])


def _write_parts(
    source: Store, writer: StoreWriter, kept: Sequence[int], lean: Collection[str], progress: Callable[[int], None]
) -> pd.DataFrame:
    """Write the kept documents' codes, as few parts as hold them; returns the rows of the documents table."""
    documents = source.sql("SELECT * FROM documents ORDER BY document")
    coded = documents[documents["document"].isin(kept)]
    models = [BASE, *(variant for variant in source.variants if variant not in lean and source.keeps_codes(variant))]
    documents = documents.assign(has_codes=documents["document"].isin(kept), part=NOWHERE, first_row=NOWHERE)
    for number, rows in enumerate(_groups(coded)):
        first_rows = rows["n_tokens"].cumsum() - rows["n_tokens"]
        documents.loc[rows.index, "part"] = number
        documents.loc[rows.index, "first_row"] = first_rows
        writer.write_part(number, _gather(source, rows, models, progress), feature_index=False)
    return documents


def _groups(documents: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Runs of documents whose tokens fit one part."""
    group, size = np.zeros(len(documents), dtype=int), 0
    for place, length in enumerate(documents["n_tokens"]):
        size += length
        group[place:] += size > MAX_PART_TOKENS
        size = length if size > MAX_PART_TOKENS else size
    for _, rows in documents.groupby(group):
        yield rows


def _gather(
    source: Store, documents: pd.DataFrame, models: Sequence[str], progress: Callable[[int], None]
) -> dict[int, LayerCodes]:
    """The codes of some documents, one after the other, as :meth:`StoreWriter.write_part` takes them."""
    pieces: dict[tuple[int, str], list[Codes]] = {(layer, model): [] for layer in source.layers for model in models}
    counted: dict[int, list[np.ndarray]] = {layer: [] for layer in source.layers}
    for row in documents.itertuples():
        path = source.path / part_file(row.part)
        for layer in source.layers:
            counted[layer].append(read_counted(path, layer)[row.first_row : row.first_row + row.n_tokens])
            for model in models:
                pieces[layer, model].append(read_codes(path, layer, model, row.first_row, row.n_tokens))
        progress(1)
    sizes = source.dictionaries().set_index("layer")
    return {
        layer: LayerCodes(
            int(sizes.loc[layer, "d_sae"]),
            float(sizes.loc[layer, "code_scale"]),
            np.concatenate(counted[layer]),
            {model: _joined(pieces[layer, model]) for model in models},
        )
        for layer in source.layers
    }


def _joined(pieces: Sequence[Codes]) -> Codes:
    starts = np.cumsum([0, *(len(piece.index) for piece in pieces)])
    indptr = [piece.indptr[1:] + start for piece, start in zip(pieces, starts, strict=False)]
    return Codes(
        np.concatenate([[0], *indptr]),
        np.concatenate([piece.index for piece in pieces]),
        np.concatenate([piece.value for piece in pieces]),
    )
