"""The report of a dataset: what it says, that it is bounded, and that nothing of it comes from elsewhere."""

import re
from datetime import datetime, timezone
from itertools import pairwise

import pytest
from curated import curate
from reported import HOSTILE, make_dataset, make_up

from curate.query import connect
from curate.rules import DecideConfig
from curate.schema import TABLES
from curate.tables import Dataset
from pipelines.report.captions import caption_groups
from pipelines.report.clip_facts import gather, rules_in_use
from pipelines.report.dataset_page import ReportConfig, dataset_page
from pipelines.report.funnel import hours, levels
from pipelines.report.pictures import Wanted, draw_strips
from pipelines.report.sheets import interleaved, sheets

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def dataset(drawn_footage, tmp_path_factory) -> Dataset:
    return make_dataset(drawn_footage, tmp_path_factory.mktemp("report") / "clips & scenes")


@pytest.fixture
def db(dataset):
    with connect(dataset) as opened:
        gather(opened)
        yield opened


@pytest.fixture(scope="module")
def page(dataset) -> str:
    return dataset_page(dataset, ReportConfig(), now=NOW)


def one(db, sql: str):
    return db.sql(sql).fetchall()[0][0]


def test_the_funnel_leads_from_decoded_footage_to_kept_clips_and_loses_nothing_on_the_way(db):
    steps = hours(db, rules_in_use(db).config)
    assert steps[0].left_s == pytest.approx(one(db, "select sum(duration_s) from source_states"))
    for before, after in pairwise(steps):
        assert after.left_s == pytest.approx(before.left_s - after.lost_s)
    assert steps[-1].left_s == pytest.approx(one(db, "select sum(duration_s) from kept"), abs=1e-6)
    lost = {step.label: step.count for step in steps if step.item == "clip"}
    assert lost["motion below 0.01"] == one(db, "select count(*) from decisions where reason = 'motion.min'")
    labels = list(lost)
    assert labels.index("short side below 128") < labels.index("motion below 0.01")  # the order of the rules


def test_every_source_scene_and_clip_is_counted_in_one_state(db):
    for level in levels(db):
        assert level["number"] == one(db, f"select count(*) from {level['level']}s")
        assert sum(level["states"].values()) == sum(row["number"] for row in level["rows"]) == level["number"]


def test_the_limits_are_those_of_the_run_that_decided(db):
    rules = rules_in_use(db)
    assert rules.config.rules["motion"].min == 0.01
    assert rules.run_id == one(db, "select any_value(run_id) from decisions")


def test_rules_that_this_release_cannot_read_are_named_and_the_rest_of_the_page_stands(drawn_footage, tmp_path):
    curate([drawn_footage / "slides.mp4"], tmp_path / "data")
    dataset = Dataset(tmp_path / "data")
    [run] = dataset.read("runs").to_pylist()
    dataset.replace_all("runs", [{**run, "config": "[decide.glamour]\nmin = 3\n"}])
    page = dataset_page(dataset, ReportConfig(), now=NOW)
    assert "cannot be read by this release: no score &#39;glamour&#39;" in page
    assert 'id="clips"' in page


def test_a_sheet_shows_clips_of_many_videos_and_those_that_came_closest_first(db):
    found = {sheet.name: sheet for sheet in sheets(db, DecideConfig(), kept=5, per_reason=2)}
    assert len(found["kept"].cards) == 5
    assert len({card.uri for card in found["kept"].cards}) == 5
    slow = found["filtered-motion.min"]
    assert slow.number == one(db, "select count(*) from decisions where reason = 'motion.min'")
    assert len(slow.cards) == min(2, slow.number)
    motion = [float(value) for card in slow.cards for name, value, failed in card.scores if failed]
    assert motion == sorted(motion, reverse=True)


def test_pictures_keep_to_their_budget_and_the_first_wanted_come_first(db, dataset):
    ids = [row[0] for row in db.sql("select clip_id from kept order by clip_id").fetchall()]
    wanted = [Wanted(clip_id, 4) for clip_id in ids]
    everything = draw_strips(db, dataset.uri, wanted, budget_bytes=10**9).strips
    assert list(everything) == wanted
    assert all(strip.uri.startswith("data:image/webp;base64,") for strip in everything.values())
    budget = sum(len(everything[each].uri) for each in wanted[:3])
    assert list(draw_strips(db, dataset.uri, wanted, budget_bytes=budget).strips) == wanted[:3]


def test_a_strip_shows_frames_of_its_own_clip(drawn_footage, db, dataset):
    import base64

    import cv2
    import numpy as np

    clip_id, previews_path, start_pts, end_pts = db.sql("""
        select clip_id, previews_path, clips.start_pts, clips.end_pts from kept join clips using (clip_id)
        join videos on videos.video_id = clips.video_id order by kept.duration_s desc limit 1
    """).fetchall()[0]
    [strip] = draw_strips(db, dataset.uri, [Wanted(clip_id, 3)], budget_bytes=10**9).strips.values()
    data = np.frombuffer(base64.b64decode(strip.uri.partition(",")[2]), np.uint8)
    shown = cv2.imdecode(data, cv2.IMREAD_COLOR).astype(float)
    assert shown.shape[:2] == (strip.height_px, 3 * strip.width_px)
    from curate.scan import previews

    inside = [jpeg for pts, jpeg in previews(dataset.uri, previews_path) if start_pts <= pts < end_pts]
    middle = cv2.imdecode(np.frombuffer(inside[len(inside) // 2], np.uint8), cv2.IMREAD_COLOR)
    expected = cv2.resize(middle, (strip.width_px, strip.height_px), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(shown[:, strip.width_px : 2 * strip.width_px] - expected).mean() < 8


def test_missing_previews_cost_their_pictures_and_nothing_else(drawn_footage, tmp_path):
    curate([drawn_footage / "slides.mp4", drawn_footage / "rushes.mp4"], tmp_path / "data")
    next((tmp_path / "data/payload/previews").rglob("*.parquet")).unlink()
    page = dataset_page(Dataset(tmp_path / "data"), ReportConfig(), now=NOW)
    assert "The previews of 1 video are missing or damaged" in page
    assert "1 row breaks a rule" in page
    assert page.count("data:image/webp") > 0


def test_captions_are_counted_and_the_best_and_worst_are_shown(db):
    groups = {(group.kind, group.captioner): group for group in caption_groups(db, examples=2)}
    mine = groups["descriptive", "coca:mine"]
    assert mine.counts["ok"] == one(db, "select count(*) from kept")
    ranked = {place: [row["score"] for row in mine.examples if row["place"] == place] for place in ("best", "worst")}
    assert ranked == {"best": [mine.counts["ok"] - 1.0, mine.counts["ok"] - 2.0], "worst": [0.0, 1.0]}
    assert mine.flags == [("opener_removed", 1)]
    short = groups["short", "hf:tiny"]
    assert short.counts == {"ok": 0, "rejected": 1, "failed": 1}
    assert sorted(short.reasons) == [("loop", 1), ("too_short", 1)]
    assert short.errors == [("captioner", 1)]
    assert [row["place"] for row in short.examples] == ["rejected"]
    assert [row["place"] for row in groups["alt", "original"].examples] == ["example"]  # nothing ranks it


def test_failures_copies_versions_and_settings_are_told(page, dataset):
    for kind in ("empty", "no video stream", "not video"):
        assert f'<span class="chip failed">{kind}</span>' in page
    assert "an empty file (zero bytes)" in page
    assert re.search(r"\d sources? (have|has) the same content as another", page)
    for name, version in dataset.versions().items():
        assert re.search(rf"<code>{name}</code></td><td class=\"num\">{version}</td>", page)
    assert "[decide.motion]\nmin = 0.01" in page


def test_what_footage_and_captions_say_is_text_not_markup(page):
    assert HOSTILE not in page
    assert "&lt;/script&gt;&lt;/style&gt;&lt;script&gt;document.title" in page
    assert page.count("<script") == 1


def test_nothing_is_loaded_from_elsewhere(page):
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*""", page)
    assert not re.findall(r"url\((?!data:)|@import|<link(?! rel=\"icon\" href=\"data:)", page)


def test_a_small_page_has_fewer_pictures(dataset, page):
    config = ReportConfig(max_mb=0.6, frames=8)
    small = dataset_page(dataset, config, now=NOW)
    assert len(small) < 600_000
    assert 0 < small.count("data:image/webp") <= page.count("data:image/webp")


def test_the_same_dataset_gives_the_same_page(dataset, page):
    assert dataset_page(dataset, ReportConfig(), now=NOW) == page


def test_an_empty_dataset_has_a_page_too(tmp_path):
    dataset = Dataset(tmp_path / "data")
    dataset.replace_all("runs", TABLES["runs"].arrow.empty_table())
    page = dataset_page(dataset, ReportConfig(), now=NOW)
    for said in ("No footage was decoded yet", "No clips yet", "No captions yet", "Nothing failed"):
        assert said in page


def test_the_page_does_not_grow_with_the_dataset(tmp_path):
    few, many = (len(dataset_page(make_up(tmp_path / str(n), n), ReportConfig(), now=NOW)) for n in (1_000, 6_000))
    assert many < 1.1 * few < 600_000


def test_groups_are_cut_off_fairly():
    assert interleaved([["a", "b", "c"], ["d"], [], ["e", "f"]]) == ["a", "d", "e", "b", "f", "c"]
