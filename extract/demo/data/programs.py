"""Programming tasks as prompt and response, and whether an answer is Python that parses."""

import ast
import re
import warnings

_BOILERPLATE = re.compile(r"^\s*#\s*(import necessary packages|main function|all class and function definitions.*)\s*\n", re.M)


def code_item(source: str, row: dict) -> dict | None:
    """A ``codeio`` row as prompt and response, or None where its program does not parse or has no ``main_solution``."""
    program = re.sub(r"\n{3,}", "\n\n", _BOILERPLATE.sub("", row["code_sample"])).strip()
    signature = re.search(r"^def (main_solution\(.*\)).*:", program, re.M)
    if not signature or not parses(program):
        return None
    prompt = f"{row['task_description'].strip()}\n\nWrite Python code with a function {signature[1]}."
    return {"source": source, "domain": "code", "prompt": prompt, "response": program}


def human_eval_item(row: dict) -> dict:
    """A HumanEval task: the stub with its docstring is the prompt, the whole function without docstrings the response."""
    tree = ast.parse(row["prompt"] + row["canonical_solution"])
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return {
        "source": f"human-eval/{row['task_id'].rpartition('/')[2].zfill(3)}",
        "domain": "code",
        "prompt": f"Complete this Python function.\n\n{row['prompt'].strip()}",
        "response": ast.unparse(tree),
    }


def parses(program: str) -> bool:
    """Whether a text is Python with at least one statement that is more than a bare name or constant.

    One-word answers parse as expressions; they are not counted. A markdown fence around the program is ignored.
    """
    fenced = re.search(r"```(?:python)?\n(.*?)(?:```|\Z)", program, re.S)
    try:
        with warnings.catch_warnings(action="ignore"):  # "\d" in an ordinary string is a warning, not an error
            tree = ast.parse(fenced[1] if fenced else program)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Name | ast.Constant)) for node in tree.body)
