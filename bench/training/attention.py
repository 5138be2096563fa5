"""Attention crop and attention drop: show where the model looks closer, or hide it.

Hu, Qi, Huang and Lu 2019, "See Better Before Looking Closer" (WS-DAN), https://arxiv.org/abs/1901.09891, section 3.2.
The paper's attention maps are learnt with a loss of their own; here they are channels of the last features.

Legend: N images, C channels, H height, W width, D features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.training.model import Normalised


def attention_crop(model: Normalised, images_NCHW: Tensor, above: float, generator: torch.Generator) -> Tensor:
    """Enlarge the box around what one random attention map of each image attends to.

    Args:
        model: Looks at the images as it is evaluated.
        images_NCHW: Floats in [0, 1].
        above: Share of a map's largest value from which on a place counts, in [0, 1).
        generator: On the CPU.

    Returns:
        Images of the same shape, in [0, 1].
    """
    size = images_NCHW.shape[2:]
    crops = []
    for image_CHW, map_HW in zip(images_NCHW, _maps(model, images_NCHW, generator), strict=True):
        rows, columns = torch.nonzero(map_HW > above, as_tuple=True)
        box_CHW = image_CHW[:, int(rows.min()) : int(rows.max()) + 1, int(columns.min()) : int(columns.max()) + 1]
        crops.append(F.interpolate(box_CHW[None], size=size, mode="bilinear", align_corners=False)[0])
    return torch.stack(crops)


def attention_drop(model: Normalised, images_NCHW: Tensor, above: float, generator: torch.Generator) -> Tensor:
    """Blacken what one random attention map of each image attends to. Arguments as of `attention_crop`."""
    return torch.where((_maps(model, images_NCHW, generator) > above)[:, None], 0, images_NCHW)


@torch.no_grad()
def _maps(model: Normalised, images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Return one map of each image (N, H, W), from 0 to 1; which one is drawn by how much it attends in all."""
    training = model.training
    model.eval()
    try:
        maps_NDhw = model.maps(images_NCHW).float().abs()
    finally:
        model.train(training)
    chances_ND = maps_NDhw.sum((2, 3)).cpu().sqrt() + 1e-12
    chosen_N = torch.multinomial(chances_ND, 1, generator=generator)[:, 0].to(images_NCHW.device)
    maps_Nhw = maps_NDhw[torch.arange(len(chosen_N), device=chosen_N.device), chosen_N]
    maps_NHW = F.interpolate(maps_Nhw[:, None], images_NCHW.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    # An image on which all places are 0 attends to all.
    largest_N11 = maps_NHW.amax((1, 2), keepdim=True)
    return torch.where(largest_N11 > 0, maps_NHW / largest_N11.clamp(min=1e-12), 1.0)
