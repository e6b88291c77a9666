"""The page docs/manifest.md, made from the schema, so that it cannot say anything else."""

from __future__ import annotations

from curate.query import VIEWS
from curate.schema import STATES, TABLES

_HEAD = """# The manifest

A dataset is a folder, or a prefix in an object store:

```
DATASET/tables/NAME/     one Delta table each: Parquet files, and a log that makes commits atomic and keeps versions
DATASET/payload/...      signals, previews, latents as plain Parquet; cut clips as video files; named in the rows
```

Ask it with `reelwright query DATASET "select ..."` (DuckDB), or open the tables with any reader of Delta Lake or of
Parquet. Besides the tables, `query` knows the views {views}.

Every source, scene and clip is in exactly one state: {states}. A score that could not be computed is null.
`status` is ok, failed or pending; a failed row has a kind and a message. `fingerprint` is a hash of all that determined
the row: a row whose fingerprint is what a run would write is not made again. Times are exact in `pts`, in units of the
time base; spans are half open; seconds are for people.

This page is printed by `reelwright schema --markdown`.
"""


def schema_page() -> str:
    """Markdown: what a dataset is, then a section per table."""
    views = ", ".join(f"`{name}`" for name in VIEWS)
    parts = [_HEAD.format(views=views, states=", ".join(f"`{state}`" for state in STATES))]
    for table in TABLES.values():
        key = ", ".join(f"`{name}`" for name in table.key)
        parts.append(f"## {table.name}\n\n{table.doc} Key: {key}.\n\n| column | type | |\n|---|---|---|")
        for column in table.columns:
            nullable = "" if column.nullable else ", never null"
            parts.append(f"| `{column.name}` | {column.type}{nullable} | {column.doc} |")
        parts.append("")
    return "\n".join(parts)
