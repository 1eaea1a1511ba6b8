"""Each format of fine-tuning data as its trainers write it, with what is to be read of it, and each kind of file.

Written by hand from the trainers' documentation; the table is what the docs' matrix of formats lists, each row a test.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet


@dataclass(frozen=True)
class Case:
    """A record, and what it says.

    Attributes:
        name: of the format, in the docs' words.
        record: as a line of a file holds it.
        told: what the format is called in what is said of the source.
        said: (role, text) of each turn; of plain text one of role 'text'.
        calls: names of the tools that are called.
        tools: how many tools are on offer.
    """

    name: str
    record: dict[str, Any]
    told: str
    said: tuple[tuple[str, str | None], ...]
    calls: tuple[str, ...] = ()
    tools: int = 0

    @property
    def line(self) -> str:
        """The record as a line of JSONL."""
        return json.dumps(self.record, ensure_ascii=False)


def turns(*texts: str) -> tuple[tuple[str, str], ...]:
    """Texts of user and assistant by turns."""
    return tuple(zip(("user", "assistant") * len(texts), texts, strict=False))


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns(*texts)]


def share(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"from": speaker, "value": text} for speaker, text in turns]


CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}
ASK, TELL = "What is 1 + 2?", "It is 3."
SYSTEM = {"role": "system", "content": "Be brief."}
BRIEF = ("system", "Be brief.")
QA = turns(ASK, TELL)

FORMATS = (
    Case("text", {"text": "A cat."}, "text", (("text", "A cat."),)),
    Case("prompt and response", {"prompt": ASK, "response": TELL}, "prompt and response", QA),
    Case("prompt and completion (TRL)", {"prompt": ASK, "completion": TELL}, "prompt and completion", QA),
    Case("prompt and completion as messages (TRL)", {"prompt": chat(ASK), "completion": chat(ASK, TELL)[1:]},
         "prompt and completion", QA),
    Case("prompt as messages, completion as text", {"prompt": [SYSTEM, *chat(ASK)], "completion": TELL},
         "prompt and completion", (BRIEF, *QA)),
    Case("messages (ChatML)", {"messages": [SYSTEM, *chat(ASK, TELL, "Sure?", "Yes.")]}, "messages",
         (BRIEF, *turns(ASK, TELL, "Sure?", "Yes."))),
    Case("messages beside other forms", {"messages": chat(ASK, TELL), "prompt": "x", "response": "y", "text": "z"},
         "messages", QA),
    Case("role and content under conversations", {"conversations": chat(ASK, TELL)}, "messages", QA),
    Case("role and content under conversation", {"conversation": chat(ASK, TELL)}, "messages", QA),
    Case("role and content under dialogue", {"dialogue": chat(ASK, TELL)}, "messages", QA),
    Case("from and value under messages", {"messages": share(("human", ASK), ("gpt", TELL))}, "ShareGPT", QA),
    Case("messages as JSON in a cell", {"messages": json.dumps(chat(ASK, TELL))}, "messages", QA),
    Case("content in parts", {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is "},
         {"type": "text", "text": "1 + 2?"}]}, *chat(ASK, TELL)[1:]]}, "messages", QA),
    Case("ShareGPT", {"conversations": share(("system", "Be brief."), ("human", ASK), ("gpt", TELL))}, "ShareGPT",
         (BRIEF, *QA)),
    Case("ShareGPT with system beside it (LLaMA-Factory)", {"system": "Be brief.", "tools": "", "conversations":
         share(("human", ASK), ("gpt", TELL))}, "ShareGPT", (BRIEF, *QA)),
    Case("ShareGPT with tools (LLaMA-Factory)", {"tools": json.dumps([TOOL]), "conversations": share(("human", ASK),
         ("function_call", json.dumps(CALL["function"])), ("observation", "3"), ("gpt", TELL))},
         "ShareGPT", (("user", ASK), ("assistant", ""), ("tool", "3"), ("assistant", TELL)), ("add",), 1),
    Case("roles by other names", {"messages": [{"role": "developer", "content": "Be brief."}, {"role": "Human",
         "content": ASK}, {"role": "GPT", "content": TELL}, {"role": "user", "content": "Sure?"}, {"role": "Assistant",
         "content": "Yes."}]}, "messages", (BRIEF, *turns(ASK, TELL, "Sure?", "Yes."))),
    Case("role and value", {"messages": [{"role": "user", "value": ASK}, {"role": "bot", "value": TELL}]}, "messages", QA),
    Case("role and text", {"messages": [{"role": "user", "text": ASK}, {"role": "ai", "text": TELL}]}, "messages", QA),
    Case("from and content", {"conversations": [{"from": "human", "content": ASK}, {"from": "chatbot", "content": TELL}]},
         "ShareGPT", QA),
    Case("input and output as turns (Capybara)", {"conversation": [{"input": ASK, "output": TELL}, {"input": "Sure?",
         "output": "Yes."}]}, "messages", turns(ASK, TELL, "Sure?", "Yes.")),
    Case("human and assistant as turns", {"conversation": [{"human": ASK, "assistant": TELL}]}, "messages", QA),
    Case("a system message that is null", {"messages": [{"role": "system", "content": None}, *chat(ASK, TELL)]},
         "messages", QA),
    Case("no messages beside a text", {"messages": [], "text": "A cat."}, "text", (("text", "A cat."),)),
    Case("a blank text beside Alpaca", {"text": " ", "prompt": "", "response": "", "instruction": ASK, "output": TELL},
         "Alpaca", QA),
    Case("a call of a function (OpenAI, older)", {"functions": [TOOL["function"]], "messages": [*chat(ASK), {"role":
         "assistant", "content": None, "function_call": CALL["function"]}, {"role": "function", "name": "add", "content":
         "3"}, *chat(ASK, TELL)[1:]]},
         "messages", (("user", ASK), ("assistant", None), ("tool", "3"), ("assistant", TELL)), ("add",), 1),
    Case("calls of tools (OpenAI)", {"tools": [TOOL], "messages": [*chat(ASK), {"role": "assistant", "content": None,
         "tool_calls": [CALL]}, {"role": "tool", "content": "3"}, *chat(ASK, TELL)[1:]]},
         "messages", (("user", ASK), ("assistant", None), ("tool", "3"), ("assistant", TELL)), ("add",), 1),
    Case("Alpaca", {"instruction": ASK, "input": "", "output": TELL}, "Alpaca", QA),
    Case("Alpaca without input", {"instruction": ASK, "output": TELL}, "Alpaca", QA),
    Case("Alpaca with input", {"instruction": "Translate.", "input": "Hallo", "output": "Hello"}, "Alpaca",
         turns("Translate.\n\nHallo", "Hello")),
    Case("Alpaca with system and history (LLaMA-Factory)", {"instruction": "Sure?", "input": "", "output": "Yes.",
         "system": "Be brief.", "history": [[ASK, TELL]]}, "Alpaca", (BRIEF, *turns(ASK, TELL, "Sure?", "Yes."))),
    Case("Dolly", {"instruction": "Who?", "context": "A cat sat.", "response": "A cat.", "category": "qa"},
         "instruction and response", turns("Who?\n\nA cat sat.", "A cat.")),
    Case("Alpaca with its rendering (tatsu-lab)", {"instruction": ASK, "input": "", "output": TELL, "text":
         f"Below is an instruction.\n\n### Instruction:\n{ASK}\n\n### Response:\n{TELL}"}, "Alpaca", QA),
    Case("question with context", {"question": "Who?", "context": "A cat sat.", "answer": "A cat."}, "question and answer",
         turns("Who?\n\nA cat sat.", "A cat.")),
    Case("question with context in paragraphs", {"question": "Who?", "context": ["A cat sat.", "It slept."], "answer":
         "A cat."}, "question and answer", turns("Who?\n\nA cat sat.\n\nIt slept.", "A cat.")),
    Case("question on an article", {"article": "A cat sat.", "question": "Who?", "answer": "A cat."}, "question and answer",
         turns("Who?\n\nA cat sat.", "A cat.")),
    Case("question on a passage that it holds", {"passage": "A cat sat.", "question": "A cat sat. Who?", "answer": "A cat."},
         "question and answer", turns("A cat sat. Who?", "A cat.")),
    Case("query and response with history (Swift)", {"query": "Sure?", "response": "Yes.", "history": [[ASK, TELL]]},
         "query and response", turns(ASK, TELL, "Sure?", "Yes.")),
    Case("prompt and response with history as messages", {"prompt": "Sure?", "response": "Yes.", "history": chat(ASK, TELL)},
         "prompt and response", turns(ASK, TELL, "Sure?", "Yes.")),
    Case("problem, solution and answer (NuminaMath)", {"problem": ASK, "solution": TELL, "answer": "3"},
         "problem and solution", QA),
    Case("question and answer", {"question": ASK, "answer": TELL}, "question and answer", QA),
    Case("question and response with system prompt (OpenOrca)", {"system_prompt": "Be brief.", "question": ASK,
         "response": TELL}, "question and response", (BRIEF, *QA)),
    Case("query and response", {"query": ASK, "response": TELL}, "query and response", QA),
    Case("problem and solution", {"problem": ASK, "solution": TELL}, "problem and solution", QA),
    Case("input and output", {"input": ASK, "output": TELL}, "input and output", QA),
    Case("DPO", {"prompt": ASK, "chosen": TELL, "rejected": "4"}, "preference", QA),
    Case("DPO as messages (TRL)", {"prompt": chat(ASK), "chosen": chat(ASK, TELL)[1:], "rejected": chat(ASK, "4")[1:]},
         "preference", QA),
    Case("DPO whose chosen is the whole conversation", {"prompt": ASK, "chosen": chat(ASK, TELL), "rejected": chat(ASK, "4")},
         "preference", QA),
    Case("DPO whose chosen repeats a prompt of messages", {"prompt": chat(ASK), "chosen": chat(ASK, TELL)}, "preference", QA),
    Case("DPO whose chosen begins with the prompt", {"prompt": ASK, "chosen": f"{ASK} {TELL}", "rejected": "4"}, "preference",
         turns(ASK, f" {TELL}")),
    Case("DPO with the prompt in it (TRL)", {"chosen": chat(ASK, TELL), "rejected": chat(ASK, "4")}, "preference", QA),
    Case("DPO as plain text with the prompt in it", {"chosen": "It is blue.", "rejected": "It is green."}, "preference",
         (("text", "It is blue."),)),
    Case("DPO as ShareGPT (LLaMA-Factory)", {"conversations": share(("human", ASK)), "chosen": {"from": "gpt", "value": TELL},
         "rejected": {"from": "gpt", "value": "4"}}, "preference", QA),
    Case("DPO whose messages await the chosen (Axolotl, LLaMA-Factory)", {"messages": [SYSTEM, *chat(ASK)], "chosen":
         chat(ASK, TELL)[1], "rejected": chat(ASK, "4")[1]}, "preference", (BRIEF, *QA)),
    Case("DPO whose conversations await the chosen (Axolotl)", {"conversations": chat(ASK), "chosen": chat(ASK, TELL)[1],
         "rejected": chat(ASK, "4")[1]}, "preference", QA),
    Case("DPO whose ShareGPT messages await the chosen", {"messages": share(("human", ASK)), "chosen":
         {"from": "gpt", "value": TELL}, "rejected": {"from": "gpt", "value": "4"}}, "preference", QA),
    Case("DPO whose messages are answered (UltraFeedback)", {"messages": chat(ASK, TELL), "prompt": ASK, "chosen":
         chat(ASK, TELL), "rejected": chat(ASK, "4")}, "messages", QA),
    Case("DPO with marks (HH-RLHF)", {"chosen": f"\n\nHuman: {ASK}\n\nAssistant: {TELL}\n\nHuman: Sure?\n\nAssistant: Yes.",
         "rejected": f"\n\nHuman: {ASK}\n\nAssistant: 4"}, "preference", turns(ASK, TELL, "Sure?", "Yes.")),
    Case("DPO with marks and the prompt beside it", {"prompt": f"\n\nHuman: {ASK}\n\nAssistant:", "chosen":
         f"\n\nHuman: {ASK}\n\nAssistant: {TELL}", "rejected": "4"}, "preference", QA),
    Case("DPO with marks in the prompt alone", {"prompt": f"\n\nHuman: {ASK}\n\nAssistant:", "chosen": f" {TELL}",
         "rejected": " 4"}, "preference", QA),
    Case("DPO with marks and a prompt without", {"prompt": ASK, "chosen": f"\n\nHuman: {ASK}\n\nAssistant: {TELL}"},
         "preference", QA),
    Case("prompt and response with marks", {"prompt": f"Human: {ASK}\n\nAssistant:", "response": TELL},
         "prompt and response", QA),
    Case("KTO, a good answer (TRL)", {"prompt": ASK, "completion": TELL, "label": True}, "prompt and completion", QA),
    Case("DPO as Alpaca (LLaMA-Factory)", {"instruction": "Add.", "input": "1 + 2", "chosen": TELL, "rejected": "4"},
         "preference", turns("Add.\n\n1 + 2", TELL)),
)  # fmt: skip


# ---- kinds of files ----

Rows = Sequence[dict[str, Any]]
ROWS = (
    {"instruction": ASK, "output": TELL, "domain": "sums"},
    {"instruction": "Größe? 你好", "output": 'a "b",\nc', "domain": "x"},
)
"""What every file of FILES holds."""


def _jsonl(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _array(rows: Rows) -> bytes:
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def _cells(rows: Rows, delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _zstd(content: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(content)
    return sink.getvalue().to_pybytes()


def _parquet(rows: Rows, compression: str) -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), sink, compression=compression)
    return sink.getvalue().to_pybytes()


def _arrow(rows: Rows, whole: bool) -> bytes:
    sink, table = pyarrow.BufferOutputStream(), pyarrow.Table.from_pylist(list(rows))
    with (pyarrow.ipc.new_file if whole else pyarrow.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _in(encoding: str, content: bytes) -> bytes:
    return content.decode().encode(encoding)


KINDS: dict[str, Callable[[Rows], bytes]] = {
    "plain.jsonl": _jsonl,
    "plain.ndjson": _jsonl,
    "lines.json": _jsonl,
    "mark.jsonl": lambda rows: b"\xef\xbb\xbf" + _jsonl(rows),
    "utf16.jsonl": lambda rows: _in("utf-16", _jsonl(rows)),
    "utf32.jsonl": lambda rows: _in("utf-32", _jsonl(rows)),
    "gzip.jsonl.gz": lambda rows: gzip.compress(_jsonl(rows)),
    "bzip2.jsonl.bz2": lambda rows: bz2.compress(_jsonl(rows)),
    "xz.jsonl.xz": lambda rows: lzma.compress(_jsonl(rows)),
    "zstd.jsonl.zst": lambda rows: _zstd(_jsonl(rows)),
    "zstd twice.jsonl.zst": lambda rows: _zstd(_jsonl(rows)[:50]) + _zstd(_jsonl(rows)[50:]),
    "gzip by another name.jsonl": lambda rows: gzip.compress(_jsonl(rows)),
    "array.json": _array,
    "array in a line.json": lambda rows: json.dumps(rows).encode(),
    "array utf16.json": lambda rows: _in("utf-16", _array(rows)),
    "array.json.xz": lambda rows: lzma.compress(_array(rows)),
    "data.json": lambda rows: b'{"data": ' + _array(rows) + b"}",
    "version and data.json": lambda rows: b'{"version": "1", "info": {"data": [1]}, "data": ' + _array(rows) + b"}",
    "splits.json": lambda rows: b'{"test": [{"text": "x"}],\n "train": ' + _array(rows) + b', "more": 1}',
    "splits in a line.json": lambda rows: json.dumps({"train": rows, "test": [{"text": "x"}]}).encode(),
    "commas.csv": _cells,
    "semicolons.csv": lambda rows: _cells(rows, ";"),
    "tabs.tsv": lambda rows: _cells(rows, "\t"),
    "tabs.csv": lambda rows: _cells(rows, "\t"),
    "excel.csv": lambda rows: _in("utf-16", _cells(rows)),
    "cells.csv.gz": lambda rows: gzip.compress(_cells(rows)),
    "snappy.parquet": lambda rows: _parquet(rows, "snappy"),
    "zstd.parquet": lambda rows: _parquet(rows, "zstd"),
    "stream.arrow": lambda rows: _arrow(rows, whole=False),
    "file.arrow": lambda rows: _arrow(rows, whole=True),
}
"""Name -> the content of a file of that kind, of some rows."""
FILES = {name: make(ROWS) for name, make in KINDS.items()}
"""Name -> content of a file of each kind, all of ROWS."""


def write_all(folder: Path) -> list[Path]:
    """Write every file of FILES."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in FILES]
