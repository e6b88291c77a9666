"""Clips through a model a batch at a time: halved when memory runs out, and split until a bad clip fails alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from captioner.base import CaptionResult, Clip

# What models and processors raise for a clip that they cannot take, such as one of very few pixels.
_BAD_INPUT = (ValueError, RuntimeError, IndexError, TypeError, ZeroDivisionError)


class Batches:
    """Remembers how many clips fit into memory."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a batch must have at least 1 clip, got {size}")
        self.size = size

    def run(self, clips: Sequence[Clip], write: Callable[[Sequence[Clip]], list[CaptionResult]]) -> list[CaptionResult]:
        """Results of `write` over all clips. What it raises for a clip alone becomes that clip's error."""
        results: list[CaptionResult] = []
        start = 0
        while start < len(clips):
            batch = clips[start : start + self.size]
            results += self._attempt(batch, write)
            start += len(batch)
        return results

    def _attempt(
        self, batch: Sequence[Clip], write: Callable[[Sequence[Clip]], list[CaptionResult]]
    ) -> list[CaptionResult]:
        import torch

        try:
            return write(batch)
        except torch.OutOfMemoryError:  # also a RuntimeError
            self.size = max(1, min(self.size, len(batch) // 2))
            kind, message = "memory", "not enough memory for this clip alone; use fewer or smaller frames"
        except _BAD_INPUT as error:
            kind, message = "captioner", f"the model cannot take this clip: {type(error).__name__}: {error}"
        # Here the exception is gone, and with it the tensors that its frames held.
        if len(batch) == 1:
            return [CaptionResult(clip_id=batch[0].clip_id, error_kind=kind, error=message)]  # type: ignore[arg-type]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = len(batch) // 2
        return self._attempt(batch[:half], write) + self._attempt(batch[half:], write)
