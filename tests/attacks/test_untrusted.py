"""Files from strangers: nothing in them is run, no path leads out of a store, and no text becomes markup.

Long because each way in which a file can attack is a few lines of its own.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
import unicodedata
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app import words
from app.markup import answer_cards, contexts, token_colours
from extract.__main__ import main
from extract.config import RunConfig
from extract.models import loading as models
from extract.models.model_set import ModelSet
from store import open_store, text, verify
from store.errors import UserError
from store.format.codes import part_file
from store.format.manifest import DATABASE_FILE
from store.format.writer import PILOT_FILE
from store.read.feature_filter import Filter
from store.read.opening import READ_ONLY
from store.reports.findings import escaped, findings
from store.reports.review import NUMBERS
from store.reports.review_page import as_html
from store.sandbox.run import QueryError, run
from tests.support.forged import rewrite_manifest
from tests.support.world import make_checkpoint

PART = part_file(0)
HIDDEN = ("Cc", "Cf", "Zl", "Zp", "Co", "Cn", "Cs")
"""Unicode's categories of characters that cannot be seen or turn writing around."""


# ---- weights and code ----


class Bomb:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self):
        return os.system, (f"touch '{self.sentinel}'",)


def refused(world, folder: Path, capsys, *expected: str, **changes) -> None:
    """Both commands end in one sentence, or in a clean check; the run does with code 2."""
    sentinel = folder / "executed"
    config = world.config(folder, tokens=300, **changes)
    main(["check", str(config)])
    capsys.readouterr()
    assert not sentinel.exists()
    assert main(["run", str(config), "--out", str(folder / "store")]) == 2
    assert not sentinel.exists() and not (folder / "store").exists()
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    for piece in expected:
        assert piece in error


def pickled_model(world, folder: Path) -> Path:
    """The base with its weights as a pickle that runs a command."""
    model = Path(shutil.copytree(world.base, folder / "pickled"))
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(folder / "executed")))
    return model


def test_the_bomb_does_go_off(tmp_path):
    """Else the tests below would show nothing."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


def test_pickled_weights_of_a_base(world, tmp_path, capsys):
    refused(world, tmp_path, capsys, "pickled", "safetensors", base=str(pickled_model(world, tmp_path)))


def test_pickled_weights_of_a_checkpoint(world, tmp_path, capsys):
    refused(world, tmp_path, capsys, "safetensors", variants={"sft": {"model": str(pickled_model(world, tmp_path))}})


def test_pickled_weights_of_an_adapter(world, tmp_path, capsys):
    adapter = Path(shutil.copytree(world.adapter, tmp_path / "adapter"))
    (adapter / "adapter_model.safetensors").unlink()
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    refused(world, tmp_path, capsys, "'sft'", variants={"sft": {"adapter": str(adapter)}})


def test_pickled_weights_of_a_dictionary(world, tmp_path, capsys):
    sae = Path(shutil.copytree(world.saes[1], tmp_path / "sae"))
    (sae / "sae_weights.safetensors").unlink()
    for name in ("sae_weights.pt", "sae_weights.safetensors"):
        (sae / name).write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    refused(world, tmp_path, capsys, "sae", "could not be loaded", saes=[{"path": str(sae)}])


def model_with_code(base: Path, folder: Path, sentinel: Path, model_type: str) -> Path:
    """A model folder whose configuration, model and tokenizer ask for code of its own."""
    model = Path(shutil.copytree(base, folder / "own_code"))
    code = f"import pathlib\npathlib.Path({str(sentinel)!r}).touch()\n"
    for name in ("configuration_evil.py", "modeling_evil.py", "tokenization_evil.py"):
        (model / name).write_text(code + "class Evil: pass\n")
    settings = json.loads((model / "config.json").read_text())
    settings["auto_map"] = {
        "AutoConfig": "configuration_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil",
    }  # fmt: skip
    settings["model_type"] = model_type
    (model / "config.json").write_text(json.dumps(settings))
    tokenizer = json.loads((model / "tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": [None, "tokenization_evil.Evil"]}
    (model / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return model


def test_code_in_a_model_of_unknown_kind(world, tmp_path, capsys):
    """It cannot be loaded without that code, so it is not."""
    model = model_with_code(world.base, tmp_path, tmp_path / "executed", "evil")
    refused(world, tmp_path, capsys, "own_code", base=str(model))


@pytest.mark.parametrize(
    ("file", "changes"),
    [("config.json", {"num_attention_heads": 0}), ("config.json", {"hidden_size": "x"}),
     ("config.json", {"layer_types": ["x"]}), ("config.json", {"quantization_config": {"quant_method": "gptq"}}),
     ("config.json", {"attn_implementation": "evil/kernel"}),
     ("tokenizer_config.json", {"bos_token": [1]}), ("tokenizer.json", {"model": {"type": "BPE", "vocab": 5}})],
)  # fmt: skip
def test_settings_that_no_model_has(world, tmp_path, file, changes):
    """Whatever transformers runs into, code of others to compute attention with included, is said in a sentence."""
    model = Path(shutil.copytree(world.base, tmp_path / "odd"))
    (model / file).write_text(json.dumps(json.loads((model / file).read_text()) | changes))
    load = models.load_model if file == "config.json" else models.load_tokenizer
    with pytest.raises(UserError, match="odd' could not be loaded") as refused:
        load(str(model))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("broken", ["[1]", "[" * 50_000])
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_settings_that_are_none(world, tmp_path, file, broken):
    model = Path(shutil.copytree(world.base, tmp_path / "odd"))
    (model / file).write_text(broken)
    with pytest.raises(UserError, match="odd' could not be loaded"):
        models.load_tokenizer(str(model))


def test_code_beside_a_gguf_is_not_asked_for(tmp_path, monkeypatch):
    """Its folder's settings are read with it; without a no, transformers would ask at the terminal, and do as told."""
    asked = []

    def loads(*_, **given):
        asked.append(given)
        raise OSError("enough")

    for name in ("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"):
        monkeypatch.setattr(getattr(models, name), "from_pretrained", loads)
    monkeypatch.setenv("FEATURESHIFT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    for load in (models.model_config, models.load_model):
        with pytest.raises(UserError, match="enough"):
            load(str(tmp_path / "a.gguf"))
    assert len(asked) == 2 and all(given["trust_remote_code"] is False for given in asked)


# ---- adapters that are not what they seem ----


def with_adapter(world, folder: Path, **changes) -> ModelSet:
    """The base with the world's adapter, whose settings are changed."""
    adapter = Path(shutil.copytree(world.adapter, folder / "adapter"))
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    rest = {"saes": [{"path": "x"}], "corpus": [{"path": "x"}]}
    config = RunConfig.model_validate({"base": str(world.base), "variants": {"sft": {"adapter": str(adapter)}}, **rest})
    return ModelSet(config, "cpu", torch.float32)


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_2", "olora"])
def test_an_adapter_that_takes_from_the_base(world, tmp_path, monkeypatch, start):
    """PEFT changes the shared base as it loads one, with which everything is compared; that is seen of unknown ways too."""
    with pytest.raises(UserError, match=f"begun from the base's own weights.*{start}"):
        with_adapter(world, tmp_path / "refused", init_lora_weights=start)
    monkeypatch.setattr("extract.models.adapters.CHANGES_BASE", ())
    with pytest.raises(UserError, match="changes the base's own weights"):
        with_adapter(world, tmp_path / "unknown", init_lora_weights=start)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"layer_replication": [[0, 3], [2, 5]]}, "repeats layers"), ({"r": "x"}, "'sft'"), ({"arrow_config": {"a": 1}}, "'sft'"),
     ({"peft_type": "EVIL"}, "'sft'"), ({"megatron_config": {"a": 1}, "megatron_core": "evil"}, "'sft'")],
)  # fmt: skip
def test_settings_that_no_adapter_has(world, tmp_path, changes, expected):
    with pytest.raises(UserError, match=expected) as refused:
        with_adapter(world, tmp_path, **changes)
    assert "\n" not in str(refused.value)


def test_code_in_a_model_of_known_kind(world, tmp_path):
    """The library's own classes read it; the code beside it is left alone."""
    model = model_with_code(world.base, tmp_path, tmp_path / "executed", "gemma3_text")
    config = world.config(tmp_path, tokens=300, base=str(model))
    assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 0
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "attack",
    ["!!python/object/apply:os.system ['touch {0}']", "!!python/object/new:subprocess.Popen [[touch, {0}]]",
     "!!python/name:os.system", "!!python/module:os"],
)  # fmt: skip
def test_yaml_tags(tmp_path, capsys, attack):
    path = tmp_path / "run.yaml"
    path.write_text(f"base: {attack.format(tmp_path / 'executed')}\n")
    assert main(["check", str(path)]) == 2
    assert "is not valid YAML" in capsys.readouterr().err and not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "attack",
    ["{{ cycler.__init__.__globals__.os.system('touch {0}') }}",
     "{{ ''.__class__.__mro__[1].__subclasses__() }}{% for m in messages %}{{ m['content'] }}{% endfor %}",
     "{{ self.__init__.__globals__.__builtins__.open('{0}', 'w') }}", "{% include '/etc/passwd' %}"],
)  # fmt: skip
def test_a_chat_template_stays_in_its_sandbox(world, tmp_path, capsys, attack):
    template = tmp_path / "template.jinja"
    template.write_text(attack.replace("{0}", str(tmp_path / "executed")))
    refused(world, tmp_path, capsys, "chat template", chat_template=str(template))


# ---- stores ----


@pytest.fixture
def own(tiny_store, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_store, tmp_path / "store"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "latents/../../secret.h5", f"{PART}/../x", "x"])
def test_a_manifest_cannot_name_other_files(own, name):
    rewrite_manifest(own, files={name: {"sha256": "0", "bytes": 1}})
    for action in (open_store, verify):
        with pytest.raises(UserError, match="does not belong to a store"):
            action(own)


@pytest.mark.parametrize("name", [PART, DATABASE_FILE])
def test_a_link_out_of_a_store_is_refused(own, tmp_path, name):
    """The file elsewhere is the very same, so that only its place is wrong."""
    outside = tmp_path / "outside"
    (own / name).rename(outside)
    (own / name).symlink_to(outside)
    for action in (open_store, verify):
        with pytest.raises(UserError, match="link to another place"):
            action(own)


def test_a_database_that_the_manifest_leaves_out_is_refused(own, tmp_path):
    """Else nobody would look where it lies, nor whether it is the one that was written."""
    files = json.loads((own / "manifest.json").read_text())["files"]
    rewrite_manifest(own, files={name: facts for name, facts in files.items() if name != DATABASE_FILE})
    for action in (open_store, verify):
        with pytest.raises(UserError, match="does not name"):
            action(own)


def test_a_part_that_the_manifest_leaves_out_is_not_read(own, tmp_path):
    """The database says where documents stand; here in another store of the reader's, by a link."""
    shutil.copy(own / PART, tmp_path / "private.h5")
    (own / part_file(7)).symlink_to(tmp_path / "private.h5")
    with duckdb.connect(str(own / DATABASE_FILE)) as connection:
        connection.execute("UPDATE documents SET part = 7")
    rewrite_manifest(own)
    with open_store(own) as store:
        for read in (lambda: store.codes(0, 12, "maths"), lambda: store.activations(12, 0, "maths")):
            with pytest.raises(UserError, match="manifest does not name"):
                read()


@pytest.mark.parametrize("name", [PART, DATABASE_FILE, PILOT_FILE])
def test_a_link_in_a_circle_is_refused(own, name):
    (own / name).unlink()
    (own / name).symlink_to(own / name)
    for action in (open_store, verify):
        with pytest.raises(UserError, match=r"link to another place|links go round in a circle"):
            action(own)


def test_a_journal_beside_the_database_is_refused(own, tmp_path):
    """DuckDB would put its changes over the tables without a word: what the pages show would be covered by no hash."""
    shutil.copytree(own, tmp_path / "other")
    connection = duckdb.connect(str(tmp_path / "other" / DATABASE_FILE))
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")
    connection.execute("UPDATE features SET label = 'from the journal'")
    shutil.copy(tmp_path / "other" / f"{DATABASE_FILE}.wal", own)
    connection.close()
    with duckdb.connect(str(own / DATABASE_FILE), read_only=True) as trusting:
        assert trusting.execute("SELECT DISTINCT label FROM features").fetchall() == [("from the journal",)]
    for action in (open_store, verify):
        with pytest.raises(UserError, match=r"\.wal.*no finished store has"):
            action(own)


def test_a_store_may_itself_be_a_link(own, tmp_path):
    """People keep large stores on other disks."""
    (tmp_path / "link").symlink_to(own)
    assert verify(tmp_path / "link") == []


def foreign(tmp_path: Path) -> Path:
    """Another file of the reader's, with numbers that are nobody's business."""
    path = tmp_path / "private.h5"
    with h5py.File(path, "w") as file:
        file["secret"] = np.arange(3, dtype=np.uint16)
    (tmp_path / "private.bin").write_bytes(np.arange(3, dtype=np.uint16).tobytes())
    return path


def external_link(file: h5py.File, place: str, private: Path) -> None:
    file[place] = h5py.ExternalLink(str(private), "/secret")


def soft_link_over_external(file: h5py.File, place: str, private: Path) -> None:
    file["inner"] = h5py.ExternalLink(str(private), "/secret")
    file[place] = h5py.SoftLink("/inner")


def external_storage(file: h5py.File, place: str, private: Path) -> None:
    file.create_dataset(place, (3,), np.uint16, external=[(str(private.with_suffix(".bin")), 0, 6)])


def virtual(file: h5py.File, place: str, private: Path) -> None:
    layout = h5py.VirtualLayout((3,), np.uint16)
    layout[:] = h5py.VirtualSource(str(private), "secret", (3,))
    file.create_virtual_dataset(place, layout)


@pytest.mark.parametrize("attack", [external_link, soft_link_over_external, external_storage, virtual])
@pytest.mark.parametrize("column", ["by_token/index", "by_feature/row"])
def test_a_part_cannot_take_numbers_from_other_files(own, tmp_path, attack, column):
    with h5py.File(own / PART, "a") as file:
        place = f"layer_12/codes/maths/{column}"
        del file[place]
        attack(file, place, foreign(tmp_path))
    rewrite_manifest(own)
    with open_store(own) as store, pytest.raises(UserError, match="do not trust this copy"):
        store.codes(0, 12, "maths") if "token" in column else store.activations(12, 1, "maths")


def test_a_part_whose_whole_layer_is_elsewhere(own, tmp_path):
    shutil.copy(own / PART, tmp_path / "private.h5")
    with h5py.File(own / PART, "a") as file:
        del file["layer_12"]
        file["layer_12"] = h5py.ExternalLink(str(tmp_path / "private.h5"), "/layer_12")
    rewrite_manifest(own)
    with open_store(own) as store, pytest.raises(UserError, match="do not trust this copy"):
        store.codes(0, 12, "maths")


def test_a_link_in_a_part_is_not_even_looked_behind(own, tmp_path):
    """Behind it is a pipe: opening that waits for ever, as h5py's did where it was asked whether the name is there."""
    os.mkfifo(tmp_path / "pipe")
    with h5py.File(own / PART, "a") as file:
        del file["layer_12/codes/maths"]
        file["layer_12/codes/maths"] = h5py.ExternalLink(str(tmp_path / "pipe"), "/secret")
    rewrite_manifest(own)
    read = "import sys; from store import open_store; open_store(sys.argv[1]).codes(0, 12, 'maths')"
    found = subprocess.run([sys.executable, "-c", read, str(own)], capture_output=True, text=True, timeout=60, check=False)
    assert "UserError" in found.stderr and "do not trust this copy" in found.stderr
    with pytest.raises(UserError, match="do not trust this copy"):
        verify(own)


@pytest.mark.parametrize(
    ("table", "source"),
    [("layers", "read_csv('/etc/passwd')"), ("documents", "read_csv('/etc/passwd')"), ("vocabulary", "(SELECT 1 AS token_id)"),
     ("layers", "(SELECT 12 AS layer)"), ("tokens", "range(10)")],
)  # fmt: skip
def test_a_view_in_place_of_a_table_is_refused(own, table, source):
    """Also one that reads no file: what it says need not be the same twice."""
    with duckdb.connect(str(own / DATABASE_FILE)) as connection:
        connection.execute(f"DROP TABLE {table}")
        connection.execute(f"CREATE VIEW {table} AS SELECT * FROM {source}")
    rewrite_manifest(own)
    for action in (open_store, verify):
        with pytest.raises(UserError, match=f"holds a view '{table}'"):
            action(own)


def test_a_function_in_place_of_duckdbs_is_refused(own):
    with duckdb.connect(str(own / DATABASE_FILE)) as connection:
        connection.execute("CREATE MACRO count(x) AS 42")
    rewrite_manifest(own)
    with pytest.raises(UserError, match="holds a function 'count'"):
        open_store(own)


@pytest.mark.parametrize("table", ["layers", "contexts"])
def test_a_database_without_a_table(own, table):
    """Found out at opening, also where no page would need it."""
    with duckdb.connect(str(own / DATABASE_FILE)) as connection:
        connection.execute(f"DROP TABLE {table}")
    rewrite_manifest(own)
    for action in (open_store, verify):
        with pytest.raises(UserError, match=f"has no table '{table}'.*do not trust this copy"):
            action(own)


@pytest.mark.parametrize(
    ("query", "kind"),
    [("COPY layers FROM '/etc/passwd'", "refused"), ("IMPORT DATABASE 'x'", "refused"), ("CREATE SECRET (TYPE s3)", "refused"),
     ("LOAD '/tmp/evil.duckdb_extension'", "refused"), ("DELETE FROM layers", "refused"), ("PREPARE p AS SELECT 1", "refused"),
     ("FROM read_ndjson('/etc/passwd')", "wrong"), ("FROM parquet_metadata('/etc/passwd')", "wrong"),
     ("FROM read_duckdb('/etc/passwd')", "wrong"), ("FROM query('FROM read_text(''/etc/passwd'')')", "wrong"),
     ("FROM read_blob('/proc/self/environ')", "wrong"), ("FROM duckdb_secrets()", "wrong"), ("FROM task", "wrong"),
     ("FROM sqlite_scan('/x', 't')", "wrong"), ("FROM pandas_scan(1)", "wrong"), ("SELECT 1::POINTER", "wrong")],
)  # fmt: skip
def test_more_that_a_readers_sql_may_not(tiny_store, query, kind):
    """Beyond test_sandbox.py: what else writes, reads a file, takes the worker's own variables or a place in memory."""
    with open_store(tiny_store) as store, pytest.raises(QueryError) as refused:
        run(store, query)
    assert refused.value.kind == kind and "root:" not in str(refused.value)


@pytest.mark.parametrize("source", ["read_csv('{0}')", "read_text('{0}')", "read_blob('{0}')", "'{0}'"])
def test_a_view_in_a_database_cannot_read_files(own, tmp_path, source):
    """In place of a table: the store is not opened, and DuckDB would refuse it too."""
    secret = tmp_path / "secret.csv"
    secret.write_text("document,source,domain\n1,hush,x\n")
    with duckdb.connect(str(own / DATABASE_FILE)) as connection:
        connection.execute("DROP TABLE vocabulary")
        connection.execute(f"CREATE VIEW vocabulary AS SELECT * FROM {source.format(secret)}")
    rewrite_manifest(own)
    with pytest.raises(UserError, match="holds a view") as refusal:
        open_store(own)
    assert "hush" not in str(refusal.value)
    with duckdb.connect(str(own / DATABASE_FILE), read_only=True, config=READ_ONLY) as connection:
        with pytest.raises(duckdb.Error) as refusal:  # nor could it, if it had been let in
            connection.execute("SELECT * FROM vocabulary").fetchall()
        assert "hush" not in str(refusal.value)


# ---- texts ----

HOSTILE = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\" onmouseover=\"alert(1)", "'><svg/onload=alert(1)>",
    "&lt;b&gt;", "</span></div><h1>mine</h1>", "javascript:alert(1)", "\u202eevil\u202c", "\x00\x1b[31m", "]](http://evil)",
)  # fmt: skip
TEXTS = st.text(max_size=30) | st.sampled_from(HOSTILE)


class Tags(HTMLParser):
    """What a browser would make of it: the elements, their attributes' names, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(str(page))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


@settings(deadline=None, max_examples=300, derandomize=True)
@given(TEXTS)
def test_visible_text_is_text(given_text):
    """No element but the marks', and every printable character is there as it was."""
    for page in (text.visible(given_text), text.lines(given_text)):
        found = Tags(page)
        assert found.elements <= {"span", "br"} and found.attributes <= {"class"}
        printable = [c for c in given_text if c.isprintable() and c not in text.VISIBLE]
        rest = iter(found.text)
        assert all(character in rest for character in printable)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.lists(TEXTS, min_size=1, max_size=4), TEXTS)
def test_a_window_of_tokens_is_text(given_tokens, name):
    """Titles, which hold tokens too, stay titles."""
    values = [1.0] * len(given_tokens)
    row = {"rank": 1, "domain": name, "source": name, "position": 0, "tokens": given_tokens, "peak": 0}
    found = Tags(contexts.context(row | {"base_values": values, "variant_values": values}, 1.0, (name, "sft")))
    assert found.elements <= {"div", "span", "b"} and found.attributes <= {"class", "style", "title", "aria-hidden"}


@settings(deadline=None, max_examples=150, derandomize=True)
@given(TEXTS.filter(str.strip), TEXTS, TEXTS)
def test_answers_are_text(prompt, base, variant):
    rows = pd.DataFrame({"task": "x", "prompt": 0, "text": prompt, "model": ["base", "sft"], "answer": [base, variant]})
    page = answer_cards.cards(rows, ["base", "sft"])
    plain = answer_cards.cards(rows.assign(text="a", answer="b"), ["base", "sft"])
    known, found = Tags(plain), Tags(page)
    assert found.elements <= known.elements | {"span", "mark", "br", "i"} and found.attributes <= known.attributes | {"class"}


@settings(deadline=None, max_examples=300, derandomize=True)
@given(TEXTS)
def test_plain_words_have_no_markdown(given_text):
    """Every mark that Markdown, Streamlit's colours, icons or formulas know stands behind a backslash.

    Where a second reader would begin stands a joiner: see tests/attacks/test_hostile_texts.py.
    """
    escaped = words.plain(given_text)
    assert "\n" not in escaped
    bare = escaped.replace("\\\\", "")
    assert all(bare[place - 1] == "\\" for place, c in enumerate(bare) if c in "`*_{}[]()<>#+-!|~$:" and place > 0)
    assert not bare or bare[0] not in "`*_{}[]()<>#+-!|~$:"
    shown = (f"⟨U+{ord(c):04X}⟩" if unicodedata.category(c) in HIDDEN and c not in "\n\r\t" else c for c in given_text)
    assert escaped.replace("\\", "").replace(text.JOINER, "").split() == "".join(shown).replace("\\", "").split()


def as_shown(given: str) -> str:
    """What a reader sees of a text, by what store/text.py promises."""
    marks = ((c, f"⟨U+{ord(c):04X}⟩" if unicodedata.category(c) in HIDDEN else c) for c in given)
    return "".join(text.VISIBLE.get(c, mark) for c, mark in marks) or "∅"


@settings(deadline=None, max_examples=150, derandomize=True)
@given(TEXTS, TEXTS, TEXTS)
def test_places_names_and_legends_are_text(token, source, name):
    """Around the tokens too: where a context stands, what a model is called; all of it there to be read, none of it at work."""
    row = {"rank": 1, "domain": source, "source": source, "position": 3, "peak": 0, "tokens": [token],
           "base_values": [1.0], "variant_values": [2.0]}  # fmt: skip
    pages = {
        contexts.context(row, 2.0, ("base", name)): (token, source, name),
        contexts.excerpt(row, ("base", name)): (token,),
        contexts.chips([token], [1.0]): (token,),
        contexts.legend(1.0, ("base", name)): (name,),
        contexts.series_legend([(name, "#123456", "dashed", 3)]): (name,),
    }
    for page, expected in pages.items():
        found = Tags(page)
        assert found.elements <= {"div", "span", "b", "bdi", "small"}
        assert found.attributes <= {"class", "style", "title", "aria-hidden"}
        assert all(as_shown(given) in found.text for given in expected)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(TEXTS.filter(bool), TEXTS)
def test_a_documents_tokens_are_text(token, name):
    rows = pd.DataFrame(
        {"position": [0], "context": [0], "segment": ["text"], "token": [token], "counted": [True], "cosine_change": [0.5]}
    )
    value = token_colours.VALUES["cosine"]
    found = Tags(token_colours.document(rows, value, 1.0, ("base", name), 0, "?position={}".format))
    assert found.elements <= {"div", "span", "a", "br"} and as_shown(token) in found.text
    assert found.attributes <= {"class", "style", "title", "href", "target", "tabindex"}
    around = Tags(token_colours.legend(value, 1.0, 5, ("base", name), rows, f"of {name}"))
    assert around.elements <= {"div", "span", "b"} and around.attributes <= {"class", "style"}


@settings(deadline=None, max_examples=60, derandomize=True)
@given(TEXTS.filter(bool), TEXTS)
def test_a_review_is_text(written, token):
    """The names, notes and labels of a report, and what the store says of itself."""
    judgement = {"reviewer": written, "verdict": "concern", "severity": "high", "note": written, "made": "2026-01-01T00:00:00"}
    feature = {
        "layer": 1, "feature": 2, "label": written, "judgements": [judgement], "disagreement": False, "reason": written,
        "ranking": "decrease", "numbers": dict.fromkeys(NUMBERS),
        "runs": [{"variant": written, "change": -0.5, "change_low": -0.6, "change_high": -0.4}] * 2,
        "contexts": [{"domain": written, "source": written, "position": 1, "peak": 0, "tokens": [token], "base": [1.0],
                      "variant": [0.0]}],
    }  # fmt: skip
    feature["numbers"] |= {"verdict": written, "kind": written, "gate": written}
    known = {"name": written, "sha256": written}
    content = {
        "made": "2026-01-01T00:00:00", "amounts": written, "reviewed": [feature], "reviewed_elsewhere": [], "sensitivity": [],
        "fit": [],
        "progress": {"total": 1, "reviewed": 1, "concerns": 1, "disagreements": 0, "reviewers": {written: 1}},
        "not_reviewed": {"count": 0, "features": []},
        "work_list": asdict(Filter(variant="maths", search=written)) | {"total": 1, "hidden_dense": 0},
        "store": {"digest": written, "created": written, "base": known, "variant": {"variant": "maths", **known},
                  "dictionaries": {"1": known}, "tokenizer": known, "corpus": {"sources": [{"file": written}]},
                  "notes": [written], "published_from": None},
    }  # fmt: skip
    found = Tags(as_html(content))
    assert not found.elements & {"script", "img", "svg", "a", "iframe", "i", "form", "object"}
    assert not any(name.startswith("on") or name in ("href", "src", "action") for name in found.attributes)
    assert as_shown(token) in found.text and found.text.count(as_shown(written)) >= 12


@settings(deadline=None, max_examples=300, derandomize=True)
@given(TEXTS)
def test_labels_of_the_findings_have_no_markup(given_text):
    """No element, and no mark of Markdown that is not behind a backslash."""
    shown = str(escaped(given_text))
    assert not Tags(shown).elements and not set(shown) & set("<>\n\r\u202e\u2066\u200b")
    bare = shown.replace("\\\\", "")
    assert all(place and bare[place - 1] == "\\" for place, c in enumerate(bare) if c in "`*_[]|#$~")


def test_the_page_of_findings_has_no_markup_of_the_stores(tiny_store):
    """Markdown with a hostile label in it: nothing that a reader would take for an element."""
    with open_store(tiny_store) as store:
        assert "<script" not in findings(store) and "<img" not in findings(store)


def test_torch_files_are_not_read_at_all(world, tmp_path):
    """Of a model there are only safetensors: with both, the pickle is left alone."""
    both = make_checkpoint(tmp_path / "both", world.base, lambda _model: None)
    (both / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    config = world.config(tmp_path, tokens=300, variants={"sft": {"model": str(both)}})
    assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 0
    assert not (tmp_path / "executed").exists() and torch.get_num_threads() >= 1
