"""Workers as processes to be killed, as a program: orders on its stdin, answers on its stdout.

`work` starts `python -m guildhall worker` and answers with its pid; `kill PID` is SIGKILL. They are forked from this
process, which has imported everything, so that a death every few seconds costs no start of Python.
"""

import os
import signal
import sys
from importlib import import_module
from typing import NoReturn

from guildhall.cli.main import main as guildhall

import_module("guildhall.cli.serving")  # here, once for all workers: the command line does it late
import_module("scheduler.clusters.kubernetes.opening")


def fork_worker() -> int:
    """Another worker; its pid."""
    pid = os.fork()
    if pid == 0:
        _work()
    return pid


def _work() -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    code = 70
    try:
        code = guildhall(["worker"])
    finally:
        os._exit(code)


def end(pid: int, how: signal.Signals) -> int:
    """Send the signal and wait; how the process ended."""
    os.kill(pid, how)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """Orders until stdin ends; then all workers end in order."""
    workers: set[int] = set()
    for line in sys.stdin:
        order, *words = line.split()
        if order == "work":
            answer = fork_worker()
            workers.add(answer)
        else:
            pid = int(words[0])
            workers.remove(pid)
            answer = end(pid, signal.SIGKILL)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    sys.exit(max([abs(end(pid, signal.SIGTERM)) for pid in workers], default=0))


if __name__ == "__main__":
    main()
