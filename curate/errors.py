"""The errors that users meet. Each says in a sentence what was wrong and what to do, and can be pickled."""

from __future__ import annotations

from typing import Literal, get_args

# The closed set of reasons for which a video could not be used, or not wholly. They are stored in `error_kind`.
ErrorKind = Literal[
    "missing",  # the file is not there any more
    "permission",  # it may not be read
    "not_a_file",  # a folder, socket or device
    "empty",  # zero bytes
    "not_video",  # no container that FFmpeg knows, or a pointer to data kept elsewhere
    "still_image",  # one picture, not a video
    "no_video_stream",  # sound, subtitles or data only
    "no_frames",  # a video stream that holds no picture
    "undecodable",  # encrypted, or a codec that this build of FFmpeg lacks
    "truncated",  # decoding stopped before the declared end
    "corrupt",  # decoding failed in the middle
    "timeout",  # took longer than the limit, or stopped making progress
    "memory",  # needed more memory than the limit
    "crashed",  # it took its process down
    "blocked",  # an address that may not be fetched
    "download",  # it could not be fetched
    "encode",  # a clip could not be written, or not with the planned frames
    "score",  # a score function of the user's own raised an error
    "captioner",  # the captioner gave no usable answer for it
    "too_long",  # a text has more tokens than its encoder takes
    "internal",  # a slip of ours: the row says which, and the rest goes on
]
ERROR_KINDS: tuple[str, ...] = get_args(ErrorKind)


class ReelwrightError(Exception):
    """Base of all errors with a message for users; the command line prints it without a traceback."""

    exit_status = 1


class ConfigError(ReelwrightError):
    """A configuration that cannot be used: found before any work begins."""

    exit_status = 2


class UsageError(ReelwrightError):
    """A command that asks for something that is not there or makes no sense."""

    exit_status = 2


class DatasetError(ReelwrightError):
    """A dataset that is missing, foreign, newer than this version, or being changed by somebody else."""


class EngineError(ReelwrightError):
    """A Ray cluster that cannot be started or joined."""


class CaptionerError(ReelwrightError):
    """A captioner that cannot go on: a server that is down, weights that are not there, answers of other clips."""


class VideoError(ReelwrightError):
    """A video that cannot be used, or not wholly. `kind` is one of `ERROR_KINDS`."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(kind, message)
        self.kind: ErrorKind = kind
        self.message = message

    def __str__(self) -> str:
        return self.message


class WeightsError(ReelwrightError):
    """Weights or a checkpoint that are missing, foreign or damaged."""


class TrainingError(ReelwrightError):
    """A training run that cannot begin or go on: nothing that fits, or losses that stay without meaning."""
