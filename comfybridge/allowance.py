"""How many jobs each user may have in the making at once, as far as this process knows."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from comfybridge.errors import InvalidInput, TimedOut


class Allowance:
    """Counts jobs by user: calls that wait, and jobs that went on when their call had ended."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._left: dict[str, set[tuple[str, ...]]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def place(
        self, user: str, most: int | None, is_underway: Callable[[tuple[str, ...]], bool]
    ) -> Iterator[Callable[[Iterable[str]], None]]:
        """Hold one of the user's places until the block ends.

        Gives the way to leave the call's job behind, by its ``prompt_id``s: it keeps the place until ``is_underway``
        denies it, which is asked only where a call would have no place otherwise. A job whose call timed out is left
        behind too.

        Raises:
            InvalidInput: the user has as many jobs as allowed.
        """
        if most is None:
            yield lambda _prompt_ids: None
            return
        self._take(user, most, is_underway)
        try:
            yield lambda prompt_ids: self._leave(user, prompt_ids)
        except TimedOut as exc:
            if exc.prompt_id:
                self._leave(user, (exc.prompt_id,))
            raise
        finally:
            with self._lock:
                self._calls[user] -= 1
                self._calls += Counter()  # drops the zeros

    def _take(self, user: str, most: int, is_underway: Callable[[tuple[str, ...]], bool]) -> None:
        with self._lock:
            left = tuple(self._left.get(user, ()))
            if left and self._calls[user] + len(left) < most:
                left = ()
        # It asks servers: nobody else shall wait for that.
        ended = {job for job in left if not is_underway(job)}
        with self._lock:
            kept = self._left.get(user, set()) - ended
            if kept:
                self._left[user] = kept
            else:
                self._left.pop(user, None)
            held = self._calls[user] + len(kept)
            if held < most:
                self._calls[user] += 1
                return
        jobs = "1 job" if held == 1 else f"{held} jobs"
        raise InvalidInput(
            f"You already have {jobs} in the making: wait for one of them to finish, then try again.",
            f"你已有 {held} 个任务正在进行：请等待其中一个完成后再试。",
        )

    def _leave(self, user: str, prompt_ids: Iterable[str]) -> None:
        with self._lock:
            self._left.setdefault(user, set()).add(tuple(prompt_ids))
