"""CvT (Wu et al. 2021, arXiv 2103.15808), which timm does not have: transformers builds it, from no download."""

from typing import TYPE_CHECKING, Any

from bench.errors import BenchError

if TYPE_CHECKING:
    from torch import nn

_CLASSES = 1000


def cvt13() -> "nn.Module":
    """CvT-13: 1, 2 and 10 blocks. Normalised images (N, 3, H, W) to logits (N, 1000)."""
    return _cvt((1, 2, 10))


def cvt21() -> "nn.Module":
    """CvT-21: 1, 4 and 16 blocks. Normalised images (N, 3, H, W) to logits (N, 1000)."""
    return _cvt((1, 4, 16))


def _cvt(depth: tuple[int, int, int]) -> "nn.Module":
    try:
        from transformers import CvtConfig, CvtForImageClassification
    except ImportError:
        raise BenchError("CvT needs transformers, which is not installed: pip install 'rtbench[cvt]'.") from None
    model: nn.Module = CvtForImageClassification(CvtConfig(depth=depth, num_labels=_CLASSES))
    # A hook and not a module around it, which would change the arrays' names from those of the hub's file.
    model.register_forward_hook(_only_logits)
    return model


def _only_logits(module: "nn.Module", arguments: Any, output: Any) -> Any:
    return output.logits
