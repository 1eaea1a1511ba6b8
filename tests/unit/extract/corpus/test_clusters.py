"""Clusters: which documents are one, the order that keeps them together, their numbers over shards, what ``check`` says."""

from itertools import groupby
from types import SimpleNamespace

import numpy as np
import pytest

from extract.corpus.batches import make_shards
from extract.corpus.documents import Corpus, Document, domain_counts, tokenize
from extract.corpus.records import Record, source_order
from extract.corpus.render import Renderer
from extract.models.loading import load_tokenizer
from extract.pilot.layer_pilot import pilot_documents
from extract.run.check import Report, _say_clusters


@pytest.fixture(scope="module")
def tokenizer(world):
    return load_tokenizer(str(world.base))


def corpus_of(tokenizer, records, n_tokens) -> Corpus:
    return tokenize(records, tokenizer, Renderer(None), n_tokens, 1000)


def document(source: str, cluster: str = "", n_tokens: int = 5, domain: str = "d") -> Document:
    return Document(source, domain, np.zeros(n_tokens, dtype=np.int32), np.zeros(n_tokens, dtype=np.int8), cluster)


def test_documents_of_a_cluster_are_read_together_and_the_budget_samples_many(tokenizer):
    """Forty clusters of two; a budget of half the tokens takes documents, not clusters."""
    texts = [f"the cat {i} sat" for i in range(80)]
    records = [Record(f"s{i}", "d", {"text": text}, "", cluster=f"c{i % 40}") for i, text in enumerate(texts)]
    whole = corpus_of(tokenizer, records, 10_000)
    clusters = [document.cluster for document in whole.documents]
    assert [name for name, _run in groupby(clusters)] == sorted(set(clusters), key=source_order)
    for _name, run in groupby(whole.documents, key=lambda document: document.cluster):
        sources = [document.source for document in run]
        assert len(sources) == 2 and sources == sorted(sources, key=source_order)
    half = corpus_of(tokenizer, records, whole.n_tokens // 2)
    taken = {document.source for document in half.documents}
    assert taken == set(sorted((f"s{i}" for i in range(80)), key=source_order)[: len(taken)])
    assert domain_counts(half.documents)["d"]["clusters"] == len({int(source[1:]) % 40 for source in taken}) > len(taken) / 2


def test_reading_order_of_documents_that_are_their_own_clusters_is_the_hash_of_their_source(tokenizer):
    records = [Record(f"s{i}", "de"[i % 2], {"text": f"the cat {i}"}, "") for i in range(20)]
    sources = [document.source for document in corpus_of(tokenizer, records, 1000).documents]
    assert sources == sorted((record.source for record in records), key=source_order)


def test_one_cluster_of_two_domains_is_two(tokenizer):
    """Both stand together; counted by hand: d has a and b, e has a."""
    placed = [("d", "a"), ("e", "a"), ("d", "a"), ("d", "b")]
    records = [Record(f"s{i}", domain, {"text": f"cat {i}"}, "", "", name) for i, (domain, name) in enumerate(placed)]
    corpus = corpus_of(tokenizer, records, 1000)
    counts = domain_counts(corpus.documents)
    assert {domain: (found["documents"], found["clusters"]) for domain, found in counts.items()} == {"d": (3, 2), "e": (1, 1)}
    assert len(list(groupby(corpus.documents, key=lambda document: document.cluster_key))) == 3


def test_the_digest_knows_clusters(tokenizer):
    digests = {
        corpus_of(tokenizer, [Record("s", "d", {"text": "the cat"}, "", "", name)], 100).digest() for name in ("", "s", "t")
    }
    assert len(digests) == 2  # none given: its source


def test_the_pilot_reads_the_first_documents_by_source_not_the_first_clusters():
    """Of 40 documents in 4 clusters the four first by the hash of their source, in that order."""
    documents = [document(f"s{i}", f"c{i % 4}") for i in range(40)]
    corpus = Corpus(sorted(documents, key=lambda document: document.reading_order))
    config = SimpleNamespace(pilot_documents=4, tokens=1000)
    chosen = pilot_documents(corpus, config, window_tokens=2)
    assert [found.source for found in chosen] == sorted((f"s{i}" for i in range(40)), key=source_order)[:4]
    assert [len(found) for found in chosen] == [2] * 4 and {found.cluster for found in chosen} <= {"c0", "c1", "c2", "c3"}


def test_check_counts_clusters_and_says_which_domains_have_too_few():
    """maths: 60 documents of 20 templates, enough; wiki: 38 of 19, one too few; web: each its own, 25."""
    texts = [Record(f"m{i}", "maths", {}, "", cluster=f"t{i % 20}") for i in range(60)]
    texts += [Record(f"w{i}", "wiki", {}, "", cluster=f"a{i % 19}") for i in range(38)]
    texts += [Record(f"p{i}", "web", {}, "", cluster=f"p{i}") for i in range(25)]
    report = Report()
    _say_clusters(report, texts)
    assert report.lines == ["clusters  maths: 60 documents of 20 clusters", "clusters  wiki: 38 documents of 19 clusters"]
    assert len(report.notes) == 1 and "'wiki'" in report.notes[0] and "19 clusters, and 20 are needed" in report.notes[0]


def of_clusters(*names) -> list[Document]:
    """Documents of these (domain, cluster), five tokens each."""
    return [document(f"s{i}", cluster, domain=domain) for i, (domain, cluster) in enumerate(names)]


def test_shards_number_the_clusters_of_the_run_and_name_those_they_share_with_a_neighbour():
    """p p q, q q q, q s of another domain, whose q is another cluster: three documents of 5 tokens a shard."""
    documents = of_clusters(*(("d", name) for name in "ppq"), ("d", "q"), ("d", "q"), ("d", "q"), ("e", "q"), ("e", "s"))
    shards = make_shards(documents, 15)
    assert [shard.clusters.tolist() for shard in shards] == [[0, 0, 1], [1, 1, 1], [2, 3]]
    assert [shard.open.tolist() for shard in shards] == [[1], [1], []]
    assert all(shard.clusters.dtype == shard.open.dtype == np.int64 for shard in shards)


def test_a_shard_may_share_one_cluster_with_either_neighbour():
    """a b | b c | c: the shard in the middle shares both of its own."""
    shards = make_shards(of_clusters(*(("d", name) for name in "abbcc")), 10)
    assert [shard.clusters.tolist() for shard in shards] == [[0, 1], [1, 2], [2]]
    assert [shard.open.tolist() for shard in shards] == [[1], [1, 2], [2]]


def test_documents_that_are_their_own_clusters_leave_none_open():
    shards = make_shards([document(source) for source in "abc"], 10)
    assert [shard.clusters.tolist() for shard in shards] == [[0, 1], [2]]
    assert [shard.open.tolist() for shard in shards] == [[], []]
