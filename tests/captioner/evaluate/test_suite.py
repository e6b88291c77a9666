"""An examination, passed by captioners whose answers are known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from captioner.base import CaptionRequest, CaptionResult, Identity
from captioner.evaluate.controls import OPPOSITES, blank_clips, reversed_clips, shuffled_clips
from captioner.evaluate.drawn_clips import drawn_clips
from captioner.evaluate.report import slot_rows, summary, write_report
from captioner.evaluate.suite import compare_f1, evaluate
from captioner.prompts import NO_PROMPT
from curate.drawn.describe import say
from curate.drawn.shot import is_held_out
from curate.errors import CaptionerError

KNOWN = drawn_clips(24, kind="descriptive")
CLIPS = [known.clip for known in KNOWN]
TRUTH = [known.truth for known in KNOWN]
REFERENCES = [known.reference for known in KNOWN]
REQUEST = CaptionRequest(kind="descriptive", prompt=NO_PROMPT)


class Oracle:
    """Recognises a clip by its pixels, also backwards, and says what is true of it; of others it knows nothing."""

    num_threads = 1

    def __init__(self, wrong=(), silent=()):
        self.identity = Identity(id="oracle", revision="1", kinds=frozenset({"descriptive"}))
        self.wrong, self.silent = wrong, silent

    def caption(self, clips, request):
        return [
            CaptionResult(
                clip_id=clip.clip_id, text=self._text(clip), finish_reason="stop", mean_logprob=self._sure(clip)
            )
            for clip in reversed(clips)
        ]

    def score(self, clips, texts):
        own = {known.clip.clip_id: words(known.truth) for known in KNOWN}
        return np.array(
            [[len(own[clip.clip_id] & set(text.lower().split())) for text in texts] for clip in clips], float
        )

    def close(self):
        pass

    def _number(self, clip):
        return next(index for index, known in enumerate(KNOWN) if known.clip.clip_id == clip.clip_id)

    def _sure(self, clip):
        return -1.0 if self._number(clip) in self.wrong else -0.1

    def _text(self, clip):
        known = KNOWN[self._number(clip)]
        if self._number(clip) in self.silent:
            return None
        if np.array_equal(clip.frames, known.clip.frames):
            facts = known.truth
        elif np.array_equal(clip.frames, known.clip.frames[::-1]):
            facts = {slot: OPPOSITES.get(slot, {}).get(value, value) for slot, value in known.truth.items()}
        else:
            return "Nothing."
        if self._number(clip) in self.wrong:
            facts = {**facts, "color": "pink" if facts["color"] != "pink" else "red"}
        return say(facts, "descriptive", 1)


def words(facts):
    return set(say(facts, "descriptive", 1).lower().split())


def test_examination_clips_are_held_out_and_of_several_shapes():
    assert all(is_held_out(truth["shape"], truth["color"], truth["motion"]) for truth in TRUTH)
    assert len({clip.frames.shape for clip in CLIPS}) == 4
    assert all(clip.frames.shape[0] == len(clip.times_s) == 8 for clip in CLIPS)


def test_who_knows_everything_passes():
    result = evaluate(Oracle(), CLIPS, REQUEST, truth=TRUTH, references=REFERENCES)
    assert (result.facts.f1, result.facts.hallucination, result.failed) == (1, 0, 0)
    assert all(slot.recall == 1 for slot in result.facts.slots.values())
    assert result.controls.flipped == {"motion": 1, "camera": 1}
    assert result.controls.shuffled_motion == 0
    assert (result.controls.blank_f1, result.controls.blank_captions) == (0, 1)
    assert result.overlap.rouge_l > 0.4
    assert result.clip_score.whole > result.clip_score.shuffled
    assert result.diversity.unique_share == 1


def test_mistakes_are_found_named_and_go_with_doubt():
    result = evaluate(Oracle(wrong=range(6)), CLIPS, REQUEST, truth=TRUTH)
    assert result.facts.slots["color"].correct == 18
    assert result.facts.slots["shape"].recall == 1
    assert sum(times for _, _, times in result.facts.confusions["color"]) >= 3
    assert result.calibration.rank_correlation > 0.95
    gain, low, high = compare_f1(result, evaluate(Oracle(), CLIPS, REQUEST, truth=TRUTH))
    assert low < gain < high
    assert gain == pytest.approx(1 - np.mean(result.facts.per_caption))


def test_clips_without_a_caption_count_against_it():
    result = evaluate(Oracle(silent=range(12)), CLIPS, REQUEST, truth=TRUTH)
    assert (result.failed, result.facts.precision) == (12, 1)
    assert result.facts.recall == pytest.approx(0.5, abs=0.05)


def test_a_captioner_that_says_nothing_is_an_error_with_its_reason():
    with pytest.raises(CaptionerError, match="captioned none of 24 clips"):
        evaluate(Oracle(silent=range(24)), CLIPS, REQUEST)


def test_without_truth_the_captions_are_measured_by_themselves():
    result = evaluate(Oracle(), CLIPS, REQUEST)
    assert (result.facts, result.controls, result.overlap, result.calibration) == (None, None, None, None)
    assert result.diversity.captions == 24


def test_the_report_holds_every_figure_and_shows_clips(tmp_path):
    result = evaluate(Oracle(wrong=[3]), CLIPS, REQUEST, truth=TRUTH, references=REFERENCES)
    page = write_report([result], CLIPS, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 24
    assert "drawn-0-00003" in text
    assert "http" not in text.replace("http-equiv", "")
    (stored,) = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert stored["summary"] == json.loads(json.dumps(summary(result)))
    assert stored["slots"] == json.loads(json.dumps(slot_rows(result.facts)))


def test_doctored_clips_keep_their_names_and_sizes():
    for doctored in (reversed_clips(CLIPS), shuffled_clips(CLIPS), blank_clips(CLIPS)):
        assert [clip.clip_id for clip in doctored] == [clip.clip_id for clip in CLIPS]
        assert [clip.frames.shape for clip in doctored] == [clip.frames.shape for clip in CLIPS]
    assert np.array_equal(reversed_clips(reversed_clips(CLIPS[:1]))[0].frames, CLIPS[0].frames)
    one = replace(CLIPS[0], frames=CLIPS[0].frames[:1])
    assert np.array_equal(shuffled_clips([one])[0].frames, one.frames)
