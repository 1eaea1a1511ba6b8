"""An answer of a store's database as a DataFrame, within bounds of size and time: what a stranger's tables say may multiply.

DuckDB's memory_limit holds for what a query works with, not for the answer, which it hands over piece by piece.
"""

import threading
from typing import Any

import duckdb
import pandas as pd

from store.errors import UserError

VECTORS = 128
"""Of 2,048 rows each, taken at once; nearly every answer is one piece."""
MOST_ROWS = 20_000_000
MOST_BYTES = 4_000_000_000


def frame(
    cursor: duckdb.DuckDBPyConnection, query: str, parameters: list[Any] | dict[str, Any] | None, seconds: float | None
) -> pd.DataFrame:
    """Run a query.

    Args:
        seconds: after which it is given up; None: never.

    Raises:
        UserError: its answer is too large, or takes too long.
        duckdb.Error: it is wrong.
    """
    timer = threading.Timer(seconds, cursor.interrupt) if seconds else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        return _fetched(cursor.execute(query, parameters))
    except duckdb.InterruptException as error:
        raise UserError(
            f"The store's database took more than {seconds:g} seconds to answer; check it with 'python -m extract verify', and "
            "do not trust this copy if that finds fault."
        ) from error
    finally:
        if timer:
            timer.cancel()


def _fetched(result: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    pieces, rows, size = [result.fetch_df_chunk(VECTORS)], 0, 0
    while len(pieces[-1]) == VECTORS * 2048:
        rows += len(pieces[-1])
        size += int(pieces[-1].memory_usage(deep=True).sum())
        if rows > MOST_ROWS or size > MOST_BYTES:
            raise UserError(
                f"An answer of the store's database has more than {rows:,} rows or {size / 1e9:.1f} GB; ask for less of it, "
                "and check the store with 'python -m extract verify' if a page asked."
            )
        pieces.append(result.fetch_df_chunk(VECTORS))
    return pieces[0] if len(pieces) == 1 else pd.concat(pieces, ignore_index=True)
