"""Everything that the command line can do, as functions that take and return records and data frames.

Before anything: `configure` gives settings, and registers a user's own file (`register_file`); `listing` shows what is
registered (`registered_by` such a file), `explain` says what a suite and its columns mean.

To measure: `select` gives suites and checkpoints (`select_suites` suites alone, `suites_here` those whose data are
here), `plan` a plan, of which `cost` and `forecast` say what it takes, and `carry_out` a result with boards; `run` is
both. `evaluate` does all of it with a model in memory. Under torchrun, all processes but the first `take_part`.

To look: `boards` are the scores that a store has, `measured_boards` those of all that was meant to be measured;
`table`, `summary`, `published`, `outcomes` and `curve` are made of them. `compare` is of two checkpoints,
`compare_pairs` of those that differ in SAM, `robust_line` of shifted against clean accuracy; `gate` says whether
anything got worse. Where a recipe was trained with several seeds, `by_recipe` and `compare_by_seed` take the training
as the unit.

To publish: `report` (a page), `plots`, `landscape` (its figures), `write_tables`, `publish`; `import_predictions` takes
in what others predicted.

To look after: `list_data`, `fetch_data`, `verify_data`; `list_store`, `verify_store`, `merge_stores`,
`remove_cells`; `list_cache`, `clear_cache`; `doctor`. To make: `train` checkpoints, carry out a `study`, `make_c` of
ImageNet, a suite's `images` for code that is not ours, and pictures that one can see: `corrupt`, `contact_sheet` (of
`select_corruptions`), `attack`.
"""

from bench.api.comparisons import (
    ComparedCheckpoints,
    ComparedPairs,
    ComparedRecipes,
    Recipes,
    RobustLine,
    by_recipe,
    compare,
    compare_by_seed,
    compare_pairs,
    robust_line,
)
from bench.api.configuration import configure, register_file, registered_by
from bench.api.data import PlacedDataset, fetch_data, import_predictions, list_data, verify_data
from bench.api.evaluating import evaluate
from bench.api.gating import gate
from bench.api.listings import explain, listing
from bench.api.making import attack, contact_sheet, corrupt, images, make_c, select_corruptions, train
from bench.api.reports import Published, landscape, plots, publish, report, write_tables
from bench.api.runs import RunResult, carry_out, cost, forecast, plan, run, take_part
from bench.api.scores import boards, curve, measured_boards, outcomes, published, summary, table
from bench.api.stores import (
    Removed,
    Verified,
    clear_cache,
    doctor,
    list_cache,
    list_store,
    merge_stores,
    remove_cells,
    verify_store,
)
from bench.api.studies import StudyResult, study
from bench.board.leaderboard import Board, Want
from bench.config import Config
from bench.datasets import Library
from bench.records import Settings
from bench.run.available import suites_here
from bench.run.choice import select, select_suites
from bench.run.plan import Plan
from bench.store import Store

__all__ = [
    "Board",
    "ComparedCheckpoints",
    "ComparedPairs",
    "ComparedRecipes",
    "Config",
    "Library",
    "PlacedDataset",
    "Plan",
    "Published",
    "Recipes",
    "Removed",
    "RobustLine",
    "RunResult",
    "Settings",
    "Store",
    "StudyResult",
    "Verified",
    "Want",
    "attack",
    "boards",
    "by_recipe",
    "carry_out",
    "clear_cache",
    "compare",
    "compare_by_seed",
    "compare_pairs",
    "configure",
    "contact_sheet",
    "corrupt",
    "cost",
    "curve",
    "doctor",
    "evaluate",
    "explain",
    "fetch_data",
    "forecast",
    "gate",
    "images",
    "import_predictions",
    "landscape",
    "list_cache",
    "list_data",
    "list_store",
    "listing",
    "make_c",
    "measured_boards",
    "merge_stores",
    "outcomes",
    "plan",
    "plots",
    "publish",
    "published",
    "register_file",
    "registered_by",
    "remove_cells",
    "report",
    "robust_line",
    "run",
    "select",
    "select_corruptions",
    "select_suites",
    "study",
    "suites_here",
    "summary",
    "table",
    "take_part",
    "train",
    "verify_data",
    "verify_store",
    "write_tables",
]
