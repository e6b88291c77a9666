"""A chat server on loopback that looks at the pictures it is sent, and can be told to misbehave."""

import asyncio
import base64
import json
import re
import threading
import time
from contextlib import contextmanager

import cv2
import numpy as np
from aiohttp import web

COLOURS = ["red", "orange", "yellow", "green", "cyan", "blue", "violet", "pink", "white", "grey", "black", "brown"]
SHAPES = ["circle", "square", "triangle", "star", "ring", "cross", "heart", "arrow"]


def number_picture(number, *, height=32, width=48):
    """A grey picture, whose brightness and left part say which clip it is; survives JPEG."""
    picture = np.full((height, width, 3), 32, np.uint8)
    for bit in range(10):
        left = bit * width // 10
        picture[:, left : (bit + 1) * width // 10] = 224 if number >> bit & 1 else 32
    return picture


def read_number(picture):
    height, width = picture.shape[:2]
    middles = [picture[height // 2, (2 * bit + 1) * width // 20].mean() for bit in range(10)]
    return sum(1 << bit for bit, level in enumerate(middles) if level > 128)


def caption_of(number):
    """A true caption of the picture of a number: different for different numbers, and unlike others in its words."""
    colour, shape = COLOURS[number % 12], SHAPES[number // 12 % 8]
    place = ("left of a tree", "right of a tree", "above a lake", "below a bridge")[number // 96 % 4]
    motion = ("rolls slowly", "stands still", "spins around", "drifts away")[number // 384 % 4]
    return f"A {colour} {shape} {motion} {place} on a grey day, and a dog watches it from the side."


class Loopback:
    """Answers true captions, unless told otherwise.

    `behave(number, attempt)` may return a status, (text, finish_reason), a whole response, "cut connection", or None
    for a good answer; so may `talk(text)`, for messages without pictures. The answers to the two numbers in `swap`
    change places. With `echo`, answers repeat ids.
    """

    def __init__(self, *, latency_s=0.0, behave=None, models=("tiny-vlm",), echo=False, swap=(), talk=None):
        self.latency_s, self.behave, self.models, self.echo, self.swap = latency_s, behave, models, echo, swap
        self.talk = talk
        self.requests = []  # (number, body without pictures, headers)
        self.attempts = {}
        self.in_flight = self.most_in_flight = 0
        self.busy_s = 0.0  # seconds of work summed over requests
        self._ids = {}
        self._loop = asyncio.new_event_loop()
        self._stop = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    async def _models(self, request):
        if self.models is None:
            raise web.HTTPNotFound
        return web.json_response({"data": [{"id": name, "root": f"{name}-v1"} for name in self.models]})

    async def _chat(self, request):
        body = await request.json()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        started = time.perf_counter()
        try:
            content = body["messages"][0]["content"]
            content = [{"type": "text", "text": content}] if isinstance(content, str) else content
            pictures = [part for part in content if part["type"] != "text"]
            number = read_number(_decode(pictures[0])) if pictures else None
            attempt = self.attempts[number] = self.attempts.get(number, 0) + 1
            self.requests.append((number, {**body, "messages": len(pictures)}, request.headers))
            latency = self.latency_s(number) if callable(self.latency_s) else self.latency_s
            await asyncio.sleep(latency)
            told = self.behave(number, attempt) if self.behave else None
            if self.talk and not pictures:
                told = self.talk("\n".join(part["text"] for part in content))
            self._ids[number] = request.headers["X-Request-Id"]
            if number in self.swap:
                while not set(self.swap) <= self._ids.keys():
                    await asyncio.sleep(0.01)
                number = sum(self.swap) - number
            return await self._answer(request, number, told)
        finally:
            self.in_flight -= 1
            self.busy_s += time.perf_counter() - started

    async def _answer(self, request, number, told):
        if isinstance(told, int):
            return web.json_response({"error": {"message": f"status {told} on purpose"}}, status=told)
        if told == "cut connection":
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b'{"choices": [{"mess')
            request.transport.close()
            return response
        if isinstance(told, web.Response):
            return told
        text, reason = told if isinstance(told, tuple) else (caption_of(number), "stop")
        usage = {"prompt_tokens": 100, "completion_tokens": len(text.split())}
        identity = f"chatcmpl-{self._ids[number]}" if self.echo else "chatcmpl-1"
        answer = {"id": identity, "choices": [{"message": {"content": text}, "finish_reason": reason}], "usage": usage}
        return web.json_response(answer)


def _decode(part):
    url = part[part["type"]]["url"]
    data = base64.b64decode(re.sub("^data:[^,]*,", "", url))
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def malformed(text="<html>busy</html>"):
    return web.Response(text=text, content_type="text/html")


def completion(content):
    """The body of an answer with this content, whatever its type."""
    return web.Response(text=json.dumps({"choices": [{"message": {"content": content}}]}))


@contextmanager
def loopback(**settings):
    """A running server, gone at the end."""
    server = Loopback(**settings)
    app = web.Application(client_max_size=1 << 26)
    app.router.add_get("/v1/models", server._models)
    app.router.add_post("/v1/chat/completions", server._chat)
    runner = web.AppRunner(app, access_log=None)
    started = threading.Event()

    async def start():
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.port = site._server.sockets[0].getsockname()[1]
        started.set()

    def serve():
        server._loop.run_until_complete(start())
        server._loop.run_forever()
        server._loop.run_until_complete(runner.cleanup())
        server._loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        server._loop.call_soon_threadsafe(server._loop.stop)
        thread.join()
