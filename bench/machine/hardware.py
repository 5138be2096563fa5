"""What accelerators are here, without importing torch: a run with everything stored must not wait for it."""

import ctypes
import functools
import importlib.metadata
import os
import re

from bench.errors import BenchError
from bench.records import Precision

# cuda.h, CUdevice_attribute_enum
_COMPUTE_CAPABILITY_MAJOR = 75
_BF16_MAJOR = 8  # Ampere; older chips emulate it slowly


@functools.cache
def cuda_devices() -> tuple[int, ...]:
    """Major compute capability of each CUDA device that the driver and torch's build can use."""
    if "+cpu" in importlib.metadata.version("torch"):
        return ()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    majors = []
    for device in range(count.value):
        major = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, device)
        majors.append(major.value)
    return tuple(majors)


def resolve_device(name: str) -> str:
    """The device that a user's word stands for; `auto` is the first CUDA device, else the CPU.

    Raises:
        BenchError: there is no such device here.
    """
    count = len(cuda_devices())
    if name == "auto":
        return "cuda" if count else "cpu"
    known = ["cpu", *(["cuda", *(f"cuda:{i}" for i in range(count))] if count else [])]
    if name in known or name == "mps":  # whether Apple's is there is for torch to say
        return name
    if re.fullmatch(r"cuda(:\d+)?", name):
        raise BenchError(f"there is no device {name!r}: {count} CUDA devices are here; use one of: {', '.join(known)}.")
    raise BenchError(f"unknown device {name!r}; use auto, {', '.join(known)}.")


def resolve_precision(name: str, device: str) -> Precision:
    """What `auto` stands for: fp32 on a CPU; on CUDA bf16 where the chip has it, else fp16."""
    if name != "auto":
        return name  # type: ignore[return-value]  # the command line and the configuration admit no other
    if not device.startswith("cuda"):
        return "fp32"
    number = int(device.partition(":")[2] or 0)
    return "bf16" if cuda_devices()[number] >= _BF16_MAJOR else "fp16"


def physical_memory() -> int:
    """Bytes of memory that this machine has, in use or not."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
