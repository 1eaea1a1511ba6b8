"""Fuzzed files from elsewhere: whatever is in them, there is an answer or one sentence, never a traceback.

Long because each input that can be fuzzed needs its own generator.
"""

import contextlib
import gzip
import json
import shutil
import sqlite3
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extract.config import load_config
from extract.config_sections import SourceConfig
from extract.corpus.answers import read_answers
from extract.corpus.records import read_records
from extract.corpus.render import Renderer
from store import open_store, verify
from store.errors import UserError
from store.exchange.label_files import import_labels
from store.format.codes import part_file
from store.format.manifest import MANIFEST_FILE
from store.format.part_reading import part_digest, read_counted
from store.reports.terminal import describe
from store.sidecar.entries import Label, read_labels, read_reviews, read_steering, sidecar_path, write_labels
from store.sidecar.rows import checksum
from tests.support import EXAMPLES
from tests.support.forged import rewrite_manifest

pytestmark = pytest.mark.fuzz
FUZZ = settings(
    deadline=None, max_examples=EXAMPLES, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
SLOW = settings(FUZZ, max_examples=EXAMPLES // 4)
"""Of what opens a store each time."""

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
    | st.sampled_from(["~nobody/x", "/dev/null", "a" * 5000, "\0", "..", "pypi:", ".gguf", "text", "\ud83d"])
)  # fmt: skip
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
DEEP = b"[" * 100_000


def sentence(action, *arguments) -> None:
    """It goes well, or ends in one line for the user."""
    try:
        action(*arguments)
    except UserError as error:
        assert str(error).strip() and str(error).isprintable() and "Traceback" not in str(error)


def fields(*names: str) -> st.SearchStrategy:
    """An object that has some of these names, with anything in them, and perhaps another."""
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=5), JSON, max_size=6)


def as_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


# ---- corpora ----

TURN = fields("role", "content", "from", "value", "tool_calls", "type", "text")
RECORD = fields("text", "prompt", "response", "messages", "domain", "source") | st.dictionaries(
    st.sampled_from(("instruction", "output", "chosen", "conversations", "tools", "history", "system", "messages", "prompt")),
    JSON | st.lists(TURN, max_size=3) | st.lists(TURN, max_size=3).map(json.dumps), max_size=6,
)  # fmt: skip
LINES = st.lists(RECORD.map(as_bytes) | JSON.map(as_bytes) | st.binary(max_size=40), max_size=5).map(b"\n".join)


def read_and_render(path: Path) -> None:
    """What ``check`` and ``run`` do with a corpus file, as far as its texts."""
    for record in read_records([SourceConfig(path=str(path), domain="x")]):
        Renderer(None).render(record)


@FUZZ
@given(LINES)
def test_jsonl(tmp_path, content):
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(content)
    sentence(read_and_render, path)


@FUZZ
@given(LINES.map(gzip.compress), st.integers(0, 60), st.booleans())
def test_gzipped_jsonl(tmp_path, content, cut, gzipped):
    """Cut short, or not gzip at all."""
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(content[: -cut or None] if gzipped else content[10:])
    sentence(read_and_render, path)


@pytest.mark.parametrize("content", [DEEP, b'{"text": ' + DEEP, b'{"text": ' + b"9" * 5000 + b"}", b"\xef\xbb\xbf{}"])
def test_jsonl_made_to_break_its_reader(tmp_path, content):
    """Nested without end; a number of 5,000 digits; a mark of byte order."""
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match="line 1"):
        read_and_render(path)
    with pytest.raises(UserError, match="line 1"):
        read_answers(path, ["base"])


@pytest.mark.parametrize("damage", [lambda c: c[:-9], lambda c: c[:20] + b"\xff" * 8 + c[28:]])
def test_a_damaged_gzip_is_named(tmp_path, damage):
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(damage(gzip.compress(b'{"text": "some words of a text"}\n' * 50)))
    with pytest.raises(UserError, match=r"corpus\.jsonl\.gz"):
        read_and_render(path)


@pytest.mark.parametrize(
    "record",
    [{"a\nb": 1}, {"domain": "a\nb", "text": "x"}, {"domain": "\u202ea", "text": "x"}, {"source": "a\nb", "text": "x"}],
)
def test_what_a_record_says_of_itself_stays_in_one_line(tmp_path, record):
    """Names of fields, domains, ids: repeated in the message, where a line break would make two of it."""
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b"\n".join([as_bytes(record)] * 2))
    with pytest.raises(UserError, match="line 1") as refused:
        read_and_render(path)
    assert str(refused.value).isprintable()


def test_a_model_of_a_file_of_answers_is_named_in_one_line(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_bytes(as_bytes({"task": "x", "prompt": "y", "answers": {"base": {"text": "z"}, "a\nb": 1}}))
    with pytest.raises(UserError, match=r"'a\\nb' must be an object") as refused:
        read_answers(path, ["base"])
    assert str(refused.value).isprintable()


# ---- configurations ----

NAMES = ("base", "variants", "saes", "corpus", "tokens", "controls", "chat_template", "answers", "device_map", "replicas")
SECTION = fields("adapter", "model", "planted", "task", "path", "release", "id", "dataset", "domain", "limit")
CONFIG = st.dictionaries(
    st.sampled_from(NAMES) | st.text(max_size=5),
    SCALARS | SECTION | st.lists(SECTION | SCALARS, max_size=3) | st.dictionaries(st.text(max_size=5), SECTION, max_size=3),
    max_size=8,
)


@FUZZ
@given(CONFIG.map(lambda value: yaml.safe_dump(value).encode("utf-8", "surrogatepass")) | st.binary(max_size=80))
def test_yaml(tmp_path, content):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    sentence(load_config, path)


@pytest.mark.parametrize(
    "content",
    [DEEP, b"a: &a [*a]", b"base: &b {x: *b}", b"? [1, 2]\n: 3", b"1: 2", b"base: 2001-13-45", b"a: !!int x",
     b"&a [" + b"*a, " * 9 + b"]", b"base: !!binary zzz", b"tokens: " + b"9" * 6000, b"base: \x00", b"%YAML 9.9\n---\n"],
)  # fmt: skip
def test_yaml_made_to_break_its_reader(tmp_path, content):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"run\.yaml"):
        load_config(path)


@pytest.mark.parametrize("path", ["a\0b", "./\0", "~\0", "~nobody-of-that-name/x", "a/" * 3000])
@pytest.mark.parametrize("place", ["base", "answers", "chat_template", "saes", "corpus", "variants"])
def test_a_path_that_cannot_be_one(tmp_path, path, place):
    """A NUL, a home of nobody, longer than any path: said of the configuration, or left to what opens it."""
    given = {"saes": [{"path": path}], "corpus": [{"path": path}], "variants": {"x": {"model": path}}}
    file = tmp_path / "run.yaml"
    rest = {"base": "b", "variants": {"x": {"adapter": "a"}}, "saes": [{"path": "s"}], "corpus": [{"path": "c"}]}
    file.write_text(yaml.safe_dump({**rest, place: given.get(place, path)}))
    sentence(load_config, file)
    if path == "./\0":
        with pytest.raises(UserError, match="a path that cannot be one"):
            load_config(file)


@pytest.mark.parametrize("content", [{"a\nb": 1}, {"variants": {"a\nb": {"adapter": "x"}}}])
def test_a_wrong_field_is_named_in_one_line(tmp_path, content):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="a b") as refused:
        load_config(tmp_path / "run.yaml")
    assert str(refused.value).isprintable()


# ---- manifests ----


@pytest.fixture(scope="module")
def store(tiny_store, tmp_path_factory) -> Path:
    return Path(shutil.copytree(tiny_store, tmp_path_factory.mktemp("fuzz") / "store"))


@pytest.fixture(scope="module")
def manifest(store) -> dict:
    """Without its checksum, so that what is in it comes to be read."""
    return {**json.loads((store / MANIFEST_FILE).read_text(encoding="utf-8")), "checksum": ""}


def look(store: Path) -> None:
    """What the app and the command line do first."""
    with open_store(store) as opened:
        opened.overview()
        describe(opened)
        opened.codes(0, 12, "maths")
    verify(store)


@settings(SLOW, max_examples=50)
@given(data=st.data())
def test_manifest(store, manifest, data):
    """Any field, or a field of a field, replaced by anything, or left out."""
    name = data.draw(st.sampled_from(sorted(manifest)))
    value = data.draw(JSON)
    content = dict(manifest)
    if isinstance(content[name], dict) and content[name] and data.draw(st.booleans()):
        content[name] = {**content[name], data.draw(st.sampled_from(sorted(content[name]))): value}
    elif data.draw(st.booleans()):
        content[name] = value
    else:
        del content[name]
    (store / MANIFEST_FILE).write_bytes(as_bytes(content))
    sentence(look, store)


@pytest.mark.parametrize(
    "changes",
    [{"schema_version": "3\n"}, {"schema_version": True}, {"a\nb": 1}, {"base": {}},
     {"base": {"name": ["x"]}}, {"base": {"name": "\ud83d"}}, {"variants": {"<b>": {"kind": "adapter", "name": "x"}}},
     {"variants": {"../maths": {"kind": "adapter", "name": "x"}}}, {"variants": {"maths": {}}}, {"counts": {}},
     {"counts": {"tokens": "many", "documents": 3}}, {"rows": {}}, {"corpus": {"sources": 5}}, {"corpus": {"domains": []}}],
)  # fmt: skip
def test_a_manifest_that_its_readers_would_stumble_over(store, manifest, changes):
    (store / MANIFEST_FILE).write_bytes(as_bytes({**manifest, **changes}))
    with pytest.raises(UserError, match="is damaged") as refused:
        open_store(store)
    assert str(refused.value).isprintable()


@FUZZ
@given(content=JSON.map(as_bytes) | st.binary(max_size=60))
def test_what_is_no_manifest(store, content):
    (store / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(UserError):
        look(store)


def test_a_manifest_nested_without_end(store):
    (store / MANIFEST_FILE).write_bytes(DEEP)
    with pytest.raises(UserError):
        look(store)


# ---- labels, answers, sidecars ----


@SLOW
@given(st.lists(st.lists(st.text(max_size=6) | st.integers(-1, 20).map(str), max_size=4).map(",".join), max_size=4))
def test_labels_as_csv(tiny_store, tmp_path, rows):
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["layer,feature,label", *rows]), encoding="utf-8", errors="replace")
    sentence(import_labels, tiny_store, path)
    sidecar_path(tiny_store).unlink(missing_ok=True)


@SLOW
@given(st.lists((fields("layer", "index", "description", "modelId") | JSON).map(as_bytes) | st.binary(max_size=30), max_size=3))
def test_labels_as_jsonl(tiny_store, tmp_path, lines):
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b"\n".join(lines))
    sentence(import_labels, tiny_store, path)
    sidecar_path(tiny_store).unlink(missing_ok=True)


@FUZZ
@given(st.lists((fields("task", "prompt", "answers") | JSON).map(as_bytes) | st.binary(max_size=30), max_size=3))
def test_answers(tmp_path, lines):
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b"\n".join(lines))
    sentence(read_answers, path, ["base", "sft"])


@settings(FUZZ, max_examples=80)
@given(st.integers(0, 30_000), st.integers(1, 255), st.booleans())
def test_a_damaged_sidecar(tmp_path, place, bits, cut):
    """A flipped byte, or the end is missing: what is read of it is rows or a sentence."""
    store = tmp_path / "store"
    path = sidecar_path(store)
    path.unlink(missing_ok=True)
    write_labels(store, "digest", [Label(5, feature, "a label", "me") for feature in range(300)])
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place] ^= bits
    path.write_bytes(content[:place] if cut else content)
    for read, *more in ((read_labels,), (read_steering,), (read_reviews, "maths")):
        sentence(read, store, "digest", *more)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


VALUES = (
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.binary(max_size=4)
    | st.text(max_size=5).filter(lambda text: text.isprintable())
    | st.sampled_from(["[" * 50_000, "{}", "[1]", '{"a": 1}', '{"1": null}', "restore", "concern", "maths", 5, 12])
)  # fmt: skip
SOUND = {
    "labels": (5, 1, "a label", "me", "2026"),
    "steering": (12, 1, "maths", "restore", 9, 9, 0.2, 0.1, None, None, '{"3": 0.1}', 1, "2026"),
    "reviews": ("maths", 12, 1, "Ada", "concern", "high", "a note", "2026"),
}


def forge_sidecar(store: Path, digest: str, table: str, row: list) -> None:
    """A sidecar that says of its columns what ours say, but holds them to no type; and this row, with a checksum that fits."""
    path = sidecar_path(store)
    path.unlink(missing_ok=True)
    write_labels(store, digest, [])
    connection = sqlite3.connect(path)
    made = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", [table]).fetchone()[0]
    columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    keys = {"labels": 3, "steering": 4}.get(table)
    rules = f"id INTEGER PRIMARY KEY, {', '.join(columns[1:])})" if keys is None else (
        f"{', '.join(columns)}, PRIMARY KEY ({', '.join(columns[:keys])})) WITHOUT ROWID"
    )  # fmt: skip
    connection.execute(f"DROP TABLE {table}")
    connection.execute(f"CREATE TABLE {table} ({rules}")
    if keys is None:
        connection.execute("CREATE INDEX reviews_of_a_variant ON reviews (store, variant)")
    values = [1, digest, *row] if table == "reviews" else [digest, *row]
    try:
        values.append(checksum(table, values))
    except (TypeError, ValueError):  # what JSON cannot say
        values.append("0" * 64)
    with contextlib.suppress(sqlite3.IntegrityError):  # no key is null
        connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", [made, table])
    connection.commit()
    connection.close()


def read_everything(store: Path, digest: str) -> None:
    """What the app, the findings and a report take from a sidecar; whatever comes is of the kind that they expect."""
    with open_store(store) as opened:
        opened.shifted_features(variant="maths")
    assert all(abs(check.change) < 1e400 and check.rank > 0 for check in read_steering(store, digest))
    for review in read_reviews(store, digest, "maths"):
        assert isinstance(review.reviewer + review.note + review.made, str) and review.layer + review.feature >= 0


@SLOW
@given(data=st.data(), table=st.sampled_from(sorted(SOUND)))
def test_a_forged_sidecar(tiny_store, data, table):
    """SQLite holds no column to its type: any value may stand anywhere."""
    with open_store(tiny_store) as opened:
        digest = opened.manifest.digest
    row = list(SOUND[table])
    row[data.draw(st.integers(0, len(row) - 1))] = data.draw(VALUES)
    forge_sidecar(tiny_store, digest, table, row)
    sentence(read_everything, tiny_store, digest)
    sidecar_path(tiny_store).unlink()


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [("labels", 0, "twelve"), ("labels", 0, 9 * 10**12), ("labels", 1, -1), ("labels", 2, b"x"), ("labels", 2, None),
     ("steering", 0, "x"), ("steering", 6, "much"), ("steering", 7, float("inf")), ("steering", 10, "[" * 50_000),
     ("steering", 10, "[1]"), ("reviews", 3, None), ("reviews", 3, b"x"), ("reviews", 6, b"x"), ("reviews", 1, "x"),
     ("reviews", 4, "guilty")],
)  # fmt: skip
def test_a_sidecars_wrong_values_are_refused(tiny_store, table, column, value):
    with open_store(tiny_store) as opened:
        digest = opened.manifest.digest
    row = list(SOUND[table])
    forge_sidecar(tiny_store, digest, table, row)
    read_everything(tiny_store, digest)  # what was not changed is fine
    row[column] = value
    forge_sidecar(tiny_store, digest, table, row)
    with pytest.raises(UserError) as refused:
        read_everything(tiny_store, digest)
    assert str(refused.value).isprintable()
    sidecar_path(tiny_store).unlink()


# ---- parts ----

PLACES = [f"{side}/{column}" for side, columns in (("by_token", ("indptr", "index", "value")),
          ("by_feature", ("indptr", "row", "value"))) for column in columns]  # fmt: skip
ARRAYS = (
    st.lists(st.integers(0, 2**32 - 1), max_size=16).map(lambda v: np.array(v, np.uint32))
    | st.lists(st.integers(0, 6), min_size=15, max_size=15).map(lambda v: np.array(v, np.uint32))
    | st.lists(st.floats(width=16), max_size=5).map(lambda v: np.array(v, np.float16))
    | st.sampled_from([np.uint8(3), np.zeros((3, 3)), np.array([b"a"] * 4), np.zeros(4, "V3"), np.dtype("u2")])
)  # fmt: skip


def ask(store: Path) -> None:
    """Everything that is read of one model's codes; what comes out belongs to the store."""
    with open_store(store) as opened:
        for document in range(3):
            codes = opened.codes(document, 12, "maths")
            assert codes["feature"].between(0, 5).all() and (codes["value"] > 0).all()
        for feature in range(6):
            assert (opened.activations(12, feature, "maths")["value"] > 0).all()
    part_digest(store / part_file(0))


@settings(SLOW, max_examples=40)
@given(place=st.sampled_from(PLACES), value=ARRAYS)
def test_a_part_with_other_values(tiny_store, tmp_path, place, value):
    """Sound HDF5 that says what no extraction would."""
    store = tmp_path / "store"
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(tiny_store, store)
    with h5py.File(store / part_file(0), "a") as file:
        del file[f"layer_12/codes/maths/{place}"]
        file[f"layer_12/codes/maths/{place}"] = value
    rewrite_manifest(store)
    sentence(ask, store)


@pytest.mark.parametrize(
    ("name", "value"),
    [("code_scale", "x"), ("code_scale", np.ones(3)), ("code_scale", 0.0), ("code_scale", float("nan")), ("d_sae", 1),
     ("d_sae", "x")],
)  # fmt: skip
def test_a_part_with_other_attributes(tiny_store, tmp_path, name, value):
    store = Path(shutil.copytree(tiny_store, tmp_path / "store"))
    with h5py.File(store / part_file(0), "a") as file:
        file["layer_12"].attrs[name] = value
        file["layer_12/codes/maths/by_token/index"][:] = [0, 1, 2, 3]
    rewrite_manifest(store)
    with pytest.raises(UserError, match="is damaged"):
        ask(store)


def test_a_part_that_claims_more_than_it_holds(tiny_store, tmp_path):
    """64 TiB of numbers of which none is in the file would end the process that reads them."""
    store = Path(shutil.copytree(tiny_store, tmp_path / "store"))
    with h5py.File(store / part_file(0), "a") as file:
        del file["layer_12/counted"]
        file.create_dataset("layer_12/counted", (2**44,), bool, chunks=(2**14,))
    rewrite_manifest(store)
    for read in (part_digest, lambda path: read_counted(path, 12)):
        with pytest.raises(UserError, match="claims more values"):
            read(store / part_file(0))
