"""The caption job against a chat server on loopback: how busy it is kept, what a kill costs, what damage is caught.

    python -m benchmarks.recaption --clips 1000 --scorer coca:runs/distillation/student --out runs/recaption

The clips are drawn, so what a right caption of each is, is known. The server, a process of its own, answers with these
captions, late or damaged as the name of the model says. Prints Markdown.

    busy      how long the job takes, of what the server's latency allows with 32 requests at a time
    killed    the command is killed after 70 % of the requests, and run again
    damaged   captions are shuffled, swapped, repeated, cut, looped, refused ... before they are sent
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.distillation import draw_dataset
from captioner.caption_job import CaptionConfig, resolve
from captioner.caption_plan import plan_captions
from captioner.makers.by_name import MakersConfig
from captioner.makers.openai import OpenAIConfig
from curate.errors import CaptionerError
from curate.tables import Dataset
from pipelines.caption import CaptionSummary, caption_dataset
from pipelines.engine import Engine, EngineConfig

PARTS = ("busy", "killed", "damaged")
IN_FLIGHT = 32
LATENCIES_S = (0.5, 2.0, 8.0)
KILLS = 3
Answers = dict[str, tuple[str, str]]  # by clip: text and finish_reason


def serve(ready: Connection, answers: Mapping[str, Answers], latency_s: Mapping[str, float]) -> None:
    """Answers for ever. Models not named in `answers` tell the truth at once."""
    import asyncio

    from aiohttp import web

    asked: dict[str, list[str]] = {}
    spans: dict[str, list[float]] = {}  # first request, last answer

    async def chat(request: web.Request) -> web.Response:
        model = (await request.json())["model"]
        clip_id = request.headers["X-Request-Id"].rsplit("-", 2)[0]
        asked.setdefault(model, []).append(clip_id)
        span = spans.setdefault(model, [time.monotonic()] * 2)
        await asyncio.sleep(latency_s.get(model, 0.0))
        span[1] = time.monotonic()
        text, reason = answers.get(model, answers["true"])[clip_id]
        usage = {"prompt_tokens": 1000, "completion_tokens": len(text.split())}
        return web.json_response({"choices": [{"message": {"content": text}, "finish_reason": reason}], "usage": usage})

    async def seen(request: web.Request) -> web.Response:
        return web.json_response(asked.get(request.match_info["model"], []))

    async def span(request: web.Request) -> web.Response:
        return web.json_response(spans[request.match_info["model"]])

    async def models(request: web.Request) -> web.Response:
        raise web.HTTPNotFound

    async def run() -> None:
        app = web.Application(client_max_size=1 << 26)
        app.add_routes([web.post("/v1/chat/completions", chat), web.get("/v1/models", models)])
        app.add_routes([web.get("/seen/{model}", seen), web.get("/span/{model}", span)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ready.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


def damages(true: Answers, random_: random.Random) -> dict[str, Answers]:
    """Answers by kind of damage. What is not damaged is the same object as in `true`."""
    clips = sorted(true)
    tenth = random_.sample(clips, len(clips) // 10)

    def moved(group: list[str], to: list[str]) -> Answers:
        return true | {clip: true[other] for clip, other in zip(group, to, strict=True)}

    def changed(change: Callable[[str], tuple[str, str]]) -> Answers:
        return true | {clip: change(true[clip][0]) for clip in tenth}

    pairs = random_.sample(clips, 32)
    sorry = "I'm sorry, but I can't describe this video. Please provide more context so that I can help you with it."
    german = "Ein kleiner roter Kreis bewegt sich langsam nach links, und der Hintergrund ist grau und ohne Muster."
    return {
        "none": true,
        "all shuffled": moved(clips, random_.sample(clips, len(clips))),
        "all moved to the next clip": moved(clips, [*clips[1:], clips[0]]),
        "a tenth moved among themselves": moved(tenth, [*tenth[1:], tenth[0]]),
        "16 pairs swapped": moved(pairs, [*pairs[16:], *pairs[:16]]),
        "one for 500 clips": moved(clips[:500], [clips[0]] * len(clips[:500])),
        "cut, and said so": changed(lambda text: (text[: len(text) // 2], "length")),
        "cut in silence": changed(lambda text: (text[: len(text) // 2].rstrip(". "), "stop")),
        "looping": changed(lambda text: (" ".join([text.split(". ")[0] + "."] * 12), "stop")),
        "refused": changed(lambda text: (sorry, "stop")),
        "empty": changed(lambda text: ("", "stop")),
        "the prompt repeated": changed(lambda text: (f"Cover, in one paragraph of 60 to 150 words: {text}", "stop")),
        "in German": changed(lambda text: (german, "stop")),
    }


def run_job(dataset: Dataset, url: str, model: str, scorer: str | None, **settings: object) -> CaptionSummary | str:
    """What came of a whole job, or why it stopped."""
    makers = MakersConfig(openai=OpenAIConfig(max_in_flight=IN_FLIGHT))
    config = CaptionConfig(captioner=f"openai:{url}/v1#{model}", scorer=scorer, makers=makers, **settings)  # type: ignore[arg-type]
    job = resolve(config)
    with Engine(EngineConfig(local=True)) as engine:
        try:
            return caption_dataset(dataset, job, plan_captions(dataset, job), engine, run_id="drawn")
        except CaptionerError as error:
            return str(error)


def rows_by(dataset: Dataset, captioner: str) -> dict[str, dict]:
    rows = dataset.read("captions", ["clip_id", "captioner", "status", "text", "reasons"]).to_pylist()
    return {row["clip_id"]: row for row in rows if row["captioner"] == captioner}


def true_captions(dataset: Dataset, truth: Path) -> Answers:
    """By the template captioner, through the job."""
    job = resolve(CaptionConfig(captioner=f"template:{truth}"))
    with Engine(EngineConfig(local=True)) as engine:
        caption_dataset(dataset, job, plan_captions(dataset, job), engine, run_id="drawn")
    return {clip_id: (row["text"], "stop") for clip_id, row in rows_by(dataset, "template").items()}


def measure_busy(dataset: Dataset, url: str, num: int) -> None:
    """All answers are equally late, so the least is whole rounds of 32."""
    print("\n| latency | captions | least seconds | seconds | reached | of these asking | while asking | CPU-s |")
    print("|---|---|---|---|---|---|---|---|")
    for latency_s in LATENCIES_S:
        used, model = time.process_time(), f"late-{latency_s}"
        summary = run_job(dataset, url, model, None)
        assert isinstance(summary, CaptionSummary), summary
        assert summary.states["ok"] == num
        cpu_s = time.process_time() - used
        first, last = told(url, "span", model)
        least = -(-num // IN_FLIGHT) * latency_s
        print(
            f"| {latency_s} s | {num} | {least:.1f} | {summary.seconds:.1f} | {least / summary.seconds:.1%} | "
            f"{last - first:.1f} | {least / (last - first):.1%} | {cpu_s:.1f} |"
        )


def measure_kills(dataset: Dataset, url: str, num: int) -> None:
    print("\n| kill | asked when killed | stored when killed | rows at the end | clips without | asked twice | batch |")
    print("|---|---|---|---|---|---|---|")
    for kill in range(KILLS):
        model, batch = f"killed-{kill}", 64
        command = [sys.executable, "-m", "pipelines.cli.app", "caption", dataset.uri, "--local", "--set"]
        command += [f"batch={batch}", "--captioner", f"openai:{url}/v1#{model}"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while (asked := len(told(url, "seen", model))) < 0.7 * num:
            if process.poll() is not None:
                raise SystemExit("the job ended before it could be killed")
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        stored = len(rows_by(dataset, f"openai:{model}"))
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        rows = dataset.read("captions", ["clip_id", "captioner", "status"]).to_pylist()
        mine = Counter(
            row["clip_id"] for row in rows if row["captioner"] == f"openai:{model}" and row["status"] == "ok"
        )
        twice = sum(times - 1 for times in Counter(told(url, "seen", model)).values())
        print(f"| {kill + 1} | {asked} | {stored} | {mine.total()} | {num - len(mine)} | {twice} | {batch} |")


def told(url: str, what: str, model: str) -> Any:
    """What the server noted: `seen`, the clips of all requests; `span`, its first request and its last answer."""
    with urllib.request.urlopen(f"{url}/{what}/{model}") as answer:
        return json.load(answer)


def measure_damage(dataset: Dataset, url: str, answers: Mapping[str, Answers], scorer: str | None) -> None:
    print(f"\nCompared by {scorer or 'nothing'}.\n")
    print("| damage | captions damaged | of these accepted | caught as | right ones rejected | job |")
    print("|---|---|---|---|---|---|")
    for name, given in answers.items():
        model = name.replace(" ", "-").replace(",", "")
        outcome = run_job(dataset, url, model, scorer, max_attempts=1)
        rows = rows_by(dataset, f"openai:{model}")
        harmed = {clip for clip in rows if given[clip] != answers["true"][clip]}
        accepted = sum(rows[clip]["status"] == "ok" for clip in harmed)
        reasons = Counter(reason for clip in harmed for reason in rows[clip]["reasons"] or ())
        wronged = sum(rows[clip]["status"] != "ok" for clip in rows.keys() - harmed)
        caught = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()) or "-"
        ended = f"stopped after {len(rows)}" if isinstance(outcome, str) else "done"
        print(f"| {name} | {len(harmed)} | {accepted} | {caught} | {wronged} of {len(rows) - len(harmed)} | {ended} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--scorer", help="what compares captions with clips, for example coca:runs/student")
    parser.add_argument("--out", type=Path, default=Path("runs/recaption"))
    wanted = parser.parse_args()
    dataset, truth = draw_dataset(wanted.out, wanted.clips)
    true = true_captions(dataset, truth)
    answers = {"true": true, **damages(true, random.Random(0))}
    served = {name.replace(" ", "-").replace(",", ""): given for name, given in answers.items()}
    late = {f"late-{latency_s}": latency_s for latency_s in LATENCIES_S} | {f"killed-{n}": 0.3 for n in range(KILLS)}
    context = get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(there, served, late), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}"
    try:
        if "busy" in wanted.parts:
            measure_busy(dataset, url, len(true))
        if "killed" in wanted.parts:
            measure_kills(dataset, url, len(true))
        if "damaged" in wanted.parts:
            measure_damage(dataset, url, answers, wanted.scorer)
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
