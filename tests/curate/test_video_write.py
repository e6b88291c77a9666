"""Writing video leaves the process that writes as it was."""

import os
from pathlib import Path

import numpy as np
import pytest

from curate.errors import ConfigError
from curate.video_write import Encoding, write_video


def test_no_encoder_puts_its_threads_before_the_rest_of_the_machine(tmp_path):
    threads = Path("/proc/self/task")
    if not threads.is_dir():
        pytest.skip("threads are listed on Linux only")
    encoding = Encoding(codec="av1", options={"preset": "11"})
    try:
        encoding.encoder()
    except ConfigError as error:
        pytest.skip(str(error))
    seen = []

    def pictures():
        for shade in range(8):
            yield np.full((64, 64, 3), 30 * shade, np.uint8)
            seen.append({os.sched_getscheduler(int(task.name)) for task in threads.iterdir()})

    write_video(tmp_path / "film.mp4", pictures(), fps=8, encoding=encoding)
    seen.append({os.sched_getscheduler(0)})
    assert seen == [{os.SCHED_OTHER}] * len(seen)
