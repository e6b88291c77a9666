"""Against a real HTTP server on loopback: late, out of order, refusing, malformed, cut, down."""

import socket
import time

import numpy as np
import pytest
from loopback_server import caption_of, completion, loopback, malformed, number_picture

from captioner.base import CaptionRequest, Clip, Decode, by_clip
from captioner.makers.openai import OpenAICaptioner, OpenAIConfig, content_of
from captioner.prompts import PROMPTS
from curate.errors import CaptionerError, UsageError

REQUEST = CaptionRequest(kind="descriptive", prompt=PROMPTS["descriptive"])
QUICK = OpenAIConfig(first_wait_s=0.01, max_retries=3, timeout_s=5)


def clip(number, *, num_frames=1):
    frames = np.stack([number_picture(number)] * num_frames)
    return Clip(clip_id=f"clip{number}", frames=frames, times_s=tuple(range(num_frames)), duration_s=2.0)


def captions(server, clips, config=QUICK, request=REQUEST):
    captioner = OpenAICaptioner(f"{server.url}#tiny-vlm", config)
    try:
        return by_clip(clips, captioner.caption(clips, request))
    finally:
        captioner.close()


def test_late_and_out_of_order_answers_reach_their_own_clips():
    clips = [clip(number) for number in range(40)]
    with loopback(latency_s=lambda number: 0.2 * (7 * number % 40) / 40) as server:
        results = captions(server, clips)
    assert {key: result.text for key, result in results.items()} == {f"clip{n}": caption_of(n) for n in range(40)}
    assert all(result.finish_reason == "stop" and result.output_tokens > 10 for result in results.values())


def test_thirty_two_in_flight_keep_the_server_busy():
    clips = [clip(number) for number in range(32 * 3)]
    with loopback(latency_s=1.0) as server:
        captioner = OpenAICaptioner(f"{server.url}#tiny-vlm", QUICK)
        started = time.perf_counter()
        results = captioner.caption(clips, REQUEST)
        wall_s = time.perf_counter() - started
        captioner.close()
    assert all(result.text for result in results)
    assert server.most_in_flight == 32
    # One after the other would be a 32nd; benchmarks/recaption.py says what share is reached.
    assert server.busy_s / 32 >= 0.5 * wall_s


def test_load_and_server_errors_are_tried_again_and_the_rest_goes_on():
    flaky = {3: 429, 4: 503, 5: 408, 6: 500}
    with loopback(behave=lambda number, attempt: flaky.get(number) if attempt < 3 else None) as server:
        results = captions(server, [clip(number) for number in range(8)])
    assert [results[f"clip{n}"].text for n in range(8)] == [caption_of(n) for n in range(8)]
    assert server.attempts == {n: 3 if n in flaky else 1 for n in range(8)}


def test_a_broken_connection_is_tried_again():
    with loopback(behave=lambda number, attempt: "cut connection" if attempt == 1 else None) as server:
        results = captions(server, [clip(1)])
    assert results["clip1"].text == caption_of(1)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refusals_of_one_request_are_not_tried_again(status):
    with loopback(behave=lambda number, attempt: status if number == 2 else None) as server:
        results = captions(server, [clip(1), clip(2)])
    assert results["clip1"].text == caption_of(1)
    assert (results["clip2"].text, results["clip2"].error_kind) == (None, "captioner")
    assert f"status {status}: status {status} on purpose" in results["clip2"].error
    assert server.attempts[2] == 1


def test_a_server_that_keeps_refusing_is_given_up_for_that_clip():
    with loopback(behave=lambda number, attempt: 429 if number == 2 else None) as server:
        results = captions(server, [clip(1), clip(2)])
    assert results["clip1"].text == caption_of(1)
    assert "status 429, after 4 tries" in results["clip2"].error


@pytest.mark.parametrize(
    "body", [malformed(), malformed("{}"), malformed('{"choices": []}'), completion(None), completion([1])]
)
def test_malformed_answers_are_errors_of_their_clip(body):
    with loopback(behave=lambda number, attempt: body if number == 1 else None) as server:
        results = captions(server, [clip(1)])
    assert "not a chat completion" in results["clip1"].error


def test_a_cut_answer_says_so():
    with loopback(behave=lambda number, attempt: ("A red circle rolls sl", "length")) as server:
        results = captions(server, [clip(1)])
    assert results["clip1"].finish_reason == "length"


def test_an_answer_to_another_request_is_refused_where_the_server_repeats_ids():
    with loopback(echo=True, swap=(1, 2)) as server:
        results = captions(server, [clip(n) for n in range(4)])
    assert "answer to another request" in results["clip1"].error
    assert "answer to another request" in results["clip2"].error
    assert results["clip3"].text == caption_of(3)


def test_a_server_that_goes_down_fails_the_rest_quickly_and_keeps_what_is_done():
    clips = [clip(number) for number in range(200)]
    with loopback(latency_s=0.02) as server:
        captioner = OpenAICaptioner(
            f"{server.url}#tiny-vlm", OpenAIConfig(max_in_flight=4, max_retries=2, first_wait_s=0.01)
        )
        answer = server._answer

        async def die(request, number, told):
            if number > 20:
                request.transport.close()
            return await answer(request, number, told)

        server._answer = die
        started = time.perf_counter()
        results = captioner.caption(clips, REQUEST)
        captioner.close()
    texts = {result.clip_id: result.text for result in results}
    assert [texts[f"clip{n}"] for n in range(20)] == [caption_of(n) for n in range(20)]
    assert texts["clip199"] is None
    assert "does not answer" in next(result.error for result in results if result.clip_id == "clip199")
    assert len(server.requests) < 60  # the others were not even tried
    assert time.perf_counter() - started < 5


def test_wrong_keys_and_missing_models_stop_at_once():
    with loopback(behave=lambda number, attempt: 401) as server:
        results = captions(server, [clip(n) for n in range(100)], OpenAIConfig(max_in_flight=2))
    assert all("OPENAI_API_KEY" in result.error for result in results.values())
    assert len(server.requests) <= 4


def test_what_is_asked():
    decode = Decode(max_new_tokens=99, temperature=0.5, top_p=0.8, repetition_penalty=1.1, seed=7)
    request = CaptionRequest(kind="short", prompt=PROMPTS["short"], decode=decode)
    config = OpenAIConfig(extra={"mm_processor_kwargs": {"fps": 2}}, logprobs=True)
    with loopback() as server:
        captions(server, [clip(1, num_frames=3)], config, request)
    ((_, body, headers),) = server.requests
    wanted = {"model": "tiny-vlm", "max_tokens": 99, "temperature": 0.5, "top_p": 0.8, "seed": 7, "messages": 3}
    assert body == {**wanted, "frequency_penalty": 0.4, "logprobs": True, "mm_processor_kwargs": {"fps": 2}}
    assert headers["X-Request-Id"].startswith("clip1-")


def test_the_key_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with loopback() as server:
        captions(server, [clip(1)])
    assert server.requests[0][2]["Authorization"] == "Bearer secret"


def test_a_clip_can_be_sent_as_video():
    (video, text) = content_of(clip(1, num_frames=4), "Describe.", OpenAIConfig(send="video"))
    assert video["type"] == "video_url"
    assert video["video_url"]["url"].startswith("data:video/mp4;base64,")
    assert text == {"type": "text", "text": "Describe."}


def test_the_model_is_found_and_its_revision_reported():
    with loopback() as server:
        for spec in (server.url, f"{server.url}#tiny-vlm", server.url.removesuffix("/v1")):
            captioner = OpenAICaptioner(spec, QUICK)
            assert (captioner.identity.id, captioner.identity.revision) == ("openai:tiny-vlm", "tiny-vlm-v1")
            captioner.close()
            captioner.close()


@pytest.mark.parametrize(
    ("models", "spec", "error", "message"),
    [
        (("a", "b"), "", UsageError, "name one of its models .*: a, b"),
        (("tiny-vlm",), "#tiny-vml", CaptionerError, "has no model tiny-vml; did you mean tiny-vlm"),
        (None, "", UsageError, "does not say which models it has"),
    ],
)
def test_an_unknown_model_is_refused_with_the_choices(models, spec, error, message):
    with loopback(models=models) as server, pytest.raises(error, match=message):
        OpenAICaptioner(f"{server.url}{spec}", QUICK)


def test_a_server_that_is_down_is_named_before_anything_begins():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(CaptionerError, match=rf"{url} does not answer .* is the server running\?"):
        OpenAICaptioner(f"{url}#m", QUICK)
    with pytest.raises(UsageError, match="expected URL#MODEL"):
        OpenAICaptioner("localhost:8000#m", QUICK)
