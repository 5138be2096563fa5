"""Compile every Triton kernel that the corruptions launch, for a card that need not be here.

    python benchmarks/compile_kernels.py [--capability 90] [--corruption NAME ...]

Prints what `ptxas` says of each. Triton's interpreter, which the tests run kernels in, takes some programs that its
compiler does not; and a product that is fused with a sum would round otherwise than a CPU does.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import triton
from _common import table
from _counting import fake_cuda
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction, KernelInterface, MockTensor

from bench.corruptions import SEVERITIES, corrupt, corruptions
from bench.machine import triton_op

_OPERATION = triton_op.operation
_FOUND: dict[tuple[str, str], tuple[str, float]] = {}
"""By name and hash of a kernel: its PTX, and the seconds that compiling took."""


class _Card:
    """Stands in for a driver: what Triton asks of one to compile."""

    def __init__(self, capability: int) -> None:
        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: object = None) -> int:
        return 0


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capability", type=int, default=90, help="of the card: 80, 90, …")
    parser.add_argument("--corruption", nargs="*", metavar="NAME", help="default: all")
    return parser.parse_args()


def launched_anyway(*writes: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`triton_op.operation`, whose operations launch their kernels for tensors without data too."""
    register = _OPERATION(*writes)

    def registered(launch: Callable[..., None]) -> Callable[..., None]:
        made = register(launch)
        torch.library.register_fake(f"rtbench::{launch.__name__}", launch, lib=triton_op._LIBRARY, allow_override=True)
        return made

    return registered


def compile_instead(function: JITFunction, grid: object) -> Any:
    """What stands in for the launch of a kernel."""

    def launch(*arguments: Any, **options: Any) -> None:
        shapes = [MockTensor.wrap_dtype(a.dtype) if isinstance(a, Tensor) else a for a in arguments]
        start = time.perf_counter()
        compiled = function.run(*shapes, grid=grid, warmup=True, **options)
        key = function.fn.__name__, compiled.hash
        _FOUND.setdefault(key, (compiled.asm["ptx"], time.perf_counter() - start))

    return launch


def report(ptx: str, capability: int) -> str:
    """Registers, and what does not fit into them."""
    assembler = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    target = next(line.split()[1] for line in ptx.splitlines() if line.startswith(".target")).rstrip(",")
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [str(assembler), "-v", f"--gpu-name={target}", file.name, "-o", "/dev/null"]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
    words = " ".join((said.stdout + said.stderr).split())
    spilled = words.partition("bytes spill stores")[0].split()[-1]
    return f"{words.partition('Used ')[2].split()[0]} registers, {spilled} bytes spilled"


def main() -> None:
    """Call all corruptions on tensors without data, and compile where they launch."""
    arguments = parse()
    driver.set_active(_Card(arguments.capability))
    KernelInterface.__getitem__ = JITFunction.__getitem__ = compile_instead
    triton_op.operation = launched_anyway  # type: ignore[assignment]  # before modules of kernels are imported
    names = arguments.corruption or [entry.name for entry in corruptions]
    with fake_cuda():
        for name in names:
            for severity in SEVERITIES:
                for size, last in ((224, True), (33, False)):
                    images = torch.empty(2, size, size, 3, dtype=torch.uint8, device="cuda").permute(0, 3, 1, 2)
                    images = images if last else images.contiguous()
                    corrupt(corruptions.get(name), images, severity, seed=0, ids=["a", "b"])
    rows = [["kernel", "compiled in, s", "fused", "registers"]]
    for (name, _), (ptx, seconds) in sorted(_FOUND.items()):
        rows.append([name, f"{seconds:.1f}", str(ptx.count("fma.")), report(ptx, arguments.capability)])
    table(rows)


if __name__ == "__main__":
    main()
