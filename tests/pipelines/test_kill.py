"""Jobs that are killed: the next run finishes, and the tables hold what an undisturbed run would have written."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from curated import contents, curate

from curate.check import check
from curate.tables import Dataset

ROOT = Path(__file__).parents[2]
NARROW = ("--set", "engine.num_cpus=1", "--set", "engine.object_store_mib=100")
WIDE = ("--set", "engine.num_cpus=2", "--set", "engine.object_store_mib=100")


@pytest.fixture(scope="module")
def undisturbed(drawn_footage, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    curate(drawn_footage, out)
    return contents(out)


def start(footage: Path, out: Path, *flags: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "pipelines.cli.app", "curate", str(footage), "--out", str(out), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def kill_group(process: subprocess.Popen) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def scanned(out: Path) -> int:
    with suppress(Exception):  # in the middle of the first commit there is nothing to read yet
        return sum(status == "ok" for status in Dataset(out).read("sources", ["status"])["status"].to_pylist())
    return 0


def measured(out: Path) -> int:
    """Videos whose signals are stored, whether or not a table knows of them yet."""
    return len(list(out.glob("payload/signals/*/[!.]*.parquet")))


def test_a_driver_killed_at_random_moments_leaves_nothing_behind(drawn_footage, undisturbed, tmp_path):
    moments = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID", 0))
    num_videos = sum(row["status"] == "ok" for row in undisturbed["videos"])
    killed_at = []
    # At the start, in the middle of scanning, and when scanning is over but perhaps not what follows.
    third = num_videos // 3
    for goal in (0, moments.randint(1, third), moments.randint(third + 1, 2 * third), num_videos):
        job = start(drawn_footage, tmp_path, "--local")
        while job.poll() is None and measured(tmp_path) < goal:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.1))
        kill_group(job)
        killed_at.append(measured(tmp_path))
        if Dataset(tmp_path).exists():
            assert check(Dataset(tmp_path)).holds  # even now: what is not done is pending, and everything is there
    assert any(0 < count < num_videos for count in killed_at), killed_at
    assert start(drawn_footage, tmp_path, "--local").wait(120) == 0
    assert contents(tmp_path) == undisturbed
    assert check(Dataset(tmp_path)).holds


@pytest.mark.ray
def test_a_driver_on_ray_killed_in_the_middle_goes_on_where_it_was(drawn_footage, undisturbed, tmp_path):
    job = start(drawn_footage, tmp_path, *NARROW)
    deadline = time.monotonic() + 120
    while scanned(tmp_path) == 0 and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    kill_group(job)
    done = scanned(tmp_path)
    assert start(drawn_footage, tmp_path, *NARROW).wait(180) == 0
    assert done > 0
    assert contents(tmp_path) == undisturbed


@pytest.mark.ray
def test_a_killed_worker_is_replaced_and_two_workers_write_what_one_does(drawn_footage, undisturbed, tmp_path):
    job = start(drawn_footage, tmp_path, *WIDE)
    killed = 0
    while job.poll() is None:
        if killed < 2:
            for pid in workers_of(job.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                break
        time.sleep(0.3)
    assert job.returncode == 0
    assert killed == 2
    assert contents(tmp_path) == undisturbed


def workers_of(session: int) -> list[int]:
    """Processes of a session in which Ray runs our stage function at this moment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                title = (entry / "cmdline").read_bytes()
                if title.startswith(b"ray::MapBatches") and os.getsid(int(entry.name)) == session:
                    found.append(int(entry.name))
    return found
