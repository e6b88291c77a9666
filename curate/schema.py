"""Every table of a dataset: its columns, each with a sentence, and who owns its rows.

`reelwright schema` prints this file's contents; `docs/manifest.md` is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

SCHEMA_VERSION = 1

STATES = ("kept", "filtered", "duplicate", "failed", "pending")
"""Every source, scene and clip ends in exactly one of these."""

BOUNDARIES = ("start", "cut", "dissolve", "fade", "wipe", "forced", "end")
"""How a scene or clip begins or ends: the edge of the video, a kind of transition, or a length limit of ours."""

CAPTION_KINDS = ("alt", "human", "short", "medium", "descriptive", "structured")
"""`alt` came with the input, `human` was written for it; the others are made: the main subject only, with its
surroundings, everything, or everything as facts with the prose composed from them."""


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: pa.DataType
    doc: str
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table, the columns that identify a row, and the column whose rows are always replaced together."""

    name: str
    doc: str
    key: tuple[str, ...]
    owner: str
    columns: tuple[Column, ...]
    arrow: pa.Schema = field(init=False)

    def __post_init__(self) -> None:
        fields = [pa.field(column.name, column.type, column.nullable) for column in self.columns]
        object.__setattr__(self, "arrow", pa.schema(fields))


_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_SCORE = _FLOAT  # not float32: a limit of 0.7 must mean the 0.7 that people see
_TIME = pa.timestamp("us", tz="UTC")


def _key(name: str, doc: str, type: pa.DataType = _TEXT) -> Column:
    return Column(name, type, doc, nullable=False)


_FINGERPRINT = _key("fingerprint", "Hash of all that determined this row: content, settings, weights, stage version.")
_RUN = _key("run_id", "The run that wrote this row; see the table `runs`.")
_STATUS = (
    _key("status", "`ok`, `failed`, or `pending` for what is known but not done yet."),
    Column("error_kind", _TEXT, "What kind of thing went wrong, from a closed set; null when nothing did."),
    Column("error", _TEXT, "What went wrong and what to do, in a sentence; null when nothing did."),
)
_SPAN = (
    _key("start_pts", "First frame, in units of the time base of the video.", _INT),
    _key("end_pts", "End of the last frame, exclusive, in the same units.", _INT),
    _key("start_s", "First frame in seconds, for people.", _FLOAT),
    _key("end_s", "End in seconds, exclusive, for people.", _FLOAT),
    _key("num_frames", "Decoded frames in the span.", _INT),
)

SOURCES = TableSchema(
    "sources",
    "One row per input: a file, an object or an address. Written before any work begins, so that none can vanish.",
    key=("uri",),
    owner="uri",
    columns=(
        _key("uri", "Where the input is: an absolute path, or an s3, gs, http or https address."),
        Column(
            "video_id",
            _TEXT,
            "The video that its content is; null until it was read, or when it could not be.",
        ),
        Column(
            "duplicate_of",
            _TEXT,
            "Another uri with the same content, which stands for both; null when this one does.",
        ),
        Column("size_bytes", _INT, "Size when it was last looked at."),
        Column("modified", _TIME, "Modification time when it was last looked at; null where the store has none."),
        Column("etag", _TEXT, "Version tag of the object store or server; null for local files."),
        Column("license", _TEXT, "Licence as the input list gives it."),
        Column("title", _TEXT, "Title as the input list gives it."),
        Column("original_caption", _TEXT, "Caption or alt text that came with the input."),
        Column("extra", pa.map_(_TEXT, _TEXT), "All other columns of the input list, as text."),
        *_STATUS,
        _FINGERPRINT,
        _RUN,
    ),
)

VIDEOS = TableSchema(
    "videos",
    "One row per distinct content. A video with `status` ok and an `error_kind` is usable up to the damage.",
    key=("video_id",),
    owner="video_id",
    columns=(
        _key("video_id", "First 32 hexadecimal digits of the SHA-256 of the content."),
        _key("uri", "The input that was decoded."),
        Column("size_bytes", _INT, "Size of the content."),
        Column("container", _TEXT, "Container as FFmpeg recognised it, whatever the name says."),
        Column("codec", _TEXT, "Codec of the first video stream."),
        Column("pixel_format", _TEXT, "Pixel format as FFmpeg names it."),
        Column("bit_depth", _INT, "Bits per colour component."),
        Column(
            "color_transfer",
            _TEXT,
            "Transfer characteristic, for example bt709, smpte2084 (HDR10) or arib-std-b67 (HLG).",
        ),
        Column("width_px", _INT, "Width as displayed: after rotation and sample aspect."),
        Column("height_px", _INT, "Height as displayed: after rotation and sample aspect."),
        Column("coded_width_px", _INT, "Width of the stored picture."),
        Column("coded_height_px", _INT, "Height of the stored picture."),
        Column(
            "rotation_deg",
            _INT,
            "Clockwise turn that displays the stored picture upright: 0, 90, 180 or 270.",
        ),
        Column("sample_aspect", _FLOAT, "Width over height of one stored pixel."),
        Column("fps", _FLOAT, "Mean frames per second, from the presentation times of the decoded frames."),
        Column("is_vfr", _BOOL, "Whether the frame intervals vary by more than rounding."),
        Column("is_interlaced", _BOOL, "Whether any frame was stored as two fields."),
        Column("time_base_num", _INT, "Numerator of the unit of all pts, in seconds."),
        Column("time_base_den", _INT, "Denominator of the unit of all pts, in seconds."),
        Column("start_pts", _INT, "Presentation time of the first decoded frame."),
        Column("end_pts", _INT, "End of the last decoded frame, exclusive."),
        Column("duration_s", _FLOAT, "Decoded duration in seconds."),
        Column("num_frames", _INT, "Frames that were really decoded."),
        Column("num_corrupt_frames", _INT, "Decoded frames that the decoder itself marked as damaged."),
        Column("declared_frames", _INT, "Frames that the container promises; null when it does not say."),
        Column("declared_duration_s", _FLOAT, "Duration that the container promises; null when it does not say."),
        Column("bitrate_bps", _FLOAT, "Size of the content over its decoded duration, in bits per second."),
        Column("has_audio", _BOOL, "Whether there is an audio stream."),
        Column("work_width_px", _INT, "Width of the reduced frames that all signals and previews were made from."),
        Column("work_height_px", _INT, "Height of the same."),
        Column("signals_path", _TEXT, "Per-frame signals: a Parquet file, relative to the dataset."),
        Column("previews_path", _TEXT, "Preview frames as JPEG in a Parquet file, relative to the dataset."),
        Column("num_previews", _INT, "Number of preview frames."),
        *_STATUS,
        _FINGERPRINT,
        _RUN,
    ),
)

SCENES = TableSchema(
    "scenes",
    "One row per run of frames between transitions. Scenes and the transitions between them cover every decoded frame.",
    key=("scene_id",),
    owner="video_id",
    columns=(
        _key("scene_id", "Hash of the video and the exact span."),
        _key("video_id", "The video that it is part of."),
        _key("scene_index", "Position in the video, from 0.", _INT),
        *_SPAN,
        _key("start_kind", f"How it begins: one of {', '.join(BOUNDARIES)}."),
        _key("end_kind", f"How it ends: one of {', '.join(BOUNDARIES)}."),
        _key("transition_frames", "Frames of the gradual transition after it, which belong to no scene.", _INT),
        _key("num_clips", "Clips that were taken from it.", _INT),
        Column("reason", _TEXT, "Why no clip was taken, for example too_short; null when one was."),
        _FINGERPRINT,
        _RUN,
    ),
)

CLIPS = TableSchema(
    "clips",
    "One row per span that may be trained on, with its technical scores. A score that could not be computed is null.",
    key=("clip_id",),
    owner="video_id",
    columns=(
        _key("clip_id", "Hash of the video and the exact span, the same on every run and machine."),
        _key("scene_id", "The scene that it was taken from."),
        _key("video_id", "The video that it is part of."),
        *_SPAN,
        _key("time_base_num", "Numerator of the unit of its pts, in seconds.", _INT),
        _key("time_base_den", "Denominator of the unit of its pts, in seconds.", _INT),
        _key("duration_s", "Length in seconds.", _FLOAT),
        _key("fps", "Mean frames per second within the clip.", _FLOAT),
        _key("width_px", "Width as displayed.", _INT),
        _key("height_px", "Height as displayed.", _INT),
        _key("aspect", "Width over height, as displayed.", _FLOAT),
        Column("content_x_px", _INT, "Left edge of the picture inside its black bars, in displayed pixels."),
        Column("content_y_px", _INT, "Top edge of the same."),
        Column("content_width_px", _INT, "Width of the picture inside its black bars."),
        Column("content_height_px", _INT, "Height of the same."),
        _key(
            "start_kind",
            "How it begins: a transition of its scene, or forced where a long scene was divided.",
        ),
        _key("end_kind", "How it ends, likewise."),
        Column("luma", _SCORE, "Mean brightness, 0 black to 255 white."),
        Column("contrast", _SCORE, "Standard deviation of brightness within a frame, mean over frames, 0 to 127."),
        Column("saturation", _SCORE, "Mean distance of the colours from grey, 0 to 255."),
        Column("sharpness", _SCORE, "Median over frames of the variance of the Laplacian, at the reduced size."),
        Column("motion", _SCORE, "Median speed of the picture's points, in frame diagonals per second."),
        Column("motion_p95", _SCORE, "95th percentile over time of the same speed."),
        Column(
            "subject_motion",
            _SCORE,
            "Motion that remains after the camera's own, in frame diagonals per second.",
        ),
        Column("pan", _SCORE, "Mean camera movement to the right, in frame widths per second; negative is left."),
        Column("tilt", _SCORE, "Mean camera movement upwards, in frame heights per second; negative is down."),
        Column(
            "zoom",
            _SCORE,
            "Mean growth of the picture, as natural logarithm of scale per second; negative is out.",
        ),
        Column(
            "shake",
            _SCORE,
            "Unsteadiness of the camera: spread of its movement about its own smooth path, in diagonals per second.",
        ),
        Column(
            "camera_motion",
            _TEXT,
            "Of pan, tilt, zoom: static, pan_left, pan_right, tilt_up, tilt_down, zoom_in, zoom_out, shaky or mixed.",
        ),
        Column("frozen_fraction", _SCORE, "Share of frames that repeat the frame before."),
        Column("black_fraction", _SCORE, "Share of frames that are black."),
        Column("letterbox_fraction", _SCORE, "Share of the picture's area covered by black bars."),
        Column(
            "inner_change",
            _SCORE,
            "Strongest evidence of a transition inside the clip, 0 none to 1 the splitter's threshold.",
        ),
        Column("flashes", _INT, "Flashes inside the clip."),
        Column("bits_per_pixel", _SCORE, "Bits of the video per displayed pixel and frame."),
        Column("damaged_frames", _INT, "Frames that the decoder itself marked as damaged."),
        _FINGERPRINT,
        _RUN,
    ),
)

SCORES = TableSchema(
    "scores",
    "One row per clip and function of the user's own: its value. In the view `scored_clips` each is a column.",
    key=("score_id",),
    owner="score_id",
    columns=(
        _key("score_id", "The clip and the name of the score."),
        _key("clip_id", "The clip."),
        _key("video_id", "Its video."),
        _key("name", "Name of the score, which is that of the function."),
        _key("function", "What computed it, as module:function."),
        Column("value", _SCORE, "The score; null when the function says that there is none."),
        *_STATUS,
        _FINGERPRINT,
        _RUN,
    ),
)

DECISIONS = TableSchema(
    "decisions",
    "One row per clip: its state, and the first rule that decided it. All scores stay in `clips`.",
    key=("clip_id",),
    owner="video_id",
    columns=(
        _key("clip_id", "The clip."),
        _key("video_id", "Its video."),
        _key("state", f"One of {', '.join(STATES)}."),
        Column("reason", _TEXT, "The first rule that failed, for example motion.min; null for a kept clip."),
        Column("score", _FLOAT, "The value that the rule looked at."),
        Column("threshold", _FLOAT, "The limit that it was held against."),
        Column("split", _TEXT, "train or val; all clips of a video fall on the same side."),
        _FINGERPRINT,
        _RUN,
    ),
)

MEDIA = TableSchema(
    "media",
    "One row per kept clip that was cut: where its frames are, exactly.",
    key=("clip_id",),
    owner="clip_id",
    columns=(
        _key("clip_id", "The clip."),
        _key("video_id", "Its video."),
        Column(
            "mode",
            _TEXT,
            "virtual (span of the source), copy (packets copied, from a keyframe), or reencode.",
        ),
        Column("uri", _TEXT, "The file: the source for virtual spans, else a path relative to the dataset."),
        Column("start_pts", _INT, "First frame in the file, in the file's time base."),
        Column("end_pts", _INT, "End of the last frame, exclusive, in the file's time base."),
        Column("time_base_num", _INT, "Numerator of the file's time base."),
        Column("time_base_den", _INT, "Denominator of the file's time base."),
        Column("num_frames", _INT, "Frames of the clip in the file, counted by decoding it where it was written."),
        Column("width_px", _INT, "Width as displayed."),
        Column("height_px", _INT, "Height as displayed."),
        Column("codec", _TEXT, "Codec of the file."),
        Column("size_bytes", _INT, "Size of the file; null for virtual spans."),
        *_STATUS,
        _FINGERPRINT,
        _RUN,
    ),
)

CAPTIONS = TableSchema(
    "captions",
    "One row per clip, kind and captioner: the text, or why there is none. Only rows with `status` ok are trained on.",
    key=("caption_id",),
    owner="caption_id",
    columns=(
        _key("caption_id", "Hash of the clip, the kind and the captioner."),
        _key("clip_id", "The clip."),
        _key("video_id", "Its video."),
        _key("kind", f"One of {', '.join(CAPTION_KINDS)}."),
        _key("captioner", "Who made it, for example coca:mine, hf:NAME, openai:MODEL or original."),
        _key("revision", "Version of the captioner: hash of its weights, commit, or what its server reports."),
        Column("text", _TEXT, "The caption, cleaned; of a rejected row the text that was rejected."),
        Column("raw_text", _TEXT, "The answer as it came, where cleaning changed it; else null."),
        Column("facts", _TEXT, "The facts that the text was composed from, as JSON; only of kind structured."),
        Column("reasons", pa.list_(_TEXT), "The checks that it failed, for example loop, refusal or misaligned."),
        Column(
            "flags", pa.list_(_TEXT), "What is worth knowing about an accepted caption, for example opener_removed."
        ),
        Column("attempts", _INT, "How often the captioner was asked, with other settings after each rejection."),
        Column("num_words", _INT, "Words of the text."),
        Column("prompt_tokens", _INT, "Tokens that the captioner read, all attempts; null when it does not say."),
        Column("output_tokens", _INT, "Tokens that the captioner wrote, all attempts; null when it does not say."),
        Column("finish_reason", _TEXT, "Why the last answer ended: stop, or length when it was cut."),
        Column("mean_logprob", _SCORE, "Mean natural logarithm of the probability of its tokens."),
        Column("latency_s", _FLOAT, "Seconds from asking to answer, last attempt, its share of a batch."),
        Column("clip_score", _SCORE, "Similarity of the text to its own clip, in units of the scorer."),
        Column(
            "alignment_margin",
            _SCORE,
            "By how many standard deviations it fits its own clip better than other clips of its batch.",
        ),
        Column("scorer", _TEXT, "What measured both, with its revision; null when nothing did."),
        Column("prompt_id", _TEXT, "Name and version of the prompt."),
        Column("prompt", _TEXT, "The prompt."),
        Column("decode", _TEXT, "How the text was decoded, as JSON."),
        Column("frames", _TEXT, "Which frames were looked at, as JSON."),
        _key("created", "When it was made.", _TIME),
        _key("status", "`ok`, `rejected` by a check (see `reasons`), or `failed` (see `error`)."),
        *_STATUS[1:],
        _FINGERPRINT,
        _RUN,
    ),
)

LATENTS = TableSchema(
    "latents",
    "One row per window of a kept clip and codec: where its latent is. A key covers all that determined the latent.",
    key=("latent_id",),
    owner="latent_id",
    columns=(
        _key("latent_id", "Hash of the clip (content and span), the frames, crop and size taken, and the codec."),
        _key("clip_id", "The clip."),
        _key("video_id", "Its video."),
        _key("codec", "Fingerprint of the codec: weights, configuration and statistics."),
        _key("windows", "The settings by which clips were cut into windows, as JSON."),
        _key("first_frame", "First frame of the window on the clip's time grid.", _INT),
        _key("num_frames", "Frames of the window.", _INT),
        _key("fps", "Frames per second of the window.", _FLOAT),
        _key("crop_x_px", "Left edge of the part that was taken, in displayed pixels.", _INT),
        _key("crop_y_px", "Top edge of the same.", _INT),
        _key("crop_width_px", "Width of the same.", _INT),
        _key("crop_height_px", "Height of the same.", _INT),
        _key("width_px", "Width after resizing: what the codec saw.", _INT),
        _key("height_px", "Height after resizing.", _INT),
        Column("shape", pa.list_(pa.int32()), "Channels, frames, rows and columns of the latent."),
        Column("dtype", _TEXT, "Number format of the latent, for example float16."),
        Column("has_logvar", _BOOL, "Whether the spread of the posterior is stored beside its mean."),
        Column("path", _TEXT, "The Parquet file, relative to the dataset."),
        Column("row", _INT, "Row and row group in that file."),
        *_STATUS,
        _FINGERPRINT,
        _RUN,
    ),
)

TEXT_EMBEDDINGS = TableSchema(
    "text_embeddings",
    "One row per distinct caption text and text encoder: where its states are.",
    key=("text_id",),
    owner="text_id",
    columns=(
        _key("text_id", "Hash of the text and the encoder."),
        _key("encoder", "Fingerprint of the text encoder: weights, vocabulary and configuration."),
        Column("num_tokens", _INT, "Rows of the states; there is no padding."),
        Column("dim", _INT, "Width of a state."),
        Column("dtype", _TEXT, "Number format of the states."),
        Column("path", _TEXT, "The Parquet file, relative to the dataset."),
        Column("row", _INT, "Row and row group in that file."),
        *_STATUS,
        _FINGERPRINT,
        _RUN,
    ),
)

RUNS = TableSchema(
    "runs",
    "One row per command that changed the dataset.",
    key=("run_id",),
    owner="run_id",
    columns=(
        _key("run_id", "Time and a random suffix, sortable."),
        _key("verb", "The command."),
        _key("started", "When it began.", _TIME),
        Column("finished", _TIME, "When it ended; null while it runs, and for ever if it was killed."),
        _key("version", "Version of Reelwright."),
        _key("config", "The resolved configuration, as TOML."),
        Column("counts", _TEXT, "What was done, skipped and failed, by stage, as JSON."),
        Column("tables", _TEXT, "Version of every table at the end, as JSON."),
    ),
)

TABLES: dict[str, TableSchema] = {
    table.name: table
    for table in (SOURCES, VIDEOS, SCENES, CLIPS, SCORES, DECISIONS, MEDIA, CAPTIONS, LATENTS, TEXT_EMBEDDINGS, RUNS)
}
