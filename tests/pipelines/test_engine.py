"""Stage functions run in this process or on Ray, with the same outcomes; one bad item is one bad outcome."""

import os
import signal

import pytest

import pipelines.engine
from curate.errors import ConfigError, EngineError
from pipelines.engine import Engine, EngineConfig, Raised, Workers, _items_per_task


def scaling(factor: int):
    def scaled(item: int) -> dict:  # within a function, so that it travels to workers that lack this file
        if item == 7:
            raise ValueError("seven")
        return {"item": item, "value": item * factor, "missing": None}

    return scaled


def outcomes(engine: Engine, count: int, **kwargs) -> dict:
    return dict(engine.run(scaling(3), range(count), **kwargs))


def expected(count: int) -> dict:
    good = {item: {"item": item, "value": 3 * item, "missing": None} for item in range(count)}
    return good | ({7: Raised("ValueError: seven")} if count > 7 else {})


def test_in_this_process_results_come_as_they_are_done():
    with Engine(EngineConfig(local=True)) as engine:
        results = engine.run(scaling(1), [1, 2])
        assert next(results) == (1, {"item": 1, "value": 1, "missing": None})
        assert outcomes(engine, 10) == expected(10)


def test_light_work_and_no_work_start_no_cluster():
    import ray

    with Engine(EngineConfig(num_cpus=1)) as engine:
        assert outcomes(engine, 20, light=True) == expected(20)
        assert list(engine.run(scaling(1), [])) == []
        assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("num_items", "slots", "threads", "per_task"),
    [
        (1000, 2, 1, 32),  # many tasks for each of two, and none too long
        (40, 2, 1, 2),
        (3, 2, 1, 1),
        (5, 1, 2, 5),  # a single worker with threads: nothing to share, so it never runs dry in between
        (1000, 1, 2, 32),
        (40, 2, 2, 4),  # twice its threads
        (5, 4, 2, 2),  # but nobody goes without
    ],
)
def test_tasks_are_long_enough_for_threads_and_short_enough_to_share(num_items, slots, threads, per_task):
    assert _items_per_task(num_items, slots, threads) == per_task


@pytest.mark.ray
def test_on_ray_every_item_has_its_outcome():
    import ray

    with Engine(EngineConfig(num_cpus=2, object_store_mib=100)) as engine:
        assert outcomes(engine, 40) == expected(40)
        assert outcomes(engine, 1) == expected(1)
        assert ray.is_initialized()
    assert not ray.is_initialized()


def deadly():
    def shouted(batch: list[str]) -> list[str]:
        if "poison" in batch:
            os.kill(os.getpid(), signal.SIGKILL)
        return [word.upper() for word in batch]

    return shouted


@pytest.mark.ray
@pytest.mark.parametrize("workers", [None, Workers(threads=2)])
def test_of_a_batch_that_takes_its_process_down_the_bad_part_is_given_up_and_nothing_is_lost(monkeypatch, workers):
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else it is slow wherever something else is at work
    batches = [["a", "b"], ["c", "poison", "d"], ["e"], ["f"], ["g"]]
    with Engine(EngineConfig(num_cpus=2, object_store_mib=100)) as engine:
        run = engine.run(deadly(), batches, workers=workers, apart=lambda batch: [[word] for word in batch])
        found = {tuple(batch): outcome for batch, outcome in run}
    assert found.pop(("poison",)) == Raised("the process died, 3 times", "crashed")
    for whole in (batch for batch in found if len(batch) > 1):
        assert "poison" not in whole
    assert sorted(word for outcome in found.values() for word in outcome) == list("ABCDEFG")


@pytest.mark.ray
def test_where_every_item_takes_its_process_down_the_job_stops(monkeypatch):
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setattr(pipelines.engine, "_HOPELESS", 1)
    with (
        Engine(EngineConfig(num_cpus=2, object_store_mib=100)) as engine,
        pytest.raises(EngineError, match="nothing works: the process died, 3 times"),
    ):
        list(engine.run(deadly(), [["poison"]] * 3))


@pytest.mark.ray
def test_two_jobs_share_a_cluster_without_disturbing_each_other(tmp_path):
    import subprocess
    import sys

    import ray

    with Engine(EngineConfig(num_cpus=2, object_store_mib=100)) as engine:
        assert outcomes(engine, 5) == expected(5)  # starts the cluster
        address = ray.get_runtime_context().gcs_address
        script = (
            "import sys; sys.path.insert(0, 'tests/pipelines')\n"
            "from test_engine import *\n"
            f"with Engine(EngineConfig(address='{address}')) as engine:\n"
            "    assert outcomes(engine, 60) == expected(60)\n"
        )
        other = subprocess.Popen([sys.executable, "-c", script])
        assert outcomes(engine, 60) == expected(60)
        assert other.wait(120) == 0
        assert outcomes(engine, 8) == expected(8)  # the end of the other job did not end the cluster


@pytest.mark.parametrize(
    ("address", "attempts", "message"),
    [(None, 3, "start Ray on this machine: too slow"), ("auto", 1, "join the Ray cluster at auto: too slow")],
)
def test_a_cluster_that_does_not_come_up_is_one_line_and_its_own_is_tried_again(
    monkeypatch, address, attempts, message
):
    import ray

    calls = []

    def init(**where):
        calls.append(where)
        raise Exception("too slow")

    monkeypatch.setattr(ray, "init", init)
    with Engine(EngineConfig(address=address)) as engine, pytest.raises(EngineError, match=message):
        outcomes(engine, 3)
    assert len(calls) == attempts


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"local": True, "address": "auto"}, "exclude each other"),
        ({"num_cpus": 0}, "num_cpus must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        EngineConfig(**settings)
