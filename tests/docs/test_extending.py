"""docs/extending.md works as it stands: a filter, a captioner and a conditioning input of the reader's own."""

import json

from pages import ROOT, steps

from curate.query import query
from curate.tables import Dataset

PAGE = ROOT / "docs" / "extending.md"


def test_each_example_is_short():
    files = {step.name: step.text.count("\n") for step in steps(PAGE) if step.kind == "file"}
    assert set(files) >= {"my_scores.py", "my_captioner.py", "conditions.toml"}
    assert max(files.values()) < 30, files


def test_what_the_page_adds_is_used(reader):
    for step in steps(PAGE):
        reader.do(step)
    dataset = Dataset("dataset")
    [scored] = query(dataset, "select count(greenness) as n, max(greenness) as most from all_clips").to_pylist()
    assert scored["n"] > 5
    assert 0 < scored["most"] <= 1
    assert query(dataset, "select * from decisions where reason = 'greenness.max'").num_rows > 0
    texts = query(dataset, "select text from captions where captioner = 'colours' and status = 'ok'")[
        "text"
    ].to_pylist()
    assert len(texts) > 5
    assert all(" scene in " in text for text in texts)
    config = (reader.folder / "runs/green/config.toml").read_text()
    assert '"sharpness", "greenness"]' in config
    assert json.loads((reader.folder / "park.json").read_text())["request"]["scores"] == {"greenness": 0.8}
    assert (reader.folder / "park.mp4").stat().st_size > 0
