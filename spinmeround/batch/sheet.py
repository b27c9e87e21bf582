"""The contact sheet of a batch: one page that sorts and filters its heads, with their previews as files beside it."""

from __future__ import annotations

import heapq
import importlib.resources
import json
from typing import Any

from spinmeround.batch.head import Row
from spinmeround.batch.ledger import Ledger
from spinmeround.batch.stores import Store

MOST_HEADS = 20_000
"""On one page: 5 MB of it. Of more heads the page shows the failed and the poorest, and says so."""


def write_sheet(store: Store, ledger: Ledger) -> None:
    """Write the page of a batch beside its table."""
    total = len(ledger)
    chosen = heapq.nsmallest(MOST_HEADS, ledger.rows(), key=_worst_first)
    page = importlib.resources.files("spinmeround.batch").joinpath("sheet.html").read_text(encoding="utf-8")
    data = json.dumps({"total": total, "heads": list(map(_shown, chosen))}, ensure_ascii=False, separators=(",", ":"))
    with store.replacing(f"{ledger.name}.html") as unfinished, unfinished.open("w", encoding="utf-8") as file:
        before, after = page.split("/*DATA*/")
        file.writelines((before, data.replace("<", "\\u003c"), after))  # no name may end the script it stands in


def _worst_first(row: Row) -> tuple[bool, float, str]:
    return row.state == "done", -1.0 if row.quality is None else row.quality, row.head


def _shown(row: Row) -> list[Any]:
    """Return what the page shows of a head, in the order its script reads it."""
    failed = f"{row.error_kind}: {row.error}"
    said = "; ".join(row.reasons) if row.state == "done" else failed
    return [row.head, row.verdict or "failed", row.quality, round(row.seconds, 1), row.finished, said, row.files]
