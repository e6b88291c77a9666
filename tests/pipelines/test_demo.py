"""The demo draws, curates and answers, and goes on where it stopped."""

import re

import pytest

from pipelines.cli.app import main


def test_the_demo_runs_and_a_second_run_decodes_nothing(tmp_path, capsys):
    def run() -> tuple[str, str]:
        with pytest.raises(SystemExit) as exited:
            main(["demo", "--out", str(tmp_path / "out"), "--seconds", "16", "--local"])
        assert exited.value.code == 0
        return capsys.readouterr()

    out, err = run()
    assert re.search(r"scan +\d+ done, \d+ failed \(.*\d+ decoded", err)
    assert "camera_motion" in out
    assert "kept" in out
    again, err = run()
    assert "drawing" not in err
    assert re.search(r"scan +\d+ unchanged, 0 decoded", err)
    assert again == out
