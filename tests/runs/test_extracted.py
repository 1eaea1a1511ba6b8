"""What the store of the small world shows: labels that its codes give."""

import numpy as np
import pytest

from extract.tables.labels import Evidence, automatic_labels
from store import open_store
from store.format.codes import part_file
from store.format.part_reading import read_counted


@pytest.fixture(scope="module")
def store(extracted):
    with open_store(extracted) as opened:
        yield opened


def evidence_from_parts(store, layer):
    """A layer's evidence a second time, from the stored codes and tokens."""
    counts, sums, background = {}, {}, {}
    norms = store.sql("SELECT decoder_norm, density FROM features WHERE layer = ? ORDER BY feature", [layer])
    for row in store.documents(limit=None).itertuples():
        ids = store.sql("SELECT token_id AS t FROM tokens WHERE document = ? ORDER BY position", [row.document])["t"].to_numpy()
        counted = read_counted(store.path / part_file(row.part), layer)[row.first_row : row.first_row + len(ids)]
        for token in ids[counted].tolist():
            background[token] = background.get(token, 0) + 1
        for code in store.codes(row.document, layer).itertuples():
            key = (code.feature, int(ids[code.position]))
            counts[key] = counts.get(key, 0) + 1
            sums[key] = sums.get(key, 0.0) + code.value
    keys = sorted(counts)
    feature, token = (np.array([key[i] for key in keys], dtype=np.int64) for i in (0, 1))
    count, activation = (np.array([values[key] for key in keys]) for values in (counts, sums))
    return Evidence(feature, token, count, activation, background, norms["density"].to_numpy())


def test_every_feature_has_the_label_that_its_codes_give(store):
    """Over several shards; before the arrow, since the spread of the vocabulary is not stored."""
    assert len(store.sql("SELECT DISTINCT part FROM documents")) > 2
    texts = dict(zip(*store.sql("SELECT * FROM vocabulary").to_dict("list").values(), strict=True))
    for layer in store.layers:
        rows = store.sql("SELECT label, label_source FROM features WHERE layer = ? ORDER BY feature", [layer])
        assert (rows["label_source"] == "automatic").all()
        expected = automatic_labels(evidence_from_parts(store, layer), texts, None)
        assert [text.split(" → ")[0] for text in rows["label"]] == expected
        assert sum("“" in text for text in expected) > 10
