"""What each corruption, and a step of what else runs there, would take on a GPU: a model; no device is needed.

    python benchmarks/roofline.py                  # results/roofline.md
    python benchmarks/roofline.py --measure        # on a CUDA device: the stopwatch beside the model

Kernels, bytes and copies are counted on tensors that hold no data (`_counting.py`). The model takes the bytes at the
speed of the card's memory or the products at its arithmetic, whichever takes longer, and a fixed time a kernel. It does
not know caches, nor the arithmetic within a kernel: what computes more than it reads takes longer.
"""

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import timm
import torch
from _counting import Counts, fake_cuda
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.attacks.balls import ball_of
from bench.attacks.epsilon import NORMS
from bench.corruptions import SEVERITIES, corrupt, corruptions
from bench.corruptions.builtin import GROUPS
from bench.images.jpeg import round_trip
from bench.images.resize import resize
from bench.measure.classify import describe
from bench.run.device import to_unit_range
from bench.transfer import ridge
from bench.transfer.knn import neighbours

MEAN_GB, MEAN_KERNELS, MEAN_SHARE, MOST_SHARE = 3.0, 60, 0.05, 0.15
"""Over the 75 conditions, each batch: bytes, kernels, and the share of a forward pass; and of any of them."""
COUNTED = [name for group, names in GROUPS.items() if group != "extra" for name in names]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card can do, from its data sheet."""

    memory: float
    """Bytes a second that kernels reach, nine tenths of the sheet's."""
    bf16: float
    """Dense products, FLOP/s."""
    fp32: float
    """Without tensor cores, FLOP/s."""
    launch: float = 5e-6
    """Seconds from one kernel to the next, when a host in Python feeds the device."""


CARDS = {
    "H100": Card(memory=3.0e12, bf16=989e12, fp32=67e12),
    "A100": Card(memory=1.8e12, bf16=312e12, fp32=19.5e12),
    "L4": Card(memory=0.27e12, bf16=121e12, fp32=30e12),
}
"""H100 SXM5, A100 SXM4 80 GB, L4."""
FORWARD_SHARE = 0.5
"""Of the card's peak that a forward pass reaches."""


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--card", choices=CARDS, default="H100")
    parser.add_argument("--measure", action="store_true", help="time it too, on the CUDA device that is here")
    return parser.parse_args()


def work(arguments: argparse.Namespace) -> dict[tuple[str, int], Callable[[], object]]:
    """What is counted, of a batch on the device: calls by name and severity (0 where there is none)."""
    n, size = arguments.batch, arguments.size
    images = torch.randint(0, 256, (n, size, size, 3), dtype=torch.uint8, device="cuda").permute(0, 3, 1, 2)
    ids = [f"{i}" for i in range(n)]
    found: dict[tuple[str, int], Callable[[], object]] = {}
    for entry in (corruptions.get(name) for names in GROUPS.values() for name in names):
        for severity in SEVERITIES:
            found[entry.name, severity] = functools.partial(corrupt, entry, images, severity, seed=0, ids=ids)
    found["JPEG of quality 85", 0] = functools.partial(round_trip, images, 85)
    found["resized to 256", 0] = functools.partial(resize, images, 256)
    found["bytes to [0, 1]", 0] = functools.partial(to_unit_range, images, "cuda")
    logits, labels = torch.randn(n, 1000, device="cuda"), torch.randint(0, 1000, (n,), device="cuda")
    found["rows of classify", 0] = functools.partial(describe, logits, labels)
    for norm in NORMS:
        found[f"step of PGD, {norm}, but for the gradient", 0] = functools.partial(_pgd_step, norm, images / 255)
    features, classes = torch.randn(50_000, 768, device="cuda"), torch.randint(0, 100, (50_000,), device="cuda")
    found["200 neighbours of 1,000 among 50,000, 768 features", 0] = functools.partial(
        neighbours, features, features[:1000], 200
    )
    found["ridge, 50,000 × 768, 100 classes", 0] = functools.partial(ridge.fit, features, classes, 100)
    return found


def _pgd_step(norm: str, images: Tensor) -> Tensor:
    ball, eps = ball_of(norm), images.new_full((len(images),), 0.5)
    change = eps[:, None, None, None] * ball.steepest(images)
    return (images + ball.project(change, eps)).clamp(0, 1)


def counted(arguments: argparse.Namespace) -> dict[tuple[str, int], Counts]:
    """What each asks of the device once its tables lie there."""
    counts = {}
    with fake_cuda():
        for key, function in work(arguments).items():
            function()
            with Counts() as counts[key]:
                function()
    return counts


def forward_flops(arguments: argparse.Namespace) -> int:
    """FLOPs of a forward pass of ViT-B/16."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model = timm.create_model("vit_base_patch16_224", img_size=arguments.size).eval()
        model(torch.empty(arguments.batch, 3, arguments.size, arguments.size))
    return int(counter.get_total_flops())


def seconds(counts: Counts, card: Card) -> float:
    """The model."""
    return card.launch * counts.kernels + max(counts.bytes / card.memory, counts.flops / card.fp32)


def measured(arguments: argparse.Namespace) -> dict[tuple[str, int], float]:
    """Seconds by the stopwatch: the median of five times, each of as many calls as take a fiftieth of a second."""
    return {key: stopwatch(function) for key, function in work(arguments).items()}


def measured_forward(arguments: argparse.Namespace) -> float:
    """Seconds of a forward pass of ViT-B/16 in bf16 by the stopwatch."""
    model = timm.create_model("vit_base_patch16_224", img_size=arguments.size).to("cuda", torch.bfloat16).eval()
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size, device="cuda", dtype=torch.bfloat16)
    with torch.inference_mode():
        return stopwatch(lambda: model(images))


def stopwatch(function: Callable[[], object], rounds: int = 5) -> float:
    """Seconds of a call, on a device that is kept busy."""
    function()
    once = timed(function, 1)
    calls = max(1, min(50, int(0.02 / max(once, 1e-6))))
    return float(np.median([timed(function, calls) for _ in range(rounds)]))


def timed(function: Callable[[], object], calls: int) -> float:
    """Seconds a call until the device has done them all."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / calls


def main() -> None:
    """The table, and how the bars are met."""
    arguments = parse()
    card = CARDS[arguments.card]
    list(corruptions)  # what registers itself makes tensors with data
    counts, flops = counted(arguments), forward_flops(arguments)
    forward = flops / (FORWARD_SHARE * card.bf16)
    times = measured(arguments) if arguments.measure else {}
    print(f"# A model of {arguments.batch} images at {arguments.size} on an {arguments.card}\n")
    print(
        f"Not measured: counted on tensors that hold no data, at {card.memory / 1e12:g} TB/s, "
        f"{card.fp32 / 1e12:g} TFLOP/s in fp32 and {1e6 * card.launch:g} µs a kernel.\n"
        f"A forward pass of ViT-B/16 in bf16 ({flops / 1e12:.1f} TFLOP at {FORWARD_SHARE:.0%} of "
        f"{card.bf16 / 1e12:g} TFLOP/s) takes {1000 * forward:.1f} ms.\n"
    )
    if times:
        print(f"The stopwatch's card is {torch.cuda.get_device_name()}; there the forward pass takes ", end="")
        print(f"{1000 * measured_forward(arguments):.1f} ms.\n")
    head = ["step", "severity", "kernels", "GB", "copies from or to the host", "modelled ms", "of a forward pass"]
    rows = [head + ["measured ms", "measured / model"] * bool(times)]
    shares = {key: seconds(count, card) / forward for key, count in counts.items()}
    for key, count in counts.items():
        row = [key[0], str(key[1] or ""), str(count.kernels), f"{count.bytes / 1e9:.2f}", str(len(count.transfers))]
        row += [f"{1000 * forward * shares[key]:.2f}", f"{shares[key]:.1%}"]
        if times:
            row += [f"{1000 * times[key]:.2f}", f"{times[key] / (forward * shares[key]):.1f}"]
        rows.append(row)
    for number, row in enumerate(rows):
        print(f"| {' | '.join(row)} |")
        if number == 0:
            print("|---|" + "---:|" * (len(row) - 1))
    print()
    judge(counts, shares)


def judge(counts: dict[tuple[str, int], Counts], shares: dict[tuple[str, int], float]) -> None:
    """Hold the 75 conditions against the bars."""
    of_75 = [(name, severity) for name in COUNTED for severity in SEVERITIES]
    mean_bytes = float(np.mean([counts[key].bytes for key in of_75])) / 1e9
    kernels = float(np.mean([counts[key].kernels for key in of_75]))
    share, most = float(np.mean([shares[key] for key in of_75])), max(of_75, key=lambda key: shares[key])
    read = [key for key in of_75 if any("to the host" in words for words in counts[key].transfers)]
    print("```")
    say(f"mean of the 75 at most {MEAN_GB:g} GB", f"{mean_bytes:.2f} GB", mean_bytes <= MEAN_GB)
    say(f"mean of the 75 at most {MEAN_KERNELS} kernels", f"{kernels:.0f}", kernels <= MEAN_KERNELS)
    say(f"mean of the 75 at most {MEAN_SHARE:.0%} of a forward pass", f"{share:.1%}", share <= MEAN_SHARE)
    words = f"{shares[most]:.1%} ({most[0]} {most[1]})"
    say(f"none of the 75 above {MOST_SHARE:.0%}", words, shares[most] <= MOST_SHARE)
    say("nothing is read back", f"{len(read)} of 75", not read)
    print("```")


def say(what: str, modelled: str, reached: bool) -> None:
    """Print a bar of the model, which is never called measured."""
    print(f"bar: {what}; modelled {modelled} → {'reached' if reached else 'NOT reached'}")


if __name__ == "__main__":
    main()
