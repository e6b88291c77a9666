"""A dataset of kept clips with previews, as scan, split and decide would leave it, made in a moment."""

from datetime import datetime, timezone

import cv2
import pyarrow as pa
from loopback_server import number_picture

from curate.payload import payload_path, write_payload
from curate.tables import Dataset

_FACTS = {"fingerprint": "f", "run_id": "r"}


def make_dataset(root, num_clips, *, clips_per_video=8, kept=lambda number: True):
    """Clips c0000, c0001, ... of two seconds with four previews each, whose pictures say which clip they are."""
    dataset = Dataset(root)
    now = datetime.now(timezone.utc)
    dataset.replace_rows("runs", ["r"], [{"run_id": "r", "verb": "test", "started": now, "version": "0", "config": ""}])
    videos = [range(start, min(start + clips_per_video, num_clips)) for start in range(0, num_clips, clips_per_video)]
    sources, rows, clips, decisions = [], [], [], []
    for index, numbers in enumerate(videos):
        video_id, path = f"v{index:03}", payload_path("previews", f"v{index:03}", "f")
        uri = str(root / f"{video_id}.mp4")
        previews = [(10 * place + 5 * step, number) for place, number in enumerate(numbers) for step in range(2)]
        jpegs = {number: _jpeg(number) for number in numbers}
        table = {"pts": [pts for pts, _ in previews], "jpeg": [jpegs[number] for _, number in previews]}
        write_payload(dataset.uri, path, pa.table(table))
        sources.append(
            {
                "uri": uri,
                "video_id": video_id,
                "original_caption": f"IMG {index}" if index % 2 else None,
                "status": "ok",
            }
        )
        rows.append({"video_id": video_id, "uri": uri, "previews_path": path, "status": "ok"})
        for place, number in enumerate(numbers):
            clips.append(_clip(number, place, video_id))
            state = "kept" if kept(number) else "filtered"
            decisions.append({"clip_id": f"c{number:04}", "video_id": video_id, "state": state})
    for name, table in (("sources", sources), ("videos", rows), ("clips", clips), ("decisions", decisions)):
        dataset.replace_all(name, [{**row, **_FACTS} for row in table])
    return dataset


def _clip(number, place, video_id):
    return {
        "clip_id": f"c{number:04}",
        "scene_id": f"s{number}",
        "video_id": video_id,
        "start_pts": 10 * place,
        "end_pts": 10 * place + 10,
        "start_s": 1.0 * place,
        "end_s": 1.0 * place + 1,
        "num_frames": 10,
        "time_base_num": 1,
        "time_base_den": 10,
        "duration_s": 1.0,
        "fps": 10.0,
        "width_px": 48,
        "height_px": 32,
        "aspect": 1.5,
        "start_kind": "cut",
        "end_kind": "cut",
        "camera_motion": "pan_left" if number % 2 else "mixed",
    }


def _jpeg(number):
    _, data = cv2.imencode(".jpg", number_picture(number))
    return data.tobytes()
