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
Parquet. Rows meet by these ids, and a clip's id is the same on every run and machine:

```
sources ──video_id──▶ videos ──video_id──▶ scenes ──scene_id──▶ clips
                                        clips ──clip_id──▶ decisions, scores, captions, media, latents
```

Besides the tables, `query` knows these views:

| view | a row is |
|---|---|
{views}

Every source, scene and clip is in exactly one state: {states}. A score that could not be computed is null.
`status` is ok, failed or pending; a failed row has a kind and a message. `fingerprint` is a hash of all that determined
the row: a row whose fingerprint is what a run would write is not made again. Times are exact in `pts`, in units of the
time base; spans are half open; seconds are for people.

This page is printed by `reelwright schema --markdown`.

## Ten questions

`reelwright query dataset "..."` prints a table; `--format csv`, `json` or `parquet` is for programs, and `--as-of RUN`
asks the tables as they were when a run ended.

"""

_VIEW_DOCS = {
    "kept": "a kept clip: all of `scored_clips`, the split, and of its source uri, codec, licence, title and text",
    "all_clips": "any clip: the same, with its state and reason",
    "scored_clips": "any clip: the columns of `clips`, and one for each score of your own",
    "source_states": "an input, with its state and reason",
    "scene_states": "a scene, likewise",
    "clip_states": "a clip, likewise",
}

_QUESTIONS = {
    "Where did the hours go?": """
select state, reason, count(*) as clips, round(sum(duration_s) / 3600, 2) as hours
from clip_states group by all order by clips desc""",
    "Which inputs gave nothing, and why?": """
select uri, state, reason from source_states where state <> 'kept' order by state, uri""",
    "How is a score spread, among all clips and among those that are kept?": """
select state, quantile_cont(motion, [0.05, 0.25, 0.5, 0.75, 0.95]) as motion
from all_clips group by state""",
    "Which clips did a rule only just reject?": """
select clip_id, reason, round(score, 4) as score, threshold
from decisions where state = 'filtered' order by abs(score - threshold) limit 20""",
    "What is in the training split, by licence, shape and camera?": """
select license, case when aspect > 1 then 'landscape' else 'portrait' end as shape, camera_motion,
       count(*) as clips, round(sum(duration_s)) as seconds
from kept where split = 'train' group by all order by seconds desc""",
    "Which kept clips have no accepted descriptive caption yet?": """
select clip_id, uri from kept
where clip_id not in (select clip_id from captions where kind = 'descriptive' and status = 'ok')""",
    "How do captioners compare?": """
select captioner, kind, count(*) as captions, avg((status = 'ok')::int) as accepted,
       avg(num_words) filter (status = 'ok') as words, count(distinct text) as distinct_texts,
       median(alignment_margin) as margin
from captions group by all order by captioner, kind""",
    "Which clips speak of something?": """
select clips.uri, clips.start_s, captions.text
from captions join kept as clips using (clip_id)
where captions.status = 'ok' and captions.text ilike '%triangle%'""",
    "What kinds of files are there, and which are unusual?": """
select container, codec, bit_depth, is_vfr, is_interlaced, rotation_deg, count(*) as videos,
       round(sum(duration_s) / 3600, 2) as hours, round(sum(size_bytes) / 1e9, 3) as gb
from videos where status = 'ok' group by all order by hours desc""",
    "What was done to this dataset, and how long did it take?": """
select run_id, verb, version, finished - started as took from runs order by run_id desc limit 20""",
}

_ELSEWHERE = """## From Python, and without Reelwright

```python
from curate.query import query
from curate.tables import Dataset

table = query(Dataset("dataset"), "select uri, start_s, end_s from kept order by motion desc limit 10")
rows = table.to_pylist()  # from a pyarrow.Table
```

Any library for Delta Lake reads the tables, each version of them. A plain reader of Parquet would read the files of old
versions, too, so export first: `reelwright export DATASET clips.parquet` writes one wide row per kept clip.

```python
from deltalake import DeltaTable

clips = DeltaTable("dataset/tables/clips").to_pyarrow_table(columns=["clip_id", "motion"])
```
"""


def schema_page() -> str:
    """Markdown: what a dataset is, questions to it, then a section per table."""
    views = "\n".join(f"| `{name}` | {_VIEW_DOCS[name]} |" for name in VIEWS)
    parts = [_HEAD.format(views=views, states=", ".join(f"`{state}`" for state in STATES)).rstrip() + "\n"]
    parts += [f"{question}\n\n```sql{sql}\n```\n" for question, sql in _QUESTIONS.items()]
    parts.append(_ELSEWHERE)
    for table in TABLES.values():
        key = ", ".join(f"`{name}`" for name in table.key)
        parts.append(f"## {table.name}\n\n{table.doc} Key: {key}.\n\n| column | type | |\n|---|---|---|")
        for column in table.columns:
            nullable = "" if column.nullable else ", never null"
            parts.append(f"| `{column.name}` | {column.type}{nullable} | {column.doc} |")
        parts.append("")
    return "\n".join(parts)
