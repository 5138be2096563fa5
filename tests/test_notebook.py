"""The notebook runs from its first cell to its last, and what it shows is what it was committed with."""

import ast
import base64
import json
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest

NOTEBOOK = json.loads((Path(__file__).parents[1] / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
LARGEST = 100_000  # bytes of a picture


@pytest.mark.slow
def test_every_cell_runs(tmp_path, monkeypatch):
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CONFIG", "")
    shown = {}
    for number, cell in enumerate(CODE):
        body = ast.parse("".join(cell["source"]), f"cell {number}").body
        last = ast.Expression(body.pop().value) if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), f"cell {number}", "exec"), shown)
        if last is not None:
            shown["_"] = eval(compile(last, f"cell {number}", "eval"), shown)
    plt.close("all")
    assert set(shown["compared"]["suite"]) == {"digits-c"}
    assert [checkpoint.name for checkpoint in shown["board"].ranking] == ["noisy", "plain"]
    assert shown["board"].complete
    assert len(shown["axes"].patches) == 2 * 15


def test_it_is_committed_as_it_ran():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    outputs = [output for cell in CODE for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" for output in outputs)
    pictures = [
        base64.b64decode(output["data"]["image/png"]) for output in outputs if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 1
    assert all(len(picture) < LARGEST for picture in pictures)
    assert sum("text/html" in output.get("data", {}) for output in outputs) == 3
