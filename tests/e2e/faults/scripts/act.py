"""A training script that does one thing wrong, or nothing: the word after its name says what."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

CHUNK = b"\0" * (1 << 20)
OUTLIVING = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def output() -> Path:
    """Where the files of the new version go."""
    return Path(os.environ["GUILDHALL_OUTPUT"])


def succeed() -> None:
    """Leave two files and a metric, as a good script does."""
    sys.stdout.write("metric accuracy=0.75\n")
    (output() / "model.bin").write_bytes(b"weights " * 1000)
    (output() / "notes").mkdir()
    (output() / "notes" / "readme.txt").write_text("all is well\n")


def succeed_big() -> None:
    """Leave so much that it takes a while to upload."""
    (output() / "small.bin").write_bytes(b"small")
    (output() / "big.bin").write_bytes(os.urandom(32 * len(CHUNK)))


def exit_with(code: int) -> None:
    """Give up in the middle of the output."""
    (output() / "half.bin").write_bytes(CHUNK)
    sys.stderr.write("this went wrong\n")
    sys.exit(code)


def count(lines: int) -> None:
    """Say one line after the other, four a second, and leave what a good script does."""
    for number in range(1, lines + 1):
        sys.stdout.write(f"line {number}\n")
        sys.stdout.flush()
        time.sleep(0.25)
    succeed()


def die() -> None:
    """Be killed, as by the kernel when memory runs out."""
    (output() / "half.bin").write_bytes(CHUNK)
    os.kill(os.getpid(), signal.SIGKILL)


def fill_with_many() -> None:
    """Write file after file until somebody says stop."""
    for number in range(4096):
        (output() / f"{number}.bin").write_bytes(CHUNK)
        time.sleep(0.005)


def fill_with_one() -> None:
    """Write one file until it may not grow."""
    with (output() / "huge.bin").open("wb") as file:
        for _ in range(4096):
            file.write(CHUNK)


def leave_children() -> None:
    """Succeed, and leave processes of another session that do not listen."""
    for _ in range(2):
        subprocess.Popen(
            [sys.executable, "-c", OUTLIVING],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    succeed()


def link() -> None:
    """Leave a link to what is not ours among the output."""
    succeed()
    (output() / "passwords").symlink_to("/etc/passwd")


def show_token() -> None:
    """What a curious script could do with the token that lies beside it: backwards, it passes as any other text."""
    sys.stdout.write(f"token {Path('.guildhall/token').read_text().strip()[::-1]}\n")
    succeed()


def wait(seconds: float, *, listening: bool = True) -> None:
    """Hold the slots for a while; who does not listen has to be killed."""
    if not listening:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(seconds)
    succeed()


def take_checkpoints() -> None:
    """Learn from the staged data until told to stop, and leave a last checkpoint in order."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    Path(os.environ["GUILDHALL_CHECKPOINT_FILE"]).touch()
    sys.stdout.write("ready to be stopped\n")
    sys.stdout.flush()
    while not told:
        time.sleep(0.05)
    (output() / "model.bin").write_bytes(b"learned from " + Path("data/rows.csv").read_bytes())


ACTS: dict[str, Callable[[], None]] = {
    "succeed": succeed,
    "succeed-big": succeed_big,
    "count": lambda: count(int(sys.argv[2])),
    "exit": lambda: exit_with(1),
    "die": die,
    "leave-nothing": lambda: None,
    "fill-with-many": fill_with_many,
    "fill-with-one": fill_with_one,
    "leave-children": leave_children,
    "link": link,
    "show-token": show_token,
    "take-checkpoints": take_checkpoints,
    "wait": lambda: wait(float(sys.argv[2])),
    "wait-deaf": lambda: wait(float(sys.argv[2]), listening=False),
}

ACTS[sys.argv[1]]()
