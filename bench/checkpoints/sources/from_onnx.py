"""ONNX files as checkpoints, by onnxruntime: forward only, so nothing that needs gradients can be measured.

A file says the size of its images and the number of its outputs, and not how images are fed: an entry does.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.records import Checkpoint

if TYPE_CHECKING:
    from torch import nn

SUFFIX = ".onnx"
LOADER = f"{__name__}:load"


def load(checkpoint: Checkpoint, path: Path | None) -> "nn.Module":
    """The module of a checkpoint: normalised images (N, 3, H, W) to what the file's first output has."""
    import torch
    from torch import nn

    try:
        import onnxruntime
    except ImportError:
        raise BenchError(
            f"checkpoint {checkpoint.name!r} needs onnxruntime, which is not installed: pip install 'rtbench[onnx]'."
        ) from None
    session = _session(onnxruntime, checkpoint, path or Path(checkpoint.weights))
    asked, given = session.get_inputs()[0], session.get_outputs()[0].name
    if len(session.get_inputs()) > 1 or len(asked.shape) != 4:
        raise BenchError(f"checkpoint {checkpoint.name!r} must take images (N, 3, H, W) alone, not {asked.shape}.")
    half = "float16" in asked.type
    at_once = asked.shape[0] if isinstance(asked.shape[0], int) else None

    class Onnx(nn.Module):
        """Runs the session on the CPU's copy of a batch; torch sees no operation of it."""

        forward_only = True

        def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
            pieces = [images_NCHW] if at_once is None else torch.split(images_NCHW, at_once)
            return torch.cat([self._run(piece) for piece in pieces])

        def _run(self, images_NCHW: torch.Tensor) -> torch.Tensor:
            lacking = 0 if at_once is None else at_once - len(images_NCHW)
            batch = images_NCHW.detach().to(torch.float16 if half else torch.float32).cpu()
            batch = torch.cat([batch, batch[-1:].expand(lacking, -1, -1, -1)]) if lacking else batch
            logits: Any = session.run([given], {asked.name: batch.contiguous().numpy()})[0]
            made = torch.from_numpy(logits).to(images_NCHW.device, torch.float32)
            return made[: len(images_NCHW)]

    return Onnx()


def _session(onnxruntime: Any, checkpoint: Checkpoint, path: Path) -> Any:
    try:
        return onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
    except Exception as error:  # its own kinds of errors, of a base that is not exported
        raise BenchError(
            f"checkpoint {checkpoint.name!r}: {path} is no ONNX file that onnxruntime can run "
            f"({type(error).__name__}); export it again."
        ) from error
