"""What the Hugging Face hub shows of published tables: results of a model, and a leaderboard as a static Space.

Nothing here is uploaded: `hf upload` is for that, with whose rights it may be done.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.datasets import datasets
from bench.errors import BenchError
from bench.suite import Suite

SPACE = "space"
"""The folder of the Space, below the published one."""


def dataset_of(suite: Suite) -> str:
    """The data set of the hub, OWNER/NAME, that a suite's headline is of; empty where it is of several, or of none."""
    names = {condition.data.dataset for condition in suite.headline.conditions}
    return "" if len(names) > 1 or not names <= {d.name for d in datasets} else datasets.get(*names).hub


def eval_results(name: str, headline: pd.DataFrame, meta: Mapping[str, Any]) -> bytes:
    """`.eval_results/NAME.yaml` for a model's repository, as https://huggingface.co/docs/hub/eval-results has it.

    Args:
        name: of the table: the task among those of the data set.
        headline: the one row of a checkpoint's headline score; its value is a fraction, as in the CSV.
        meta: what is known of the table, `hub` too.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]

    [row] = headline.to_dict("records")
    entry = EvalResultEntry(
        dataset_id=str(meta["hub"]),
        task_id=name,
        value=float(row["value"]),
        date=meta.get("measured", {}).get("last"),
        source_url=str(meta["source"]) if meta.get("source") else None,
        source_name=f"rtbench {meta['rtbench']}" if meta.get("source") else None,
        notes=f"{row['score']}, {row['protocol']}",
    )
    return str(yaml_dump(eval_result_entries_to_yaml([entry]), line_break="\n")).encode()


def check_space(space: str) -> None:
    """Refuse what cannot be the name of a Space.

    Raises:
        BenchError: it is not OWNER/NAME.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    with contextlib.suppress(HFValidationError):
        validate_repo_id(space)
        if "/" in space:
            return
    raise BenchError(
        f"--space wants OWNER/NAME of a Space on the hub, not {space!r}: two words of letters, digits, -, _ and dots."
    )


def space_head(space: str) -> str:
    """The head of a Space's README, where none was written yet: what the hub reads, and a title.

    Args:
        space: OWNER/NAME.
    """
    from huggingface_hub import SpaceCardData

    title = space.partition("/")[2]
    card = SpaceCardData(title=title, sdk="static", app_file="index.html", pinned=False, tags=["leaderboard"])
    return f"---\n{card.to_yaml(line_break=chr(10))}\n---\n\n# {title}\n"
