"""The curation stages over a whole dataset: plan, run the stage function for what is due, commit as results arrive.

    scan ──▶ sources, videos   split ──▶ scenes, clips   score ──▶ scores   decide ──▶ decisions   cut ──▶ media

Every stage can be killed at any moment and run again: what was committed is not done again, and what was in flight is.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from curate.cut import cut_clip
from curate.decide import decide as decide_all
from curate.errors import UsageError, VideoError
from curate.own_scores import failed_scores, plan_scores, score_video, videos_to_score
from curate.plan import ScanPlan, known_sources, plan_scan, scanned_row
from curate.query import connect
from curate.scan import Scanned, scan_source
from curate.schema import TABLES
from curate.sources import Listing, list_sources
from curate.split import SplitVideo, split_video
from curate.tables import Dataset
from pipelines.engine import Engine, Raised
from pipelines.progress import StageReport, stage
from pipelines.run import Run
from pipelines.settings import Settings

T = TypeVar("T")

_COMMIT_ROWS = 256
_COMMIT_S = 5.0


def curate(
    inputs: Sequence[str],
    dataset: Dataset,
    settings: Settings,
    run: Run,
    engine: Engine,
    *,
    retry: bool = False,
    quiet: bool = False,
) -> pa.Table:
    """Scan, split, score and decide in one go; returns the funnel. See the stages below."""
    settings.score.revisions()  # a function that is not there is found now, not after the scan
    scan(inputs, dataset, settings, run, engine, retry=retry, quiet=quiet)
    split(dataset, settings, run, engine, quiet=quiet)
    if settings.score.functions:
        score(dataset, settings, run, engine, retry=retry, quiet=quiet)
    return decide(dataset, settings, run, quiet=quiet)


def plan(
    inputs: Sequence[str], dataset: Dataset, settings: Settings, run_id: str, *, retry: bool = False
) -> tuple[ScanPlan, Listing]:
    """What a scan of the inputs would do. Without inputs, the sources that the dataset knows are looked at again."""
    known = known_sources(dataset)
    if not inputs and not known:
        raise UsageError(f"{dataset.uri}: no sources yet; name files, folders, addresses or lists of them")
    listing = list_sources(list(inputs) or sorted(known), settings.scan.fetch)
    found = plan_scan(listing.sources, known, settings.scan, run_id=run_id, inputs=inputs, retry=retry)
    return found, listing


def scan(
    inputs: Sequence[str],
    dataset: Dataset,
    settings: Settings,
    run: Run,
    engine: Engine,
    *,
    retry: bool = False,
    quiet: bool = False,
) -> StageReport:
    """Read and measure every source that is due. Tables: sources, videos."""
    planned, listing = plan(inputs, dataset, settings, run.run_id, retry=retry)
    report = _report(run, "scan", total=len(planned.to_scan), unchanged=planned.unchanged)
    _commit_sources(dataset, planned.rows, run.run_id)
    decoded = 0

    def commit(outcomes: list[tuple[str, Scanned]]) -> None:
        videos = {
            scanned.video["video_id"]: {**scanned.video, "run_id": run.run_id}
            for _, scanned in outcomes
            if scanned.video is not None
        }
        dataset.replace_rows("videos", list(videos), list(videos.values()))
        rows = [scanned_row(planned.to_scan[uri], scanned) for uri, scanned in outcomes]
        _commit_sources(dataset, rows, run.run_id)

    with stage(report, quiet=quiet) as advance:
        scan_one = partial(scan_source, root=dataset.uri, config=settings.scan)
        for batch in _batches(engine.run(scan_one, list(planned.to_scan))):
            outcomes = [(uri, _scanned(uri, outcome)) for uri, outcome in batch]
            for _, scanned in outcomes:
                decoded += scanned.decoded
                failed = scanned.video is None or scanned.video["status"] != "ok"
                report.done += not failed
                if failed and scanned.error is not None:
                    report.failed[scanned.error.kind] += 1
                advance()
            commit(outcomes)
        for row in planned.rows:
            if row["uri"] not in planned.to_scan and row["status"] == "failed":
                report.failed[row["error_kind"]] += 1
        report.numbers["decoded"] = decoded
        if listing.skipped:
            report.numbers["passed over by name"] = sum(listing.skipped.values())
        _name_videos(dataset)
        dataset.compact("sources")
        dataset.compact("videos")
    return report


def split(dataset: Dataset, settings: Settings, run: Run, engine: Engine, *, quiet: bool = False) -> StageReport:
    """Divide every video that is due into scenes and clips. Tables: scenes, clips."""
    due, unchanged, gone = split_plan(dataset, settings)
    report = _report(run, "split", total=len(due), unchanged=unchanged)
    with stage(report, quiet=quiet) as advance:
        _forget_split(dataset, gone)
        dataset.replace_rows("clips", gone, [])
        again = {row["video_id"] for row in due if row.pop("was_split")}
        split_one = partial(split_video, root=dataset.uri, config=settings.split)
        scenes = clips = 0
        lost: dict[str, Raised] = {}
        for batch in _batches(engine.run(split_one, due, light=True)):
            done: list[SplitVideo] = []
            for video, outcome in batch:
                if isinstance(outcome, Raised):
                    lost[video["video_id"]] = outcome
                else:
                    done.append(outcome)
                advance()
            ids = [found.video_id for found in done]
            _forget_split(dataset, again.intersection(ids))
            # Scenes come last: a video whose scenes are there is done.
            dataset.replace_rows("clips", ids, _with_run((row for found in done for row in found.clips), run))
            dataset.replace_rows("scenes", ids, _with_run((row for found in done for row in found.scenes), run))
            report.done += len(done)
            scenes += sum(len(found.scenes) for found in done)
            clips += sum(len(found.clips) for found in done)
        _mark_failed(dataset, lost, run)
        report.failed.update(raised.kind for raised in lost.values())
        report.numbers |= {"scenes": scenes, "clips": clips}
        dataset.compact("scenes")
        dataset.compact("clips")
    return report


def split_plan(dataset: Dataset, settings: Settings) -> tuple[list[dict[str, Any]], int, list[str]]:
    """Videos to be split, the number of those that are up to date, and videos whose rows no source names any more."""
    with connect(dataset) as db:
        videos = db.sql("""
            select video_id, signals_path, start_pts, end_pts, time_base_num, time_base_den, width_px, height_px,
                   work_width_px, work_height_px, num_frames, bitrate_bps, fps, fingerprint,
                   (select any_value(s.fingerprint) from scenes s where s.video_id = v.video_id) as split_fingerprint
            from videos v
            where status = 'ok' and video_id in (select video_id from sources) order by video_id
        """).to_arrow_table()
        gone = db.sql("""
            select distinct video_id from (select video_id from scenes union select video_id from clips)
            where video_id not in (
                select video_id from videos where status = 'ok' and video_id in (select video_id from sources)
            ) order by all
        """).fetchall()
    rows = videos.to_pylist()
    due = []
    for row in rows:
        made_by = row.pop("split_fingerprint")
        if made_by != settings.split.fingerprint(row["fingerprint"]):
            due.append({**row, "was_split": made_by is not None})
    return due, len(rows) - len(due), [row[0] for row in gone]


def _forget_split(dataset: Dataset, video_ids: Iterable[str]) -> None:
    """Before clips change, what is about them goes: a job that is killed in between leaves them pending."""
    dataset.replace_rows("decisions", video_ids, [])
    dataset.replace_rows("scenes", video_ids, [])


def score(
    dataset: Dataset, settings: Settings, run: Run, engine: Engine, *, retry: bool = False, quiet: bool = False
) -> StageReport:
    """Call the user's own functions for every clip that is due. Table: scores."""
    due, unchanged = plan_scores(dataset, settings.score, retry=retry)
    report = _report(run, "score", total=len(due), unchanged=unchanged)
    with stage(report, quiet=quiet) as advance:
        score_one = partial(score_video, root=dataset.uri)
        done = itertools.chain.from_iterable(engine.run(score_one, part) for part in videos_to_score(dataset, due))
        for batch in _batches(done):
            rows = []
            for item, outcome in batch:
                if isinstance(outcome, Raised):
                    found = failed_scores(item, outcome.kind, outcome.message)
                else:
                    found = outcome
                report.failed.update(row["error_kind"] for row in found if row["status"] == "failed")
                report.done += sum(row["status"] == "ok" for row in found)
                rows += found
                advance()
            dataset.replace_rows("scores", [row["score_id"] for row in rows], _with_run(rows, run))
        dataset.compact("scores")
    return report


def decide(dataset: Dataset, settings: Settings, run: Run, *, quiet: bool = False) -> pa.Table:
    """Apply the rules to all clips; returns the funnel. Table: decisions."""
    report = _report(run, "decide")
    with stage(report, quiet=quiet):
        funnel = decide_all(dataset, settings.decide, run_id=run.run_id)
        report.total = report.done = sum(funnel.column("clips").to_pylist())
        kept = [row for row in funnel.to_pylist() if row["state"] == "kept"]
        report.numbers["kept"] = sum(row["clips"] for row in kept)
    return funnel


def cut(
    dataset: Dataset, settings: Settings, run: Run, engine: Engine, *, retry: bool = False, quiet: bool = False
) -> StageReport:
    """Cut every kept clip that is due, and forget the files of clips that are kept no more. Table: media."""
    if settings.cut.mode == "reencode":
        settings.cut.encoding.encoder()  # a missing encoder is found now, not at the first clip
    due, unchanged, gone = cut_plan(dataset, settings, retry=retry)
    report = _report(run, "cut", total=len(due), unchanged=unchanged)
    with stage(report, quiet=quiet) as advance:
        dataset.replace_rows("media", gone, [])
        cut_one = partial(cut_clip, root=dataset.uri, config=settings.cut)
        for batch in _batches(engine.run(cut_one, due, light=settings.cut.mode == "virtual")):
            rows = []
            for clip, outcome in batch:
                row = _failed_cut(clip, outcome, settings) if isinstance(outcome, Raised) else outcome
                rows.append({**row, "run_id": run.run_id})
                report.done += row["status"] == "ok"
                if row["status"] == "failed":
                    report.failed[row["error_kind"]] += 1
                advance()
            dataset.replace_rows("media", [row["clip_id"] for row in rows], rows)
        dataset.compact("media")
    return report


def cut_plan(
    dataset: Dataset, settings: Settings, *, retry: bool = False
) -> tuple[list[dict[str, Any]], int, list[str]]:
    """Clips to be cut, the number of those that are up to date, and clips with media that are kept no more."""
    with connect(dataset) as db:
        clips = db.sql("""
            select k.clip_id, k.video_id, k.uri, k.start_pts, k.end_pts, k.time_base_num, k.time_base_den,
                   k.num_frames, k.fps, k.width_px, k.height_px, k.codec,
                   k.content_x_px, k.content_y_px, k.content_width_px, k.content_height_px,
                   m.fingerprint as cut_fingerprint, m.status as cut_status
            from kept k left join media m using (clip_id) order by k.video_id, k.start_pts
        """).to_arrow_table()
        gone = db.sql("select clip_id from media where clip_id not in (select clip_id from kept)").fetchall()
    rows = clips.to_pylist()
    due = []
    for row in rows:
        fingerprint, status = row.pop("cut_fingerprint"), row.pop("cut_status")
        if fingerprint != settings.cut.fingerprint or (retry and status == "failed"):
            due.append(row)
    return due, len(rows) - len(due), [row[0] for row in gone]


def _report(run: Run, name: str, *, total: int = 0, unchanged: int = 0) -> StageReport:
    run.begin()
    report = StageReport(name, total=total, unchanged=unchanged)
    run.reports.append(report)
    return report


def _scanned(uri: str, outcome: Scanned | Raised) -> Scanned:
    if not isinstance(outcome, Raised):
        return outcome
    return Scanned(uri, None, None, VideoError(outcome.kind, f"{uri}: {outcome.message}"), False)


def _failed_cut(clip: Mapping[str, Any], raised: Raised, settings: Settings) -> dict[str, Any]:
    return {
        "clip_id": clip["clip_id"],
        "video_id": clip["video_id"],
        "mode": settings.cut.mode,
        "status": "failed",
        "error_kind": raised.kind,
        "error": f"{clip['uri']}: {raised.message}",
        "fingerprint": settings.cut.fingerprint,
    }


def _with_run(rows: Iterable[Mapping[str, Any]], run: Run) -> list[dict[str, Any]]:
    return [{**row, "run_id": run.run_id} for row in rows]


def _batches(results: Iterator[T]) -> Iterator[list[T]]:
    """Group results for commits: a batch when there are enough of them, or when enough time has passed."""
    batch: list[T] = []
    since = time.monotonic()
    try:
        for result in results:
            batch.append(result)
            if len(batch) >= _COMMIT_ROWS or time.monotonic() - since > _COMMIT_S:
                yield batch
                batch, since = [], time.monotonic()
    except GeneratorExit:
        raise
    except BaseException:  # an interrupt, or the end of the cluster: what was done by then is kept
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _mark_failed(dataset: Dataset, videos: Mapping[str, Raised], run: Run) -> None:
    """Sources whose stored signals cannot be used fail with that reason; `retry` measures them again."""
    if not videos:
        return
    rows = [
        {
            **row,
            "status": "failed",
            "error_kind": videos[row["video_id"]].kind,
            "error": f"{row['uri']}: its stored signals cannot be split: {videos[row['video_id']].message}",
            "run_id": run.run_id,
        }
        for row in known_sources(dataset).values()
        if row["video_id"] in videos
    ]
    dataset.replace_rows("sources", [row["uri"] for row in rows], rows)


def _commit_sources(dataset: Dataset, rows: Sequence[Mapping[str, Any]], run_id: str) -> None:
    """Commit rows of `sources`, and at once what they mean for others with the same content.

    Of all sources with one content, the first by name stands for the video; the others point to it.
    """
    with connect(dataset) as db:
        db.register("fresh", pa.Table.from_pylist(list(rows), schema=TABLES["sources"].arrow))
        settled = db.sql(f"""
            with every as (
                select *, true as is_fresh from fresh
                union all select *, false from sources where uri not in (select uri from fresh)
            ),
            originals as (select video_id, min(uri) as original from every where status = 'ok' group by video_id),
            judged as (
                select every.*, case when status = 'ok' and original <> uri then original end as twin
                from every left join originals using (video_id)
            )
            select * exclude (is_fresh, twin) replace (twin as duplicate_of, '{run_id}' as run_id) from judged
            where is_fresh or duplicate_of is distinct from twin
        """).to_arrow_table()
    dataset.replace_rows("sources", settled.column("uri").to_pylist(), settled)


def _name_videos(dataset: Dataset) -> None:
    """Videos carry the uri of the source that stands for their content."""
    with connect(dataset) as db:
        videos = db.sql("""
            select videos.* replace (sources.uri as uri) from videos join sources using (video_id)
            where sources.status = 'ok' and sources.duplicate_of is null and videos.uri <> sources.uri
        """).to_arrow_table()
    dataset.replace_rows("videos", videos.column("video_id").to_pylist(), videos)
