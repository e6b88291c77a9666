"""SQL over the current, or any earlier, versions of the tables, by DuckDB.

    with connect(dataset) as db:
        db.sql("select reason, count(*) from decisions group by all").fetchall()

Besides the tables there are views: `scored_clips`, the table `clips` with a column per score of the user's own;
`all_clips` and `kept`, one wide row per clip or kept clip; and `source_states`, `scene_states` and `clip_states`, which
give every source, scene and clip its one state and reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from curate.errors import UsageError
from curate.schema import TABLES
from curate.tables import Dataset

VIEWS = ("kept", "all_clips", "scored_clips", "source_states", "scene_states", "clip_states")

_VIEWS = """
create view all_clips as
select clips.* exclude (fingerprint, run_id),
       coalesce(decisions.state, 'pending') as state, decisions.reason, decisions.split,
       videos.uri, videos.codec, videos.is_vfr, videos.bit_depth, videos.rotation_deg,
       sources.license, sources.title, sources.original_caption
from scored_clips as clips
left join decisions using (clip_id)
join videos on videos.video_id = clips.video_id
left join sources on sources.uri = videos.uri;

create view kept as select * exclude (state, reason) from all_clips where state = 'kept';

create view clip_states as
select clip_id, scene_id, clips.video_id, coalesce(state, 'pending') as state,
       case when state is null then 'decide' else reason end as reason, duration_s
from clips left join decisions using (clip_id);

create view scene_states as
with clips_of as (select scene_id, list(state) as states, mode(reason) as reason from clip_states group by scene_id)
select scene_id, video_id, end_s - start_s as duration_s,
       case when num_clips = 0 then 'filtered' else coalesce(state_of_whole(states), 'pending') end as state,
       case when num_clips = 0 then scenes.reason
            when not list_contains(states, 'kept') then clips_of.reason end as reason
from scenes left join clips_of using (scene_id);

create view source_states as
with scenes_of as (select video_id, list(state) as states, mode(reason) as reason from scene_states group by video_id)
select sources.uri, sources.video_id, duration_s,
       case when sources.status <> 'ok' then sources.status
            when duplicate_of is not null then 'duplicate'
            else coalesce(state_of_whole(states), 'pending') end as state,
       case when sources.status = 'failed' then sources.error_kind
            when sources.status = 'pending' then 'scan'
            when duplicate_of is not null then duplicate_of
            when states is null then 'split'
            when not list_contains(states, 'kept') then scenes_of.reason end as reason
from sources
left join videos using (video_id)
left join scenes_of on scenes_of.video_id = sources.video_id;
"""

_MACROS = """
-- The state of a whole from those of its parts: kept when a part is, pending while a part is, else what most say.
create macro state_of_whole(states) as
    case when list_contains(states, 'kept') then 'kept'
         when list_contains(states, 'pending') then 'pending'
         else list_aggregate(states, 'mode') end;
"""


@contextmanager
def connect(dataset: Dataset, versions: Mapping[str, int] | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection in which every table is a view; `versions` opens tables as they were.

    A table that `versions` does not name was not there then, and is empty.
    """
    with duckdb.connect() as db:
        db.execute("set enable_progress_bar = false")
        for name in TABLES:
            absent = versions is not None and name not in versions
            version = versions.get(name) if versions is not None else None
            db.register(
                name, TABLES[name].arrow.empty_table() if absent else dataset.arrow_dataset(name, version=version)
            )
        db.execute(_MACROS + _scored_clips(own_score_names(db)) + _VIEWS)
        yield db


def own_score_names(db: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of the scores of the user's own, in order."""
    return [row[0] for row in db.sql("select distinct name from scores order by name").fetchall()]


def _scored_clips(own: Sequence[str]) -> str:
    if not own:
        return "create view scored_clips as select * from clips;"
    columns = ", ".join(f"any_value(value) filter (name = '{name}') as \"{name}\"" for name in own)
    return f"""
        create view scored_clips as select * from clips
        left join (select clip_id, {columns} from scores where status = 'ok' group by clip_id) using (clip_id);
    """


def query(dataset: Dataset, sql: str, versions: Mapping[str, int] | None = None) -> pa.Table:
    """The answer to one SQL statement. Raises UsageError with DuckDB's own explanation when it is wrong."""
    with connect(dataset, versions) as db:
        try:
            relation = db.sql(sql)
            return relation.to_arrow_table() if relation is not None else pa.table({})
        except duckdb.Error as error:
            names = ", ".join((*TABLES, *VIEWS))
            raise UsageError(f"the query cannot be answered: {error}\nTables and views: {names}") from None
