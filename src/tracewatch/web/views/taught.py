"""What dismissals taught, as far as somebody may see it."""

from __future__ import annotations

from tracewatch.access import Caller
from tracewatch.records import Lesson
from tracewatch.stores.base import Filter, Store
from tracewatch.teaching import lessons_of


def counting(store: Store, caller: Caller) -> list[Lesson]:
    """The lessons that count now."""
    return [each for each in lessons_of(store, caller.project) if each.until is None and may_see(caller, each)]


def listed(
    store: Store, caller: Caller, *, only_counting: bool, limit: int, cursor: str | None
) -> tuple[list[Lesson], str | None]:
    """Lessons by pages, the newest first, and where the next page begins."""
    where = [Filter("project", "=", (caller.project,))]
    where += [Filter("until", "=", (None,))] if only_counting else []
    page = store.page(Lesson, where, limit=limit, cursor=cursor)
    return [each for each in page.records if isinstance(each, Lesson) and may_see(caller, each)], page.next


def may_see(caller: Caller, lesson: Lesson) -> bool:
    """A key of one user shows what is about that user alone."""
    return caller.user_id in (None, (lesson.slice or {}).get("user_id"))
