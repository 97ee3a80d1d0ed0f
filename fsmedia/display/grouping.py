"""Cards in groups that fold: conversation, run, message; each group says what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from markupsafe import Markup

from fsmedia.display.markup import joined
from fsmedia.display.text import plural, size_text, visible
from fsmedia.errors import InvalidMediaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsmedia.models import MediaRecord

GroupBy = Literal["conversation", "run", "message"]


class Placed(NamedTuple):
    """A media's card and what places it."""

    record: MediaRecord
    family: str
    page: int
    html: Markup


def check_group(group_by: object) -> None:
    """Refuse a way of grouping that there is not."""
    if group_by is not None and group_by not in get_args(GroupBy):
        raise InvalidMediaError(
            f"unknown group_by {group_by!r}", next_step=f"use None or one of {', '.join(get_args(GroupBy))}"
        )


def ordered(records: list[MediaRecord], group_by: GroupBy | None) -> list[int]:
    """Return the places of the records in the order in which groups show them: groups as they first appear."""
    levels = _LEVELS[group_by]
    seen: dict[tuple[str, ...], int] = {}
    ranks = []
    for record in records:
        path = tuple(name(record) for name in levels)
        ranks.append(tuple(seen.setdefault(path[: depth + 1], len(seen)) for depth in range(len(path))))
    return sorted(range(len(records)), key=lambda index: ranks[index])


def grouped(cards: list[Placed], group_by: GroupBy | None) -> Markup:
    """Return cards in groups that fold, all open."""
    return _nested(cards, _LEVELS[group_by])


def _nested(cards: list[Placed], levels: tuple[Callable[[MediaRecord], str], ...]) -> Markup:
    if not levels:
        return Markup('<div class="fsm-grid">{}</div>').format(joined(each.html for each in cards))
    groups: dict[str, list[Placed]] = {}
    for each in cards:
        groups.setdefault(levels[0](each.record), []).append(each)
    inner = joined(_group(name, members, levels[1:]) for name, members in groups.items())
    return inner if len(levels) > 1 else Markup('<div class="fsm-row">{}</div>').format(inner)


def _group(name: str, members: list[Placed], inner: tuple[Callable[[MediaRecord], str], ...]) -> Markup:
    size = size_text(sum(each.record.size_bytes for each in members))
    return Markup(
        '<details class="fsm-group" open data-t="{}" data-p="{}"><summary>{}'
        '<span class="fsm-sum">{}, {}</span></summary>{}</details>'
    ).format(
        " ".join(sorted({each.family for each in members})),
        " ".join(str(page) for page in sorted({each.page for each in members})),
        name,
        plural(len(members), "media"),
        size,
        _nested(members, inner),
    )


def _conversation(record: MediaRecord) -> str:
    name = visible(record.conversation_id, most=300)
    return f"Conversation {name}" if name else "No conversation"


def _run(record: MediaRecord) -> str:
    name = visible(record.run_id, most=300)
    return f"Run {name}" if name else "No run"


def _message(record: MediaRecord) -> str:
    return f"Message {record.message_idx}"


_LEVELS: dict[str | None, tuple[Callable[[MediaRecord], str], ...]] = {
    None: (),
    "conversation": (_conversation, _message),
    "run": (_run, _message),
    "message": (_message,),
}
