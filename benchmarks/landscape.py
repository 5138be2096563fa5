"""The curvature of the loss: right, certain, and at which price; beside curvlinops and PyHessian.

    python benchmarks/landscape.py
    python benchmarks/landscape.py --only products,largest,trace,density   # against whole Hessians of small networks
    python benchmarks/landscape.py --only price,memory,blocks              # of the digits checkpoints

The others are not ours to depend on; `--only peers` wants them in a folder of their own, which PYTHONPATH names:

    pip install --target FOLDER --no-deps pyhessian curvlinops-for-pytorch linear_operator jaxtyping wadler_lindig
    pip install --target FOLDER --no-deps backpack-for-pytorch unfoldNd einops einconv
"""

import argparse
import copy
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import timm
import torch
from _common import claim, clock, in_turn, table
from _small import NETWORKS, dense, differences, images, network, train
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.checkpoints import checkpoints
from bench.checkpoints.loading import load
from bench.datasets import Library
from bench.datasets.crops import CropSource
from bench.landscape import Curvature
from bench.landscape.products import Job
from bench.records import Array
from bench.run.device import to_unit_range

EXACT, ROUNDED = 1e-9, 1e-6
"""Bars of products in fp64 and fp32, of their own length."""
NEAR, PRODUCTS = 1e-5, 12
TRACE, COVERAGE, DENSITY = 0.03, (0.90, 0.98), 0.3
GRADIENTS, BLOCKS, MEMORY = 2.6, 2.5, 3.0
FASTER, THAN_POWER = 1.8, 3.0
DIGITS = ("digits-vit", "digits-mixer", "digits-resnet")
T_19 = 2.093
"""Student's t of 95% for the 20 probes of a trace."""


def apart(found: Tensor, wanted: Tensor) -> float:
    """Length of the difference over the length of what is wanted."""
    return float((found.double() - wanted).norm() / wanted.norm())


# -- against whole Hessians of small networks ---------------------------------------------------------------------


def products(arguments: argparse.Namespace) -> None:
    """Products of four architectures beside central differences and the whole Hessian."""
    pictures, labels = images(24)
    titles = ["network", "weights", "differences", "whole Hessian", "fp32", "fp64, weights and images moved"]
    rows, worst = [titles], [0.0, 0.0]
    for name, mode in [*((name, "eval") for name in NETWORKS), ("batchnorm", "train")]:
        module = network(name)
        exact, single = (
            Curvature(module, pictures.to(kind), labels, dtype=kind, batchnorm=mode, at_once=12)  # type: ignore[arg-type]
            for kind in (torch.float64, torch.float32)
        )
        vector = torch.randn(len(exact.objective.weights_P), generator=torch.Generator().manual_seed(0)).double()
        wanted = dense(exact.objective) @ vector
        found = exact.product(vector)
        errors = [apart(found, differences(exact.objective, vector)), apart(found, wanted)]
        rounded = apart(single.product(vector), wanted)
        worst = [max(worst[0], *errors), max(worst[1], rounded)]
        told = (f"{error:.1e}" for error in (*errors, rounded, apart(moved(exact).product(vector), wanted)))
        rows.append([f"{name}, {mode}", str(len(vector)), *told])
    table(rows)
    claim(
        f"products within {EXACT:g} (fp64) of central differences and the whole Hessian, and {ROUNDED:g} in fp32",
        f"{worst[0]:.1e} and {worst[1]:.1e}",
        worst[0] <= EXACT and worst[1] <= ROUNDED,
    )


def moved(curvature: Curvature) -> Curvature:
    """The same, of weights and images that each moved by about half of fp32's last digit: what no fp32 can tell."""
    draws = torch.Generator().manual_seed(1)
    objective = curvature.objective

    def move(values: Tensor) -> Tensor:
        away = torch.rand(values.shape, generator=draws, dtype=values.dtype) * 2 - 1
        return values * (1 + away * torch.finfo(torch.float32).eps / 2)

    module = copy.deepcopy(objective.module)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(move(weight))
    images_NCHW = move(objective.images_NCHW)
    return Curvature(
        module, images_NCHW, objective.labels_N, dtype=objective.dtype, batchnorm=objective.batchnorm, at_once=12
    )


def tiny(seed: int) -> nn.Module:
    """Some 200 weights, more or less curved."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(12, 8), nn.LayerNorm(8), nn.Tanh())
        module.extend([nn.Linear(8, 5), nn.GELU(), nn.Linear(5, 10)])
        with torch.no_grad():
            for weight in module.parameters():
                weight.mul_(0.3 + 4 * float(torch.rand(()))).add_(torch.randn_like(weight), alpha=0.1)
    return module


def largest(arguments: argparse.Namespace) -> None:
    """λmax within 12 products, and bounds that hold."""
    pictures, labels = images(24)
    rows, worst = [["network", "products", "error", "bound"]], 0.0
    for name in NETWORKS:
        values = torch.linalg.eigvalsh(dense(Curvature(network(name), pictures, labels, dtype=torch.float64).objective))
        for dtype in (torch.float64, torch.float32):
            curvature = Curvature(network(name), pictures, labels, dtype=dtype)
            found = curvature.eigenvalues(largest=1, smallest=0, tolerance=NEAR, most=PRODUCTS)
            error = abs(float(found.largest_K[0] / values[-1]) - 1)
            worst = max(worst, error)
            bound = float(found.largest_bounds_K[0] / values[-1])
            rows.append([f"{name}, {str(dtype)[6:]}", str(found.products), f"{error:.1e}", f"{bound:.1e}"])
    table(rows)
    held = 0
    for case in range(arguments.cases):
        values = torch.linalg.eigvalsh(dense(Curvature(tiny(case), pictures, labels, dtype=torch.float64).objective))
        curvature = Curvature(tiny(case), pictures, labels, seed=case)
        found = curvature.eigenvalues(largest=1, smallest=0, tolerance=NEAR, most=40)
        held += abs(float(found.largest_K[0] - values[-1])) <= float(found.largest_bounds_K[0])
    claim(
        f"λmax within {NEAR:g} of the whole Hessian's in at most {PRODUCTS} products; the bound holds in all cases",
        f"{worst:.1e}; {held} of {arguments.cases} (fp32)",
        worst <= NEAR and held == arguments.cases,
    )


def trained() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A small ViT that has learnt its images, these, their labels, and the eigenvalues of the Hessian."""
    pictures, labels = images(24)
    module = train(network("vit", spread=0.02), pictures, labels, 200)
    return (
        module,
        pictures,
        labels,
        torch.linalg.eigvalsh(dense(Curvature(module, pictures, labels, dtype=torch.float64).objective)),
    )


def trace(arguments: argparse.Namespace) -> None:
    """Traces of 10 + 20 products under many seeds."""
    module, pictures, labels, values = trained()
    wanted, errors, within = float(values.sum()), [], 0
    for seed in range(arguments.cases):
        curvature = Curvature(module, pictures, labels, seed=seed)
        found = curvature.trace(curvature.eigenvalues(largest=1, smallest=0, tolerance=0, most=10), probes=20)
        errors.append(found.value / wanted - 1)
        within += abs(found.value - wanted) <= T_19 * found.standard_error
    rms, share = math.sqrt(np.mean(np.square(errors))), within / arguments.cases
    claim(
        f"trace of 30 products within {TRACE:.0%} (rms); its 95% interval holds the truth "
        f"{COVERAGE[0]:.0%} to {COVERAGE[1]:.0%} of the time",
        f"{rms:.1%}; {share:.1%} of {arguments.cases}",
        rms <= TRACE and COVERAGE[0] <= share <= COVERAGE[1],
    )


def wasserstein(found: Any, values: Tensor) -> float:
    """Distance between a density and the eigenvalues, over their mean size."""
    points = torch.cat([values, found.values_M])
    order = points.argsort()
    shares = torch.cat([torch.full_like(values, 1 / len(values)), -found.shares_M])[order].cumsum(0)
    return float((shares[:-1].abs() * points[order].diff()).sum() / values.abs().mean())


def density(arguments: argparse.Namespace) -> None:
    """The density of 10 starts × 18 steps beside the eigenvalues, of a network as it starts and as trained."""
    module, pictures, labels, values = trained()
    first = network("vit")
    at_first = torch.linalg.eigvalsh(dense(Curvature(first, pictures, labels, dtype=torch.float64).objective))
    found = {}
    for name, model, true in (("trained", module, values), ("random", first, at_first)):
        distances, taken = [], 0.0
        for seed in range(5):
            curvature = Curvature(model, pictures, labels, seed=seed)
            known = curvature.eigenvalues(most=20)
            distances.append(wasserstein(curvature.density(known, starts=10, steps=18), true))
            taken = max(taken, curvature.products.taken)
        found[name] = float(np.median(distances))
        print(f"{name}: {min(distances):.3f} to {max(distances):.3f}, {taken:.0f} products")
    claim(
        f"density within {DENSITY:g} mean |λ| (Wasserstein) at 200 products, median of five seeds",
        ", ".join(f"{value:.3f} ({name})" for name, value in found.items()),
        max(found.values()) <= DENSITY,
    )


# -- of the digits checkpoints ------------------------------------------------------------------------------------


def digits(name: str, n: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A shipped checkpoint, images and labels."""
    entry = checkpoints.get(name)
    samples = Library({}).open("digits", "test").samples
    source = CropSource(samples, entry.crop)
    pictures = np.stack([source.get(row) for row in range(n)])
    labels = torch.from_numpy(samples.labels[:n])
    return load(entry, "cpu"), to_unit_range(torch.from_numpy(pictures).permute(0, 3, 1, 2), "cpu"), labels


def timed(rounds: int, *functions: Callable[[], object]) -> Array:
    """(rounds, functions): seconds of the processor, which other work on the machine lengthens less than wall time."""

    def seconds(function: Callable[[], object]) -> Array:
        start = clock()
        function()
        return clock() - start

    times = in_turn(rounds, [lambda f=function: seconds(f) for function in functions])  # type: ignore[misc]
    return np.asarray(times[..., 1:].sum(axis=-1))


def price(arguments: argparse.Namespace) -> None:
    """A product in gradients: on a kept graph, and where it must be made again."""
    rows, ratios = [["checkpoint", "gradient, s", "kept", "made again"]], []
    for name in DIGITS:
        seconds = priced(*digits(name, arguments.images), arguments.rounds)
        kept, again = np.median(seconds[:, 1:] / seconds[:, :1], axis=0)
        ratios.append(kept)
        rows.append([name, f"{np.median(seconds[:, 0]):.2f}", f"{kept:.2f} ×", f"{again:.2f} ×"])
    table(rows)
    claim(
        f"a product at most {GRADIENTS:g} gradients",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
        max(ratios) <= GRADIENTS,
    )


def priced(module: nn.Module, pictures: Tensor, labels: Tensor, rounds: int) -> Array:
    """(rounds, 3) seconds: a gradient, a product on a kept graph, one whose graph is made again."""
    kept, again = Curvature(module, pictures, labels), Curvature(module, pictures, labels, memory=0)
    vector = torch.randn_like(kept.objective.weights_P)
    return timed(rounds, kept.objective.gradient, lambda: kept.product(vector), lambda: again.product(vector))


def blocks(arguments: argparse.Namespace) -> None:
    """All blocks beside the whole model: a product of each, and what is measured, equally sure of both."""
    rows, ratios = [["checkpoint", "blocks", "a product", "largest, smallest, trace"]], []
    for name in DIGITS:
        curvature = Curvature(*digits(name, arguments.images))
        seconds = blocked(curvature, arguments.rounds)
        product, measured = (float(np.median(seconds[:, i + 1] / seconds[:, i])) for i in (0, 2))
        ratios.append((product, measured))
        rows.append([name, str(len(curvature.blocks)), f"{product:.2f} ×", f"{measured:.2f} ×"])
    table(rows)
    for place, what in enumerate(("a product of each block", "the blocks' eigenvalues and traces")):
        values = [pair[place] for pair in ratios]
        claim(
            f"{what} together at most {BLOCKS:g} × the whole model's",
            f"{min(values):.2f} to {max(values):.2f}",
            max(values) <= BLOCKS,
        )


def blocked(curvature: Curvature, rounds: int) -> Array:
    """(rounds, 4) seconds: a product of the whole model, one of every block; all of the whole, what blocks add to it.

    The blocks' traces come with the whole's.
    """
    vector, jobs = torch.randn_like(curvature.objective.weights_P), []
    for part in curvature.blocks:
        size = sum(curvature.objective.shapes[weight].numel() for weight in part.parameters)
        jobs.append(Job(torch.randn(size), part))
    return timed(
        rounds,
        lambda: curvature.product(vector),
        lambda: curvature.products.all(jobs),
        lambda: curvature.trace(curvature.eigenvalues(largest=1), probes=20),
        lambda: curvature.block_eigenvalues(largest=1),
    )


def memory(arguments: argparse.Namespace) -> None:
    """The most that is allocated for a gradient, for products, and for products over more images than fit at once."""
    module = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=10).eval()
    pictures, labels = torch.rand(96, 3, 64, 64), torch.arange(96) % 10
    kept = Curvature(module, pictures[:48], labels[:48], at_once=48)
    again, more = (Curvature(module, pictures[:n], labels[:n], at_once=48, memory=0) for n in (48, 96))
    vector = kept.objective.weights_P.clone()
    gradient = peak(kept.objective.gradient)
    sizes = [peak(lambda c=curvature: c.product(vector)) for curvature in (kept, again, more)]  # type: ignore[misc]
    told = [f"{size / 2**20:.0f} MiB" for size in (gradient, *sizes)]
    print("gradient {}, product {}, graph made again {}, of twice the images {}".format(*told))
    claim(
        f"a product within the memory of {MEMORY:g} gradients of the same images",
        f"{sizes[0] / gradient:.2f} × (ViT-Ti at 64 pixels, 48 images)",
        sizes[0] <= MEMORY * gradient,
    )
    claim(
        "memory bounded by the batch: at most 5% more for twice the images",
        f"{sizes[2] / sizes[1] - 1:+.1%}",
        sizes[2] <= 1.05 * sizes[1],
    )


def peak(function: Callable[[], object]) -> int:
    """Bytes: the most that torch's allocator of the CPU gave out at once while a function ran."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    held = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


# -- beside others ------------------------------------------------------------------------------------------------


def peers(arguments: argparse.Namespace) -> None:
    """λmax and trace beside curvlinops, and λmax beside PyHessian, where these are right: without LayerNorm."""
    import curvlinops
    from scipy.sparse.linalg import eigsh  # type: ignore[import-untyped]

    module, pictures, labels = digits("digits-resnet", arguments.images)
    theirs = module.requires_grad_(True)
    weights = [weight for weight in theirs.parameters() if weight.requires_grad]
    reference = Curvature(module, pictures, labels, seed=100)
    known = reference.eigenvalues(largest=1, smallest=0, tolerance=0, most=20)
    true, summed = float(known.largest_K[0]), reference.trace(known, probes=200)
    print(f"reference: λmax {true:.4f}, trace {summed.value:.2f} ± {summed.standard_error:.2f}")
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "curvlinops": []}

    def ours() -> None:
        curvature = Curvature(module, pictures, labels, seed=len(found["ours"]))
        ends = curvature.eigenvalues(largest=1, smallest=0, tolerance=NEAR, most=10)
        found["ours"].append((float(ends.largest_K[0]), curvature.trace(ends, 30 - ends.products).value))

    def linear_operator() -> Any:
        return curvlinops.HessianLinearOperator(
            theirs, nn.CrossEntropyLoss(), weights, [(pictures, labels)], check_deterministic=False
        )

    def by_curvlinops() -> None:
        torch.manual_seed(len(found["curvlinops"]))
        operator = linear_operator()
        start = np.random.default_rng(len(found["curvlinops"])).normal(size=operator.shape[0]).astype(np.float32)
        values = eigsh(operator.to_scipy(), k=1, which="LA", tol=NEAR, v0=start, return_eigenvectors=False)
        found["curvlinops"].append((float(values[0]), float(curvlinops.xtrace(operator, 30))))

    times = timed(arguments.rounds, ours, by_curvlinops)
    errors = {
        name: [
            float(np.median([abs(value / true - 1) for value, _ in pairs])),
            math.sqrt(np.mean([(total / summed.value - 1) ** 2 for _, total in pairs])),
        ]
        for name, pairs in found.items()
    }
    told = "; ".join(f"{name} {pair[0]:.1e} and {pair[1]:.1%}" for name, pair in errors.items())
    ratio = float(np.median(times[:, 1] / times[:, 0]))
    claim(
        f"λmax and trace at least {FASTER:g} × as fast as curvlinops (eigsh, xtrace) at equal accuracy",
        f"{ratio:.2f} × (errors: {told})",
        ratio >= FASTER,
    )

    for count in (1, 5):
        rows, ratios = [["checkpoint", "products", "error", "theirs", "ratio"]], []
        for name in DIGITS:
            row, ratio = beside_power(name, count, arguments)
            rows.append([name, *row, f"{ratio:.2f} ×"])
            ratios.append(ratio)
        table(rows)
        claim(
            f"the largest {count} at least {THAN_POWER:g} × as fast as PyHessian's power iteration at equal accuracy",
            f"{min(ratios):.2f} to {max(ratios):.2f} ×",
            min(ratios) >= THAN_POWER,
        )
    right()


def beside_power(name: str, count: int, arguments: argparse.Namespace) -> tuple[list[str], float]:
    """Our products, our largest error of the largest eigenvalues and theirs; how much longer theirs takes."""
    import pyhessian

    module, pictures, labels = digits(name, arguments.images)
    module.requires_grad_(True)
    true = Curvature(module, pictures, labels, seed=100).eigenvalues(largest=count, tolerance=1e-5).largest_K
    ours: list[Tensor] = []
    theirs: list[Tensor] = []
    products: list[int] = []

    def lanczos() -> None:
        curvature = Curvature(module, pictures, labels, seed=len(ours))
        found = curvature.eigenvalues(largest=count, smallest=0, tolerance=2e-3)
        ours.append(found.largest_K)
        products.append(found.products)

    def power() -> None:
        torch.manual_seed(len(theirs))
        module.zero_grad()
        with sdpa_kernel(SDPBackend.MATH):
            other = pyhessian.hessian(module, nn.CrossEntropyLoss(), data=(pictures, labels), cuda=False)
        # Its tolerance is of the last change: this one leaves about the error that ours does.
        found = other.eigenvalues(maxIter=200, tol=1e-6, top_n=count)[0]
        theirs.append(torch.tensor(found, dtype=torch.float64))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of backward(create_graph=True)
        times = timed(arguments.rounds, lanczos, power)
    errors = [
        float(np.median([float(((values - true).abs() / true[0]).max()) for values in found]))
        for found in (ours, theirs)
    ]
    return [str(max(products)), *(f"{error:.0e}" for error in errors)], float(np.median(times[:, 1] / times[:, 0]))


def right() -> None:
    """How far curvlinops' products are off where there is LayerNorm."""
    import curvlinops

    pictures, labels = images(24)
    found = {}
    for name in ("vit", "mixer"):  # it cannot take the others' SiLU
        model = network(name).double()
        objective = Curvature(model, pictures.double(), labels, dtype=torch.float64).objective
        vector = torch.randn(len(objective.weights_P), generator=torch.Generator().manual_seed(0)).double()
        with sdpa_kernel(SDPBackend.MATH):
            operator = curvlinops.HessianLinearOperator(
                model, nn.CrossEntropyLoss(), list(model.parameters()), [(pictures.double(), labels)]
            )
            product = operator @ vector
        found[name] = apart(product, differences(objective, vector))
    told = ", ".join(f"{name} {error:.1e}" for name, error in found.items())
    print(f"curvlinops' products are off from central differences (fp64) by: {told}")


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "products": products,
    "largest": largest,
    "trace": trace,
    "density": density,
    "price": price,
    "blocks": blocks,
    "memory": memory,
    "peers": peers,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts: {', '.join(PARTS)}")
    parser.add_argument("--cases", type=int, default=200, help="networks, or seeds")
    parser.add_argument("--images", type=int, default=64, help="of the digits checkpoints")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    for name in given.only.split(","):
        PARTS[name](given)


if __name__ == "__main__":
    main()
