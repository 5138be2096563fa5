"""Roughly how many instructions our Triton kernels take, by what they are launched with; for a model of their time."""

from collections.abc import Callable
from typing import Any

_WORDS, _NORMAL = 55, 35
"""For a value: its half of a block of the generator (20 rounds of 4, and the keys), and its half of Box and Muller."""

INSTRUCTIONS: dict[str, Callable[[dict[str, Any]], int]] = {
    "fill": lambda a: a["out_NM"].numel() * (_WORDS + _NORMAL * (a["law"] == 2) + 5),
    "normal_noise": lambda a: a["out"].numel() * (_WORDS + _NORMAL + 15),
    "poisson_noise": lambda a: a["out"].numel() * (_WORDS + 15 + 6 * (a["last_LC"].shape[1].bit_length() - 1)),
    "impulse_noise": lambda a: a["out"].numel() * (2 * _WORDS + 15),
    "filter_axis": lambda a: a["out"].numel() * (10 + 16 * (a["weights_K"].shape[0] // 2)),
    "correlate": lambda a: a["out_NCHW"].numel() * (10 + 45 * a["down_NK"].shape[1] // 10),
    "mean_of_zooms": lambda a: a["out"].numel() * (15 + 24 * a["row_ZH"].shape[0]),
    "enlarge": lambda a: a["out_NHW"].numel() * 30,
    "warp": lambda a: a["out"].numel() * 40,
    "look": lambda a: a["out_NTP"].numel() * (2 * _WORDS + 25),
    "follow": lambda a: a["sources_NTP"].numel() * 60 + a["out"].numel() * 5,
    "level": lambda a: len(a["map_NMM"]) * a["count"] ** 2 * (5 * 2 * _WORDS + 150),
    "fog": lambda a: a["out"].numel() * 30,
    "snow": lambda a: a["out"].numel() * 35,
    "frost": lambda a: a["out"].numel() * 20,
    "brightness": lambda a: a["out"].numel() * 10,
    "contrast": lambda a: a["out"].numel() * 10,
    "to_bytes": lambda a: a["out"].numel() * 8,
    "average": lambda a: a["out"].numel() * (15 + 6 * a["weights"].shape[1]),
    "code": lambda a: a["out"].numel() * (110 if not a["chroma"] else 170),
    "colours": lambda a: a["out"].numel() * 20,
    "cover": lambda a: a["out"].numel() * 10,
    "gradient": lambda a: a["liquid_NHW"].numel() * 70,
    "ridges": lambda a: a["out_NHW"].numel() * 60,
    "grow": lambda a: a["state_NHW"].numel() * 300,  # it goes over an image a few times
    "down": lambda a: a["out_NHW"].numel() * 41 * 6,
    "nearest": lambda a: a["out_NHW"].numel() * 40 * 8,
    "probe": lambda a: 1,
}
"""By operation: a function of its arguments."""
