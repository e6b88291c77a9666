"""A child's hang, crash or hunger costs one call; the next one finds a fresh child."""

import os
import signal
import sys
import time

import pytest

from curate.errors import VideoError
from curate.isolate import Child, Killed, Limits, report_progress

HERE = f"{__name__}:"


def double(number):
    return 2 * number


def refuse(kind, message):
    raise VideoError(kind, message)


def print_something():
    print("noise on standard output")
    os.write(1, b"and below Python")
    return "clean"


def hang_after(steps):
    for step in range(steps):
        report_progress(step)
    time.sleep(60)


def work_slowly(steps):
    for step in range(steps):
        report_progress(step)
        time.sleep(0.5)
    return steps


def die(number):
    os.kill(os.getpid(), number)


def eat(mib):
    hoard = [bytearray(b"x" * (1 << 20)) for _ in range(mib)]
    time.sleep(30)
    return len(hoard)


def own_pid():
    return os.getpid()


@pytest.fixture
def child():
    sys.path.insert(0, os.path.dirname(__file__))
    child = Child()
    child.call("os:getpid")  # its start is not part of what the tests below time
    yield child
    child.close()
    sys.path.pop(0)


def test_results_and_errors_come_back(child):
    assert child.call(HERE + "double", 21) == 42
    with pytest.raises(VideoError, match="not today") as caught:
        child.call(HERE + "refuse", "undecodable", "not today")
    assert caught.value.kind == "undecodable"
    assert not isinstance(caught.value, Killed)


def test_one_process_serves_many_calls(child):
    assert child.call(HERE + "own_pid") == child.call(HERE + "own_pid") != os.getpid()


def test_what_is_printed_stays_out_of_the_messages(child):
    assert child.call(HERE + "print_something") == "clean"


def test_a_hang_is_killed_and_says_how_far_it_came(child):
    with pytest.raises(Killed, match="no progress for 2 s") as caught:
        child.call(HERE + "hang_after", 7, limits=Limits(stall_s=2))
    assert (caught.value.kind, caught.value.progress) == ("timeout", 6)
    assert child.call(HERE + "double", 1) == 2


def test_slow_but_steady_is_no_hang_until_the_wall_clock_says_so(child):
    assert child.call(HERE + "work_slowly", 8, limits=Limits(stall_s=3)) == 8
    with pytest.raises(Killed, match="not done within 2 s"):
        child.call(HERE + "work_slowly", 100, limits=Limits(wall_s=2))


def test_a_crash_in_native_code_is_an_error_with_the_signal(child):
    with pytest.raises(Killed, match="SIGSEGV") as caught:
        child.call(HERE + "die", int(signal.SIGSEGV))
    assert caught.value.kind == "crashed"
    assert child.call(HERE + "double", 2) == 4


def test_a_memory_bomb_is_stopped(child):
    with pytest.raises(VideoError, match="MiB of memory") as caught:
        child.call(HERE + "eat", 2000, limits=Limits(memory_mib=300))
    assert caught.value.kind == "memory"


def test_a_grown_child_is_replaced():
    child = Child(recycle_mib=1)
    first, second = child.call("os:getpid"), child.call("os:getpid")
    child.close()
    assert first != second


def test_limits_must_be_positive():
    with pytest.raises(ValueError, match=r"limits\.stall_s must be positive, got 0"):
        Limits(stall_s=0)
