"""A store and every question that it answers, from the app or a notebook. Needs no torch.

>>> from store import open_store
>>> s = open_store("store/demo")
>>> s.shifted_features(variant="maths", layer=12, limit=10)
"""

from pathlib import Path

from store.read import opening
from store.read.answers import Answers
from store.read.changes import Changes
from store.read.contexts import Contexts
from store.read.document_tokens import DocumentTokens
from store.read.documents import Documents
from store.read.feature_lists import FeatureLists
from store.read.features import Features
from store.read.firings import Firings
from store.read.layers import Layers
from store.read.learned import Learned
from store.read.quality import Quality
from store.read.recurrence import Recurrence
from store.read.replicas import Replicas
from store.read.series import Series
from store.read.variant_pairs import VariantPairs


class Store(
    FeatureLists,
    Layers,
    Features,
    Contexts,
    Firings,
    VariantPairs,
    Replicas,
    Changes,
    Recurrence,
    Documents,
    DocumentTokens,
    Answers,
    Quality,
    Learned,
    Series,
):
    """A finished store. Every question is a method; what else it has stands in :class:`Connection`.

    Words, columns and units are those of schema.sql; activations are scaled (raw code x decoder norm). Every SQL string stands
    inside the method that runs it, and values always travel as parameters.
    """


def open_store(path: str | Path) -> Store:
    """Open a finished store for reading, with the labels that were imported for it (:mod:`store.sidecar.entries`).

    Raises:
        UserError: there is none, it is unfinished, damaged, cut short, or of another schema version; its sidecar is damaged.
    """
    folder = Path(path)
    manifest, snapshot = opening.read_manifest(folder)
    return Store.open(folder, manifest, snapshot)
