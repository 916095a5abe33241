"""What commands cost: their wall and CPU time and their memory."""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

MIB = 1 << 20


def die(message):
    sys.exit(f"{os.path.relpath(sys.argv[0])}: {message}")


def parse_size(text):
    """Bytes of a size: 435m and 5g are decimal, 128MiB is binary."""
    units = {"k": 10**3, "m": 10**6, "g": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
    number = text.rstrip("kmgibKMGIB")
    unit = text[len(number) :].lower()
    try:
        return int(float(number) * (units[unit] if unit else 1))
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"not a size: {text} (435m, 5g, 128MiB)") from None


class Cost:
    """Wall and CPU seconds and peak bytes of one command, of a pipeline, or of several in turn."""

    def __init__(self, wall, cpu, peak, anonymous):
        self.wall = wall
        self.cpu = cpu  # user and system, of all processes
        self.peak = peak  # resident; in a pipeline, the sum of its processes' peaks
        self.anonymous = anonymous  # the part that is not backed by files, as sampled

    def __add__(self, then):
        return Cost(
            self.wall + then.wall,
            self.cpu + then.cpu,
            max(self.peak, then.peak),
            max(self.anonymous, then.anonymous),
        )


class Sampler(threading.Thread):
    """Reads the memory of processes from /proc, every 10 ms, until it is stopped."""

    def __init__(self, processes):
        super().__init__(daemon=True)
        self.pids = [process.pid for process in processes]
        self.resident = dict.fromkeys(self.pids, 0)
        self.anonymous = dict.fromkeys(self.pids, 0)
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(0.01):
            for pid in self.pids:
                with contextlib.suppress(OSError, KeyError):
                    fields = status(pid)
                    self.resident[pid] = max(self.resident[pid], fields["VmHWM"])
                    self.anonymous[pid] = max(self.anonymous[pid], fields["RssAnon"])


def status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        pairs = (line.split(":", 1) for line in file if line.startswith(("VmHWM", "RssAnon")))
        return {name: int(value.split()[0]) * 1024 for name, value in pairs}


def peak_of(pid, usage, sampler):
    """The peak resident bytes of a process that has ended.

    The kernel's own figure is exact but never below this program's own peak, from which the process
    was started; under that, the sampled one is nearer.
    """
    exact = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    try:
        floor = status("self")["VmHWM"]
    except OSError:
        return exact
    return exact if exact > floor else sampler.resident[pid]


def run(*commands, env=None, stdout=None):
    """Runs commands joined by pipes, the last one's output going to the file stdout; returns the Cost."""
    processes = []
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())
        out = stack.enter_context(open(stdout or os.devnull, "wb"))
        for number, command in enumerate(commands):
            last = number == len(commands) - 1
            process = subprocess.Popen(
                command,
                env=env,
                stdin=processes[-1].stdout if processes else subprocess.DEVNULL,
                stdout=out if last else subprocess.PIPE,
                stderr=errors,
            )
            if processes:
                processes[-1].stdout.close()  # the reader alone holds it, so that its end is noticed
            processes.append(process)
        sampler = Sampler(processes)
        sampler.start()
        cpu = peak = 0
        failed = []
        for process, command in zip(processes, commands):
            _, code, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(code)
            cpu += usage.ru_utime + usage.ru_stime
            peak += peak_of(process.pid, usage, sampler)
            if process.returncode:
                failed.append(f"{' '.join(command)}: exit status {process.returncode}")
        wall = time.monotonic() - began
        sampler.ended.set()
        sampler.join()
        if failed:
            errors.seek(0)
            die("\n".join(failed) + "\n" + errors.read().decode(errors="replace"))
    return Cost(wall, cpu, peak, sum(sampler.anonymous.values()))


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()


def remove_files(*paths):
    for path in paths:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(path + suffix)


def real_path(tool):
    """Where a tool is, past a pyenv shim: that would add its own start to the measured time."""
    path = shutil.which(tool)
    if path and "/shims/" in path:
        found = subprocess.run(["pyenv", "which", tool], capture_output=True, text=True)
        path = found.stdout.strip() or path
    return path


def version(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def same_database(one, two):
    """Whether two files hold the same pages. SQLite's backup sets header fields of its own: the change
    counter, the schema cookie, and the version fields."""
    own = [*range(24, 28), *range(40, 44), *range(92, 100)]
    if os.path.getsize(one) != os.path.getsize(two):
        return False
    with open(one, "rb") as left, open(two, "rb") as right:
        first, second = bytearray(left.read(MIB)), bytearray(right.read(MIB))
        for offset in own:
            first[offset] = second[offset]
        while first == second:
            if not first:
                return True
            first, second = left.read(MIB), right.read(MIB)
        return False
