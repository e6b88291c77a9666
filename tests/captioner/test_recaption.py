"""The caption job on a small dataset: what is done again, what is checked, and that nothing bad is stored as ok."""

import json
import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import tiny_models
from loopback_server import caption_of, loopback, read_number
from tiny_dataset import make_dataset

from captioner import recaption
from captioner.caption_job import CaptionConfig, resolve
from captioner.caption_plan import CaptionPlan, plan_captions
from captioner.clip_frames import ClipSource
from captioner.duplicates import DuplicateWatch
from captioner.makers.by_name import MakersConfig
from captioner.recaption import close_all
from curate.config import build, to_tree
from curate.counter_random import generator
from curate.drawn.describe import PHRASES
from curate.drawn.film import Film, Join, Take, film_truth
from curate.drawn.footage import FileTruth, Truth
from curate.drawn.sample import sample_shot
from curate.drawn.shot import World
from curate.errors import CaptionerError, UsageError
from pipelines.caption import caption_dataset
from pipelines.engine import Engine, EngineConfig, Raised

MAKERS = build(MakersConfig, {"openai": {"first_wait_s": 0.01, "max_retries": 2}})


class WordScorer:
    """Compares the words of a caption with those of the true one. It knows clips by their pictures alone."""

    def score(self, clips, texts):
        words = [set(re.findall(r"\w+", text.lower())) for text in texts]
        true = [set(re.findall(r"\w+", caption_of(read_number(clip.frames[0])).lower())) for clip in clips]
        return np.array([[len(a & b) / len(a | b) for b in words] for a in true], np.float32)


@pytest.fixture(autouse=True)
def _nothing_stays_open(monkeypatch):
    opened = recaption.opened
    monkeypatch.setattr(
        recaption, "opened", lambda spec, *rest: WordScorer() if spec == "words" else opened(spec, *rest)
    )
    yield
    close_all()


def job_for(server, *, scorer=None, **settings):
    config = CaptionConfig(captioner=f"openai:{server.url}#tiny-vlm", **{"batch": 64, "makers": MAKERS, **settings})
    return replace(resolve(config), scorer=scorer, scorer_id=scorer)


def run_job(dataset, job, *, run_id="r1", engine=None, **settings):
    engine = engine or Engine(EngineConfig(local=True))
    return caption_dataset(dataset, job, plan_captions(dataset, job, **settings), engine, run_id=run_id)


def rows_of(dataset, *columns):
    return dataset.read("captions", list(columns) or None).to_pylist()


def states(dataset):
    return Counter(row["status"] for row in rows_of(dataset, "status"))


def test_every_kept_clip_gets_its_own_caption(tmp_path):
    dataset = make_dataset(tmp_path, 100, kept=lambda number: number % 10)
    with loopback() as server:
        summary = run_job(dataset, job_for(server, scorer="words"))
    rows = rows_of(dataset)
    assert {row["clip_id"]: row["text"] for row in rows} == {f"c{n:04}": caption_of(n) for n in range(100) if n % 10}
    row = rows[0]
    assert (row["status"], row["kind"], row["captioner"], row["revision"]) == (
        "ok",
        "descriptive",
        "openai:tiny-vlm",
        "tiny-vlm-v1",
    )
    assert (row["reasons"], row["attempts"], row["finish_reason"], row["run_id"]) == ([], 1, "stop", "r1")
    assert row["output_tokens"] == row["num_words"] > 8
    assert row["prompt_id"] == "descriptive-1"
    assert "so exactly" in row["prompt"]
    assert json.loads(row["decode"])["max_new_tokens"] == 512
    assert json.loads(row["frames"]) == {"num_frames": 8, "source": "previews", "long_side_px": 448}
    assert row["alignment_margin"] > 1
    assert row["clip_score"] == pytest.approx(1.0)
    assert summary.as_dict() | {"seconds": 0, "captions_per_s": 0, "output_tokens_per_s": 0} == {
        **dict.fromkeys(("rejected", "failed", "kept_older", "demoted", "refused_batches"), 0),
        **{key: {} for key in ("reasons", "errors", "flags")},
        **dict.fromkeys(("captions_per_s", "output_tokens_per_s", "seconds"), 0),
        **dict.fromkeys(("planned", "ok", "distinct_texts"), 90),
        **dict.fromkeys(("batches", "compared_batches"), 3),
        "mean_words": round(summary.num_words / 90, 1),
        "prompt_tokens": 9000,
        "output_tokens": summary.num_words,
    }


def test_only_what_is_missing_failed_or_out_of_date_is_done_again(tmp_path):
    dataset = make_dataset(tmp_path, 40)
    with loopback(behave=lambda number, attempt: 400 if number < 5 and attempt == 1 else None) as server:
        job = job_for(server)
        run_job(dataset, job)
        assert states(dataset) == {"ok": 35, "failed": 5}
        assert plan_captions(dataset, job).counts == {"done": 35, "failed": 5}
        run_job(dataset, job)
        assert states(dataset) == {"ok": 40}
        assert plan_captions(dataset, job).todo == []
        assert len(server.requests) == 45
        for change in (
            {"prompt": "Say it."},
            {"decode": {"temperature": 0.7}},
            {"max_attempts": 2},
            {"language": None},
        ):
            assert plan_captions(dataset, job_for(server, **change)).counts == {"out_of_date": 40}
        shown = build(MakersConfig, {"openai": {"send": "video"}})
        assert plan_captions(dataset, job_for(server, makers=shown)).counts == {"out_of_date": 40}
        assert plan_captions(dataset, job_for(server, batch=7)).counts == {"done": 40}  # no caption depends on it
        assert plan_captions(dataset, job, redo=("ok",), limit=3).todo[2].clip_id == "c0002"


def test_kinds_and_captioners_live_side_by_side(tmp_path):
    dataset = make_dataset(tmp_path, 16)
    with loopback(models=("tiny-vlm", "other")) as server:
        run_job(dataset, job_for(server))
        run_job(dataset, job_for(server, kind="short"))
        other = resolve(CaptionConfig(captioner=f"openai:{server.url}#other", makers=MAKERS))
        assert plan_captions(dataset, other, fill=True).counts == {"other_captioner": 16}
        run_job(dataset, other)
        original = resolve(CaptionConfig(captioner="original", kind="alt"))
        assert plan_captions(dataset, original).counts == {"missing": 8, "nothing_given": 8}
        run_job(dataset, original)
    kinds = Counter((row["kind"], row["captioner"]) for row in rows_of(dataset))
    tiny = {("descriptive", "openai:tiny-vlm"): 16, ("short", "openai:tiny-vlm"): 16}
    assert kinds == {**tiny, ("descriptive", "openai:other"): 16, ("alt", "original"): 8}


def test_structured_captions_are_stored_as_facts_and_composed(tmp_path):
    dataset = make_dataset(tmp_path, 8)
    facts = '```json\n{"subjects": ["a dog"], "actions": ["the dog runs"], "camera": "wide shot, panning right"}\n```'
    with loopback(behave=lambda number, attempt: (facts if number else "no JSON here.", "stop")) as server:
        run_job(dataset, job_for(server, kind="structured"))
    bad, *good = sorted(rows_of(dataset), key=lambda row: row["clip_id"])
    assert (bad["status"], bad["attempts"]) == ("rejected", 3)
    assert "unparsable" in bad["reasons"]
    assert good[0]["text"] == "A dog. The dog runs. Wide shot. The camera pans left."  # as it was measured
    assert good[1]["text"] == "A dog. The dog runs. Wide shot."  # mixed movement: nothing is said
    composed = resolve(CaptionConfig(captioner="compose", kind="short"))
    assert plan_captions(dataset, composed).counts == {"missing": 7, "nothing_given": 1}
    run_job(dataset, composed)
    assert {row["text"] for row in rows_of(dataset) if row["captioner"] == "compose"} == {"The dog runs."}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (("A red circle rolls slowly over the", "length"), "truncated"),
        (("A red circle rolls slowly left of a tree on a grey day and", "stop"), "truncated"),
        (("A red circle, " + "a red circle, " * 20 + "a red circle.", "stop"), "loop"),
        (("I'm sorry, but I can't describe this video for you.", "stop"), "refusal"),
        (("", "stop"), "empty"),
        (
            ("Ein roter Kreis rollt langsam über die Wiese und ein Hund sieht ihm von der Seite zu.", "stop"),
            "wrong_language",
        ),
    ],
)
def test_bad_answers_are_asked_again_and_never_stored_as_ok(tmp_path, answer, reason):
    dataset = make_dataset(tmp_path, 12)
    with loopback(
        behave=lambda number, attempt: answer if number < 4 and (attempt < 2 or number < 2) else None
    ) as server:
        summary = run_job(dataset, job_for(server))
        tries = [body for number, body, _ in server.requests if number == 0]
    rows = {row["clip_id"]: row for row in rows_of(dataset)}
    assert [rows[f"c000{n}"]["status"] for n in range(4)] == ["rejected", "rejected", "ok", "ok"]
    assert reason in rows["c0000"]["reasons"]
    assert rows["c0000"]["attempts"] == 3
    assert rows["c0002"]["attempts"] == 2
    assert rows["c0002"]["text"] == caption_of(2)
    assert [body["temperature"] for body in tries] == pytest.approx([0.2, 0.5, 0.8])
    assert tries[1]["frequency_penalty"] > 0
    assert (tries[1]["max_tokens"] > tries[0]["max_tokens"]) == (reason == "truncated")
    assert summary.reasons[reason] == 2
    assert rows["c0000"]["output_tokens"] == 3 * len(answer[0].split())


def test_cleaning_is_recorded(tmp_path):
    dataset = make_dataset(tmp_path, 1)
    with loopback(
        behave=lambda number, attempt: (f"The video shows {caption_of(0)[0].lower()}{caption_of(0)[1:]}", "stop")
    ) as server:
        run_job(dataset, job_for(server))
    (row,) = rows_of(dataset)
    assert (row["text"], row["flags"]) == (caption_of(0), ["opener_removed"])
    assert row["raw_text"].startswith("The video shows a red")


def test_captions_too_long_for_the_text_encoder_are_flagged(tmp_path):
    dataset = make_dataset(tmp_path / "dataset", 4)
    tiny_models.save_qwen(tmp_path / "encoder")
    with loopback(
        behave=lambda number, attempt: ("A dog runs over the lawn.", "stop") if number == 0 else None
    ) as server:
        job = job_for(server, text_encoder=str(tmp_path / "encoder"), text_encoder_tokens=30, kind="short")
        summary = run_job(dataset, job)
        assert summary.flags == {"longer_than_encoder": 3}
        assert {row["clip_id"]: row["flags"] for row in rows_of(dataset)}["c0000"] == []
        with pytest.raises(UsageError, match=r"caption\.text_encoder is .*nobody': no tokenizer there"):
            job_for(server, text_encoder=str(tmp_path / "nobody"))


def test_shuffled_captions_are_refused_and_stored_as_rejected(tmp_path):
    dataset = make_dataset(tmp_path, 128)
    wrong = np.random.default_rng(0).permutation(128)
    with loopback(behave=lambda number, attempt: (caption_of(wrong[number]), "stop")) as server:
        job = job_for(server, scorer="words")
        with pytest.raises(CaptionerError, match="fit their own clips no better than shuffled ones, as words sees it"):
            run_job(dataset, job)
        assert set(states(dataset)) == {"rejected"}
        assert {tuple(row["reasons"]) for row in rows_of(dataset)} == {("misaligned",)}
        assert len(rows_of(dataset)) == 64  # it stopped at the second refused batch
        server.behave = None
        assert plan_captions(dataset, job).counts == {"rejected": 64, "missing": 64}
        run_job(dataset, job, redo=("failed", "rejected"))
    assert states(dataset) == {"ok": 128}


def test_two_swapped_answers_are_rejected_alone(tmp_path):
    dataset = make_dataset(tmp_path, 64)
    with loopback(swap=(9, 54)) as server:
        run_job(dataset, job_for(server, scorer="words", batch=128))
    rejected = sorted(row["clip_id"] for row in rows_of(dataset) if row["status"] != "ok")
    assert rejected == ["c0009", "c0054"]
    assert states(dataset) == {"ok": 62, "rejected": 2}


def test_a_caption_that_repeats_is_rejected_wherever_it_stands(tmp_path):
    dataset = make_dataset(tmp_path, 600, clips_per_video=50)
    same = "A person is standing in a room and looks around for a while, smiling."
    with loopback(behave=lambda number, attempt: (same, "stop") if number % 6 else None) as server:
        job = job_for(server, batch=16)
        assert +run_job(dataset, job, run_id="r0", limit=6).states == {"ok": 6}  # too few to say
        summary = run_job(dataset, job)
    rows = rows_of(dataset, "clip_id", "status", "reasons", "text")
    assert states(dataset) == {"ok": 100, "rejected": 500}
    assert +summary.states == {"ok": 99, "rejected": 495}
    assert summary.reasons == {"duplicate": 495}
    assert summary.demoted == 5
    assert len(summary.texts) == summary.states["ok"]
    assert {row["text"] == same for row in rows if row["status"] == "ok"} == {False}
    assert {tuple(row["reasons"]) for row in rows if row["status"] == "rejected"} == {("duplicate",)}


def test_an_accepted_caption_is_never_replaced_by_a_failure(tmp_path):
    dataset = make_dataset(tmp_path, 20)
    with loopback() as server:
        run_job(dataset, job_for(server))
        server.behave = lambda number, attempt: {0: 400, 1: ("I'm sorry, but I can't help with that.", "stop")}.get(
            number
        )
        newer = job_for(server, prompt="Say what is shown.")
        summary = run_job(dataset, newer, run_id="r2")
        assert summary.states == {"ok": 18, "kept_older": 2}
        assert states(dataset) == {"ok": 20}
        assert Counter(row["run_id"] for row in rows_of(dataset)) == {"r1": 2, "r2": 18}
        assert plan_captions(dataset, newer).counts == {"done": 18, "out_of_date": 2}


def test_a_clip_whose_file_is_gone_fails_alone(tmp_path):
    dataset = make_dataset(tmp_path, 12)
    path = dataset.read("videos")["previews_path"][1].as_py()
    (tmp_path / path).unlink()
    with loopback() as server:
        summary = run_job(dataset, job_for(server))
    assert states(dataset) == {"ok": 8, "failed": 4}
    failed = [row for row in rows_of(dataset) if row["status"] == "failed"]
    assert {row["error_kind"] for row in failed} == {"missing"}
    assert "gone or damaged" in failed[0]["error"]
    assert summary.errors == {"missing": 4}


def test_decoded_frames_of_a_missing_video_are_an_error_of_its_clips(tmp_path):
    dataset = make_dataset(tmp_path, 4)
    with loopback() as server:
        job = job_for(
            server, frames=build(recaption.CaptionConfig, {"captioner": "x", "frames": {"source": "video"}}).frames
        )
        run_job(dataset, job)
    assert {(row["status"], row["error_kind"]) for row in rows_of(dataset)} == {("failed", "missing")}


def test_a_server_that_goes_down_stops_the_job_and_nothing_is_lost(tmp_path):
    dataset = make_dataset(tmp_path, 96)
    with loopback(behave=lambda number, attempt: "cut connection" if len(server.requests) > 40 else None) as server:
        job = job_for(server)
        with pytest.raises(
            CaptionerError, match=r"answered none of 32 clips: .* does not answer.*run the same command again"
        ):
            run_job(dataset, job)
        done = states(dataset)["ok"]
        assert 0 < done < 96
        server.behave = None
        run_job(dataset, job)
    assert states(dataset) == {"ok": 96}


def test_batches_that_break_off_are_named_and_done_by_the_next_run(tmp_path):
    dataset = make_dataset(tmp_path, 64)

    class Breaking(Engine):
        def run(self, function, batches, **_):
            yield batches[0], Raised("ZeroDivisionError: oh")
            yield batches[1], function(batches[1])

    with loopback() as server:
        job = job_for(server)
        with pytest.raises(CaptionerError, match="1 of 2 batches broke off; the first: ZeroDivisionError: oh"):
            run_job(dataset, job, engine=Breaking(EngineConfig()))
        assert states(dataset) == {"ok": 32}
        run_job(dataset, job)
    assert states(dataset) == {"ok": 64}


def test_a_clip_that_takes_its_process_down_fails_alone(tmp_path):
    dataset = make_dataset(tmp_path, 32)

    class Deadly(Engine):
        def run(self, function, batches, *, apart, **_):
            first, *others = (part for batch in batches for part in apart(batch))
            yield first, Raised("the process died, 3 times", "crashed")
            yield from ((part, function(part)) for part in others)

    with loopback() as server:
        run_job(dataset, job_for(server), engine=Deadly(EngineConfig()))
    assert states(dataset) == {"ok": 31, "failed": 1}
    (failed,) = (row for row in dataset.read("captions").to_pylist() if row["status"] == "failed")
    assert (failed["error_kind"], failed["error"]) == ("crashed", "the process died, 3 times")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"captioner": "original", "kind": "short"},
            UsageError,
            "original does not write short captions; it writes: alt",
        ),
        ({"captioner": "original", "kind": "alt", "prompt": "x"}, UsageError, "follows no prompt"),
        (
            {"captioner": "original", "kind": "alt", "decode": {"heat": 1}},
            Exception,
            "unknown setting caption.decode.heat",
        ),
        ({"captioner": "original", "kind": "poem"}, ValueError, "kind is 'poem'; kinds: alt"),
        ({"captioner": "original", "kind": "alt", "scorer": "nobody"}, UsageError, "no captioner 'nobody'"),
    ],
)
def test_impossible_wishes_are_refused_before_anything_begins(settings, error, message):
    with pytest.raises(error, match=message):
        resolve(CaptionConfig(**settings))


def test_clips_of_drawn_footage_are_captioned_from_their_truth(tmp_path):
    reel = tmp_path / "footage" / "v000.mp4"
    takes = [sample_shot(generator(0, "template", index), World()) for index in range(3)]
    cuts, frames = (Join(kind="cut", frames=0),) * 2, tuple(Take(shot=shot, num_frames=20) for shot in takes)
    film = Film(width=32, height=32, fps=Fraction(10), takes=frames, joins=cuts)
    truth = Truth(seed=1, files=(FileTruth(path=reel.name, title="", license="", caption="", film=film_truth(film)),))
    reel.parent.mkdir()
    (reel.parent / "truth.json").write_text(json.dumps(to_tree(truth)))
    dataset = make_dataset(tmp_path / "dataset", 6)
    dataset.replace_all("videos", [row | {"uri": str(reel)} for row in dataset.read("videos").to_pylist()])
    job = resolve(CaptionConfig(captioner=f"template:{reel.parent}", kind="short"))
    run_job(dataset, job)
    shown = {row["clip_id"]: row["text"] for row in rows_of(dataset)}
    assert len(shown) == 6
    for number, shot in enumerate(takes):
        nouns = [phrase.split()[-1] for phrase in PHRASES["shape"][shot.subject.shape]]
        for clip_id in (f"c{2 * number:04}", f"c{2 * number + 1:04}"):
            assert any(noun in shown[clip_id] for noun in nouns)
    elsewhere = resolve(CaptionConfig(captioner=f"template:{tmp_path}", kind="short"))
    with pytest.raises(UsageError, match=r"no truth\.json of drawn footage there"):
        plan_captions(dataset, elsewhere)


def test_a_dataset_without_kept_clips_says_what_to_do(tmp_path):
    job = resolve(CaptionConfig(captioner="original", kind="alt"))
    with pytest.raises(UsageError, match="no clip is kept"):
        plan_captions(make_dataset(tmp_path, 4, kept=lambda number: False), job)


@pytest.mark.parametrize(("num", "size"), [(260, 64), (80, 4), (100, 64), (40, 1)])
def test_batches_mix_parts_of_the_dataset_and_are_of_equal_size(num, size):
    where = {"uri": "", "previews_path": None, "start_pts": 0, "end_pts": 1, "time_base": Fraction(1), "num_frames": 1}
    clips = [ClipSource(clip_id=f"c{index:03}", video_id=f"v{index // 8}", **where) for index in range(num)]
    plan = CaptionPlan(todo=clips, counts=Counter(), stored_ok=frozenset(), watch=DuplicateWatch(None))
    batches = plan.batches(size)
    assert sorted(clip.clip_id for batch in batches for clip in batch) == sorted(clip.clip_id for clip in plan.todo)
    assert max(map(len, batches)) <= size
    assert max(map(len, batches)) - min(map(len, batches)) <= 1
    assert all(len({clip.video_id for clip in batch}) >= min(len(batch), 8) / 2 for batch in batches)
