"""What goes over the wire: shapes read off the records, pages of them, and the one form of an error."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.responses import Response

from tracewatch.records import Column, Record, as_dict, columns
from tracewatch.stores.base import Page


class Refusal(BaseModel):
    """Why not, in one sentence."""

    error: str


Answers = dict[int | str, dict[str, Any]]

REFUSALS: Answers = {
    400: {"model": Refusal, "description": "What was asked cannot be read; the sentence says why."},
    401: {"model": Refusal, "description": "No key, or one that opens nothing."},
    403: {"model": Refusal, "description": "The key has no right to this, or is of another project."},
    422: {"model": Refusal, "description": "A parameter or the body is not of its type."},
    503: {"model": Refusal, "description": "The database does not answer; ask again."},
}
"""Answers that every route may give."""

MISSING: Answers = {404: {"model": Refusal, "description": "There is none such, or it is not yours."}}

_TYPES: Mapping[str, Any] = {
    "text": str, "integer": int, "real": float, "boolean": bool, "time": str, "json": dict[str, Any],
    "list": list[str], "bytes": str,
}  # fmt: skip


@cache
def shape(record_type: type[Record], without: frozenset[str] = frozenset()) -> type[BaseModel]:
    """The shape of a record as `as_dict` gives it."""
    fields: dict[str, Any] = {each.name: _field(each) for each in columns(record_type) if each.name not in without}
    model: type[BaseModel] = create_model(record_type.__name__, __doc__=record_type.__doc__, **fields)
    return model


@cache
def page_of(item: type[BaseModel]) -> type[BaseModel]:
    """The shape of a page: its items, and the cursor of the next one."""
    of_items: Any = list[item]  # type: ignore[valid-type]
    cursor = Field(description="Give it as `cursor` to get the next page; null: there is none.")
    model: type[BaseModel] = create_model(
        f"PageOf{item.__name__}",
        __config__=ConfigDict(title=f"A page of {item.__name__}"),
        data=(of_items, ...),
        next=(Annotated[str | None, cursor], ...),
    )
    return model


def paged(page: Page, without: Collection[str] = ()) -> Response:
    """A page of records as JSON."""
    return told({"data": plain(page.records, without), "next": page.next})


def plain(records: Iterable[Record], without: Collection[str] = ()) -> list[dict[str, Any]]:
    """Records as JSON has them."""
    told = map(as_dict, records)
    if not without:
        return list(told)
    return [{name: value for name, value in each.items() if name not in without} for each in told]


def told(value: Any, status: int = 200) -> Response:
    """A value as JSON. Numbers that JSON does not have, which a sender may have put into an object, are null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode(errors="replace"), status, media_type="application/json")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _field(each: Column) -> tuple[Any, Any]:
    kind = _TYPES[each.kind]
    described = each.help + (f" Unit: {each.unit}." if each.unit else "")
    extra: dict[str, Any] = {"format": "date-time"} if each.kind == "time" else {}
    if each.choices and each.required:
        extra["enum"] = list(each.choices)
    return (kind if each.required else kind | None), Field(
        description=described, json_schema_extra=extra or None, title=each.label
    )
