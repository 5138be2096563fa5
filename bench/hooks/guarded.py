"""Hooks that cannot harm a run."""

import warnings
from collections.abc import Callable, Mapping

from bench.errors import BenchError, BenchWarning
from bench.foreign.faults import fault, is_interrupt
from bench.foreign.state import undisturbed
from bench.hooks import Hook


class Guarded:
    """Several hooks, told one after another: one that raises is named in a warning, and told no more but the end.

    A server that is gone is given up at the first try: to try again for each score could take longer than the run.

    Args:
        hooks: by name.
    """

    def __init__(self, hooks: Mapping[str, Hook]) -> None:
        self._hooks = dict(hooks)
        self._started: dict[str, Hook] = {}

    def __bool__(self) -> bool:
        """Whether anybody is still listening."""
        return bool(self._hooks)

    def start(self, tell: Callable[[Hook], None]) -> None:
        """Tell all that the run begins; only those that took it are told its end."""
        self.tell(tell)
        self._started = dict(self._hooks)

    def tell(self, tell: Callable[[Hook], None]) -> None:
        """Call a method of each.

        Args:
            tell: calls it.
        """
        for name, hook in list(self._hooks.items()):
            failed = self._failed(tell, hook)
            if failed is not None:
                del self._hooks[name]
                warnings.warn(
                    f"the hook {name!r} failed, and is told no more; the run goes on: {failed}",
                    BenchWarning,
                    stacklevel=3,
                )

    def end(self, ok: bool) -> None:
        """Tell the end to all that know of the beginning; to one that failed, so that it can close what it opened."""
        failed = self._started.keys() - self._hooks.keys()
        self.tell(lambda hook: hook.ended(ok))
        for name in failed:
            self._failed(lambda hook: hook.ended(False), self._started[name])  # it was said that it does not work
        self._hooks, self._started = {}, {}

    @staticmethod
    def _failed(tell: Callable[[Hook], None], hook: Hook) -> str | None:
        """Tell one; what it raised, in words, where it did."""
        try:
            with undisturbed():
                tell(hook)
        except BaseException as error:  # also sys.exit(), which would end the run
            if is_interrupt(error):
                raise
            return str(error) if isinstance(error, BenchError) else fault(error)
        return None
