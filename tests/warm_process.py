"""A process that has imported what is slow to import, and forks real `bench` processes from there on request.

Run as a script. Each line of its standard input is a request in JSON, each answer a line of its standard output:

    {"start": ["run", …], "cwd": DIR, "folder": DIR, "file_limit": bytes or null, "user": id or null,
     "tear_down": true to end as Python does, which takes most of a second}  →  process id
    {"wait": process id}  →  exit status, negative for a signal

A started process leads a process group of its own, so that a signal can reach it and its workers as Ctrl-C does.
"""

import gc
import json
import os
import resource
import signal
import sys


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
    if request["file_limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"],) * 2)
    if request["user"] is not None:
        os.setgid(request["user"])
        os.setuid(request["user"])
    sys.argv = ["bench", *request["start"]]


if __name__ == "__main__":
    import timm  # noqa: F401 - imports that would otherwise be repeated in every child
    import torch

    import bench.api
    import bench.board.tables  # noqa: F401
    from bench.cli import main
    from bench.corruptions import corrupt, corruptions

    torch.set_num_threads(1)  # no threads before the forks
    # Compiled by numba when first used, which takes seconds.
    corrupt(corruptions.get("glass_blur"), torch.zeros(1, 3, 32, 32, dtype=torch.uint8), 1, seed=0, ids=["0"])
    "".encode("cp437")  # for npz files; another user may not find the codec
    print(json.dumps("ready"), flush=True)
    gc.freeze()  # the children share its pages
    request = serve()
    if request is not None:
        status = main(request["start"])
        if request["tear_down"]:
            gc.unfreeze()
            sys.exit(status)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
