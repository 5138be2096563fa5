"""Where checkpoints come from that nobody wrote down: a name's prefix says which library has them.

A source is a module, imported when one of its names is asked for. It has a function `find`, from what follows the
prefix to a `Checkpoint`, and may have `names`, which lists what there is, for patterns.
"""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass

from bench.errors import BenchError
from bench.foreign.faults import blamed
from bench.foreign.state import undisturbed_by
from bench.records import Checkpoint
from bench.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A registered source of checkpoints."""

    name: str
    """The prefix: names are `PREFIX/REST`."""
    module: str
    """Has `find(rest) -> Checkpoint`; without torch at the top, so that names are looked at at once."""
    form: str
    """What names look like, for people."""
    extra: str = ""
    """The extra of rtbench that installs what it needs; empty where all is there."""

    def find(self, rest: str) -> Checkpoint:
        """The checkpoint of a name.

        Raises:
            BenchError: there is none, its library is not installed, or it does not say what must be known.
        """
        name = f"{self.name}/{rest}"
        try:
            with blamed(f"checkpoint {name!r} can't be looked up", BenchError), undisturbed_by(self.module):
                found: Checkpoint = importlib.import_module(self.module).find(rest)
        except BenchError as error:
            if self.extra and isinstance(error.__cause__, ImportError):
                raise self._not_installed(name, error.__cause__) from None
            raise
        return found

    def names(self) -> Iterable[str]:
        """What there is, with the prefix; nothing where the source can't tell."""
        listed = getattr(importlib.import_module(self.module), "names", tuple)
        return (f"{self.name}/{rest}" for rest in listed())

    def _not_installed(self, name: str, error: ImportError) -> BenchError:
        return BenchError(
            f"checkpoint {name!r} needs {error.name or 'a library'}, which is not installed: pip install "
            f"'rtbench[{self.extra}]'."
        )


sources: Registry[Source] = Registry("source")
