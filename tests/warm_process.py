"""A process that has imported what is slow to import, and forks real `bench` processes from there on request.

Run as a script. Each line of its standard input is a request in JSON, each answer a line of its standard output:

    {"start": ["run", …] for `bench run …`, or Python's text, "cwd": DIR, "folder": DIR for what it prints,
     "environment": {NAME: text or null, …}, "path": [DIR of plug-ins, …], "file_limit": bytes or null,
     "user": id or null, "tear_down": true to end as Python does, which takes most of a second}  →  process id
    {"wait": process id}  →  exit status, negative for a signal

`processes.py` asks. A started process leads a process group of its own, so that a signal can reach it and its workers
as Ctrl-C does.
"""

import gc
import importlib
import json
import os
import resource
import signal
import sys
from pathlib import Path

import torch

from bench import registry
from bench.cli import main
from bench.corruptions import corrupt, corruptions


def serve() -> dict | None:
    """Answer requests; in a forked child the request that it is to carry out, in the parent None at the end."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer: object = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            child = answer = os.fork()
            if child == 0:
                become(request)
                return request
            os.setpgid(child, child)
        print(json.dumps(answer), flush=True)
    return None


def become(request: dict) -> None:
    """Turn the forked child into the process that was asked for."""
    os.setpgid(0, 0)  # here too: whichever of the two processes comes first
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    for number, path in enumerate((os.devnull, f"{request['folder']}/stdout", f"{request['folder']}/stderr")):
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.dup2(fd, number)
        os.close(fd)
    for name, text in request["environment"].items():
        if text is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = text
    if request["path"]:
        sys.path[:0] = request["path"]
        os.environ["PYTHONPATH"] = os.pathsep.join(request["path"])  # for its workers
        registry._loaded = False  # ours have been loaded, and what is installed has changed
    if request["file_limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"],) * 2)
    if request["user"] is not None:
        os.setgid(request["user"])
        os.setuid(request["user"])
    sys.argv = ["bench", *request["start"]]


def carry_out(start: list[str] | str) -> int:
    """The command, or the text."""
    if not isinstance(start, str):
        return main(start)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for what the text imports of the tests
    exec(compile(start, "<script>", "exec"), {"__name__": "script"})
    return 0


def imported() -> None:
    """Import and load what would otherwise take its time in every child."""
    for name in (
        "timm", "scipy.stats", "imagecorruptions", "pyarrow.parquet", "pyarrow.compute", "bench.api",
        "bench.run.local", "bench.run.sweep", "bench.run.forecast", "bench.checkpoints.loading",
        "bench.board.tables", "bench.images.decode", "bench.cli.run", "bench.cli.tables",
    ):  # fmt: skip
        importlib.import_module(name)
    torch.set_num_threads(1)  # no threads before the forks
    for entry in corruptions:  # read from numba's cache when first used, or compiled
        corrupt(entry, torch.zeros(1, 3, 32, 32, dtype=torch.uint8), 1, seed=0, ids=["0"])
    "".encode("cp437")  # for npz files; another user may not find the codec


if __name__ == "__main__":
    imported()
    print(json.dumps("ready"), flush=True)
    gc.freeze()  # the children share its pages
    request = serve()
    if request is not None:
        status = carry_out(request["start"])
        if request["tear_down"]:
            sys.exit(status)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
