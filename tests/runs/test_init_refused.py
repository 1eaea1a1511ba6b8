"""What no run can be made of: ``init`` says so in a sentence, and writes nothing."""

import json
import shutil
from pathlib import Path

import yaml

from tests.support.newcomer import checked, copied, init, refused
from tests.support.world import sentences, write_jsonl


def test_nothing_is_written_over(newcomer, capsys):
    Path("run.yaml").write_text("mine")
    assert init(".") == 2 and "--force" in capsys.readouterr().err
    assert Path("run.yaml").read_text() == "mine"
    assert init(".", "--force") == 0
    assert yaml.safe_load(Path("run.yaml").read_text())["base"] == "./base"


def test_a_dictionary_of_another_model(newcomer, brought, capsys):
    assert "belongs to another model" in refused(capsys, ".", "--sae", brought / "sae-of-wide")
    copied(brought / "sae-of-wide", newcomer / "saes" / "wide")
    assert init(".") == 0  # beside others it is told, and not used
    assert "not used: saes/wide: it was not taken: The dictionary 'wide' is of" in capsys.readouterr().out
    Path("run.yaml").unlink()
    for layer in (1, 3):
        shutil.rmtree(newcomer / "saes" / f"layer_{layer}")
    assert "belongs to another model" in refused(capsys, ".")


def test_an_adapter_of_another_base(newcomer, brought, capsys):
    assert "of-wide" in refused(capsys, ".", "--variant", brought / "of-wide")


def test_what_no_run_can_be_made_of(newcomer, brought, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "nothing was recognised" in refused(capsys, tmp_path / "empty")
    assert "no folder" in refused(capsys, tmp_path / "nowhere")
    assert "Nothing is given" in refused(capsys)
    assert "nothing at 'nowhere/at/all'" in refused(capsys, "--base", "nowhere/at/all", "--variant", "x=adapters/maths")
    shutil.rmtree(newcomer / "data")
    assert "no data" in refused(capsys, ".")
    write_jsonl(newcomer / "rows.jsonl", [{"a": 1}])
    assert "rows.jsonl" in refused(capsys, ".")
    assert "rows.jsonl" in refused(capsys, ".", "--data", "rows.jsonl")
    copied(brought / "stories.jsonl", newcomer / "rows.jsonl")
    shutil.rmtree(newcomer / "adapters")
    assert "nothing that was fine-tuned" in refused(capsys, ".")
    copied(brought / "maths", newcomer / "maths")
    shutil.rmtree(newcomer / "base")
    settings = json.loads((newcomer / "maths" / "adapter_config.json").read_text())
    for named in (None, "/nowhere/base"):
        (newcomer / "maths" / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": named}))
        assert "There is no base" in refused(capsys, ".")


def test_a_file_that_cannot_be_read(newcomer, capsys):
    (newcomer / "data" / "stories.jsonl").write_bytes(b'{"text": "a"}\n{"te')
    assert "line 2" in refused(capsys, ".", "--data", "data/stories.jsonl")


def test_several_bases(newcomer, brought, capsys):
    (newcomer / "base").rename(newcomer / "first")
    copied(brought / "wide", newcomer / "wide")
    settings = json.loads((newcomer / "adapters" / "maths" / "adapter_config.json").read_text())
    file = newcomer / "adapters" / "maths" / "adapter_config.json"
    file.write_text(json.dumps({**settings, "base_model_name_or_path": "somebody/else"}))
    assert "Which of several models" in refused(capsys, ".")
    file.write_text(json.dumps({**settings, "base_model_name_or_path": "somebody/First"}))
    assert "'wide'" in refused(capsys, ".")  # the other is a variant then, and none of this base
    shutil.rmtree(newcomer / "wide")
    assert init(".") == 0


def test_where_nobody_trained_dictionaries(newcomer, capsys):
    shutil.rmtree(newcomer / "saes")
    assert "registry knows none" in refused(capsys, ".")
    (newcomer / "base").rename(newcomer / "gemma-3-270m")  # whose dictionaries are of layers that this one lacks
    assert "of sae-lens' release gemma-scope-2-270m-pt-res for this base: The dictionary" in refused(capsys, ".")


def test_a_task_of_nobody_or_of_no_text(newcomer, capsys):
    assert "'math', which is no variant; choose from maths" in refused(capsys, ".", "--task", "math=stories")
    assert "the domain 'poems', which no document" in refused(capsys, ".", "--task", "maths=poems")


def test_a_release_that_there_is_not(newcomer, capsys):
    assert "gemma-scope-2b-pt-res" in refused(capsys, ".", "--sae", "gemma-scope-2b-pt-rez")
    assert "gemma-scope-2b-pt-res" in refused(capsys, ".", "--sae", "gemma-scope-2b-pt-rez/layer_9/width_16k/canonical")


def test_conversations_need_a_chat_template(newcomer, capsys):
    file = newcomer / "base" / "chat_template.jinja"
    template = file.read_text()
    file.unlink()
    answer = {"role": "assistant", "content": "the cat."}
    turns = [{"messages": [{"role": "user", "content": asked}, answer]} for asked in sentences(8, seed=6)]
    write_jsonl(newcomer / "data" / "stories.jsonl", turns)
    assert "chat template" in refused(capsys, ".")
    (newcomer / "mine.jinja").write_text(template)
    assert init(".") == 0
    assert checked().chat_template == str(newcomer / "mine.jinja")
    (newcomer / "other.jinja").write_text(template)  # of two neither is taken, but the one that is named
    assert init(".", "--force", "--chat-template", "other.jinja") == 0
    assert checked().chat_template == str(newcomer / "other.jinja")
