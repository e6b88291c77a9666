"""Call a function in a child process that can be killed: a hang, a crash or a bomb costs that call and nothing else.

    child = Child()
    result = child.call("curate.scan:scan_file", path, config, limits=Limits(stall_s=60))

One child serves many calls, so that its start (half a second) is paid once. It is replaced after it was killed and
when it has grown. Messages are pickles with a length in front, over the child's standard input and output.
"""

from __future__ import annotations

import atexit
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, BinaryIO

from curate.errors import VideoError

_POLL_S = 0.25
_LENGTH = struct.Struct("!Q")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one call may use before its process is killed."""

    wall_s: float = 4 * 3600.0
    """Seconds in all."""
    stall_s: float = 120.0
    """Seconds without progress."""
    memory_mib: int = 4096
    """Resident memory of the process."""

    def __post_init__(self) -> None:
        for name in ("wall_s", "stall_s", "memory_mib"):
            if getattr(self, name) <= 0:
                raise ValueError(f"limits.{name} must be positive, got {getattr(self, name)}")


class Killed(VideoError):
    """The child was killed or died; `progress` is the last value that it reported."""

    progress: Any = None


class Child:
    """A child process for calls, one at a time; started when first needed, safe to keep for ever."""

    def __init__(self, *, recycle_mib: int = 1024) -> None:
        self._recycle_mib = recycle_mib
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, function: str, *args: Any, limits: Limits | None = None) -> Any:
        """Run `module:function` with the arguments in the child and return its result.

        Raises what the function raised, or Killed with kind timeout, memory or crashed.
        """
        limits = limits or Limits()
        process = self._started()
        try:
            _send(_stream(process.stdin), (function, args, limits.memory_mib))
            kind, value = self._await_answer(process, limits)
        except BrokenPipeError:
            self.close()
            raise Killed("crashed", "the decoder's process was gone before the call") from None
        except Killed:
            self.close()
            raise
        except BaseException:  # an interrupt in the middle leaves an answer behind that belongs to nobody
            self.close()
            raise
        if _resident_mib(process.pid) > self._recycle_mib:
            self.close()
        if kind == "raised":
            raise value
        return value

    def close(self) -> None:
        """Kill the process, if there is one. The next call starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with suppress(OSError):
                    _stream(stream).close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
                environment.setdefault(name, "1")  # as many processes as cores are the rule here
            self._process = subprocess.Popen(
                [sys.executable, "-m", "curate.isolate"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,  # `select` sees what the pipe holds, not what a buffer of ours does
                env=environment,
            )
            atexit.register(self.close)
        return self._process

    def _await_answer(self, process: subprocess.Popen[bytes], limits: Limits) -> tuple[str, Any]:
        output = _stream(process.stdout)
        began = progressed = time.monotonic()
        progress: Any = None

        def killed(kind: Any, message: str) -> Killed:
            error = Killed(kind, message)
            error.progress = progress
            return error

        while True:
            ready, _, _ = select.select([output], [], [], _POLL_S)
            now = time.monotonic()
            if ready:
                message = _receive(output)
                if message is None:
                    raise killed("crashed", f"the decoder took its process down ({_cause_of_death(process)})")
                kind, value = message
                if kind != "progress":
                    return kind, value
                if value != progress:
                    progress, progressed = value, now
            if _resident_mib(process.pid) > limits.memory_mib:
                raise killed("memory", f"needed more than {limits.memory_mib} MiB of memory (scan.limits.memory_mib)")
            if now - began > limits.wall_s:
                raise killed("timeout", f"not done within {limits.wall_s:g} s (scan.limits.wall_s)")
            if now - progressed > limits.stall_s:
                raise killed("timeout", f"no progress for {limits.stall_s:g} s (scan.limits.stall_s)")


def report_progress(value: Any) -> None:
    """Tell the parent how far this call has come; a no-op outside a child. Repeating a value is no progress."""
    if _parent is not None:
        _send(_parent, ("progress", value))


_parent: BinaryIO | None = None


def _serve() -> None:
    """The child's main loop: one call after the other until the parent closes the pipe or is gone."""
    global _parent
    requests, _parent = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up between the messages
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    while (request := _receive(requests)) is not None:
        name, args, memory_mib = request
        _limit_memory(memory_mib)
        answer: tuple[str, Any]
        try:
            module, _, function = name.partition(":")
            call: Callable[..., Any] = getattr(import_module(module), function)
            answer = ("ok", call(*args))
        except MemoryError:
            answer = ("raised", VideoError("memory", f"needed more than {memory_mib} MiB of memory"))
        except Exception as error:
            answer = ("raised", error)
        try:
            _send(_parent, answer)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            _send(_parent, ("raised", VideoError("internal", f"{answer[1]!r} cannot be sent: {error}")))


def _limit_memory(memory_mib: int) -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        # Private writable memory, where the system counts it; the parent watches resident memory besides.
        resource.setrlimit(resource.RLIMIT_DATA, (2 * memory_mib << 20, resource.RLIM_INFINITY))


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _send(stream: BinaryIO, message: Any) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def _receive(stream: BinaryIO) -> Any:
    """The next message, or None at the end of the stream."""
    head = _read_exactly(stream, _LENGTH.size)
    data = _read_exactly(stream, _LENGTH.unpack(head)[0]) if head else None
    return pickle.loads(data) if data else None


def _read_exactly(stream: BinaryIO, length: int) -> bytes | None:
    parts = []
    while length:
        part = stream.read(length)
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _stream(stream: Any) -> BinaryIO:
    assert stream is not None
    return stream


def _resident_mib(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, IndexError, ValueError):  # not Linux, or just gone
        return 0.0


def _cause_of_death(process: subprocess.Popen[bytes]) -> str:
    status = process.wait()
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"


if __name__ == "__main__":
    # Under its own name, so that `report_progress` and the calls see the same module.
    import curate.isolate

    curate.isolate._serve()
