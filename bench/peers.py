"""The programs that Litestash is compared with: how they are built, and how they are run."""

import json
import os
import subprocess
import tempfile
import time

from measure import Cost, die, remove_files, run, status
from rig import CACHE

# What is built, by pinned version, outside the product's go.mod.
PINS = {
    "litestream": ("github.com/benbjohnson/litestream/cmd/litestream", "v0.5.18"),
    "restic": ("github.com/restic/restic/cmd/restic", "v0.18.1"),
}


def binary(name):
    """The path of a peer's program. It is built first if the cache lacks it, which takes some minutes."""
    package, pin = PINS[name]
    cache = os.environ.get("LITESTASH_CI_CACHE") or os.path.join(CACHE, "litestash-ci")
    path = os.path.join(cache, "bin", f"{name}@{pin}")
    if not os.path.exists(path):
        print(f"building {name} {pin} into {os.path.dirname(path)}", flush=True)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as build:
            env = dict(os.environ, GOBIN=build, GOWORK="off", GOFLAGS="", CGO_ENABLED="0")
            subprocess.run(["go", "install", f"{package}@{pin}"], env=env, cwd=build, check=True)
            os.rename(os.path.join(build, name), path)
    return path


class Restic:
    """restic, with a copy that the sqlite3 shell makes first: it knows nothing of SQLite."""

    name = "restic"

    def __init__(self, client, prefix, database, work):
        self.database, self.prefix = database, prefix
        self.home = os.path.join(work, "restic")
        os.makedirs(self.home)
        self.spool = os.path.join(self.home, "app.db")
        self.restored = os.path.join(self.home, "restored", "app.db")
        self.program = binary("restic")
        repository = f"s3:{client.endpoint or 'https://s3.amazonaws.com'}/{client.root}/{prefix}"
        cache = os.path.join(self.home, "cache")
        self.env = dict(client.env, RESTIC_PASSWORD="bench", RESTIC_CACHE_DIR=cache, RESTIC_REPOSITORY=repository)

    def begin(self):
        run([self.program, "init", "--quiet"], env=self.env)

    def push(self):
        copied = run(["sqlite3", self.database, f".backup '{self.spool}'"])
        return copied + run([self.program, "backup", "--quiet", "--host", "bench", self.spool], env=self.env)

    def restore(self):
        into = ["--target", os.path.dirname(self.restored)]
        return {"restore": run([self.program, "restore", "--quiet", f"latest:{self.home}", *into], env=self.env)}

    def clean(self):
        remove_files(self.restored, self.spool)


class Litestream:
    """Litestream, run once for each push."""

    name = "litestream -once"

    def __init__(self, client, prefix, database, work):
        self.database, self.client, self.prefix = database, client, prefix
        self.home = os.path.join(work, "litestream-" + self.name.rpartition(" ")[2].strip("-"))
        os.makedirs(self.home)
        self.config = os.path.join(self.home, "litestream.yml")
        self.socket = os.path.join(self.home, "socket")
        self.restored = os.path.join(self.home, "restored.db")
        self.program = binary("litestream")
        self.env = dict(client.env)
        self.env.pop("AWS_CA_BUNDLE", None)  # it refuses to start with one

    def begin(self):
        bucket, _, root = self.client.root.partition("/")
        replica = {"type": "s3", "bucket": bucket, "path": f"{root}/{self.prefix}".lstrip("/")}
        if self.client.endpoint:
            replica |= {"endpoint": self.client.endpoint, "region": "us-east-1", "force-path-style": True}
        settings = {
            "socket": {"enabled": True, "path": self.socket},
            "dbs": [{"path": self.database, "replica": replica}],
        }
        with open(self.config, "w", encoding="utf-8") as file:
            json.dump(settings, file)  # JSON is YAML

    def push(self):
        return run([self.program, "replicate", "-config", self.config, "-once"], env=self.env)

    def restore(self):
        costs = {}
        for name, check in (("restore", "none"), ("restore, quick_check", "quick")):
            remove_files(self.restored)
            how = ["-config", self.config, "-o", self.restored, "-integrity-check", check]
            costs[name] = run([self.program, "restore", *how, self.database], env=self.env)
        return costs

    def clean(self):
        remove_files(self.restored)


class LitestreamRunning(Litestream):
    """Litestream as it is meant to be used: it runs beside the application all the time."""

    name = "litestream running"

    def begin(self):
        super().begin()
        self.log = open(os.path.join(self.home, "log"), "wb")
        command = [self.program, "replicate", "-config", self.config]
        self.process = subprocess.Popen(command, env=self.env, stdout=self.log, stderr=self.log)

    def synced(self, seconds=300):
        """Waits until all that was committed is in the store. Its socket answers once it runs."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            sync = [self.program, "sync", "-socket", self.socket, "-wait", "-timeout", str(seconds), self.database]
            if subprocess.run(sync, capture_output=True).returncode == 0:
                return
            time.sleep(0.2)
        self.log.flush()
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            die(f"litestream does not answer: {file.read()[-2000:]}")

    def used(self):
        """CPU seconds that the process has used so far."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def push(self):
        """The time from a commit until the store has it, within the second that it waits by itself."""
        before, began = self.used(), time.monotonic()
        self.synced()
        memory = status(self.process.pid)
        return Cost(time.monotonic() - began, self.used() - before, memory["VmHWM"], memory["RssAnon"])

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
