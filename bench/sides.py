"""The two sides of every benchmark: the usual cron job, and Litestash."""

import json
import os
import shutil

from measure import die, remove_files, run
from rig import below, built


class Pipeline:
    """The cron job."""

    name = "pipeline"

    def __init__(self, client, database, work):
        self.client, self.database = client, database
        self.spool = os.path.join(work, "pipeline.spool")
        self.restored = os.path.join(work, "pipeline.db")

    def push(self, prefix):
        os.sync()
        backup = run(["sqlite3", self.database, f".backup '{self.spool}'"])
        sent = run(["zstd", "-q", "-c", self.spool], self.client.upload(f"{prefix}/app.db.zst"), env=self.client.env)
        os.remove(self.spool)
        return {"push": backup + sent}

    def restore(self, prefix):
        os.sync()
        fetched = run(
            self.client.download(f"{prefix}/app.db.zst"),
            ["zstd", "-q", "-d", "-c"],
            env=self.client.env,
            stdout=self.restored,
        )
        answer = self.restored + ".check"
        checked = run(["sqlite3", self.restored, "PRAGMA quick_check"], stdout=answer)
        with open(answer, encoding="utf-8") as file:
            if file.read().strip() != "ok":
                die(f"quick_check of {self.restored} did not say ok")
        return {"restore": fetched, "restore, quick_check": fetched + checked}

    def clean(self):
        remove_files(self.restored, self.restored + ".check")


class Litestash:
    """Litestash, by its command line."""

    name = "litestash"
    sealing, opening = (), ()  # what push, and restore and verify, are told of encryption

    def __init__(self, binary, url, database, work, limits):
        self.binary, self.url, self.database, self.work, self.limits = binary, url, database, work, limits
        self.restored = os.path.join(work, f"{self.name}.db")
        self.state = state = os.path.join(work, f"{self.name}.state")
        self.env = dict(os.environ, LITESTASH_TEMP_DIR=work, LITESTASH_STATE_DIR=state, **limits.env)
        self.held = 0.0  # seconds that the last push held the source's transaction, as it says

    def command(self, prefix, *args):
        # A prefix of its own makes every push a first one: a full snapshot.
        return self.limits.wrap([self.binary, "--store", below(self.url, prefix), "--no-progress", "--json", *args])

    def push(self, prefix):
        said = os.path.join(self.work, "push.json")
        os.sync()
        cost = run(self.command(prefix, "push", self.database, "--name", "bench", *self.sealing), env=self.env, stdout=said)
        with open(said, encoding="utf-8") as file:
            self.held = json.load(file)["held_seconds"]
        return {"push": cost}

    def restore(self, prefix):
        costs = {}
        for name, check in (("restore", "none"), ("restore, quick_check", "quick")):
            remove_files(self.restored)
            os.sync()
            costs[name] = run(
                self.command(prefix, "restore", "bench", "-o", self.restored, "--check", check, *self.opening), env=self.env
            )
        os.sync()
        costs["verify"] = run(self.command(prefix, "verify", "bench", *self.opening), env=self.env)
        return costs

    def clean(self):
        remove_files(self.restored)
        shutil.rmtree(self.state, ignore_errors=True)


class Encrypted(Litestash):
    """Litestash, encrypting for a key of age."""

    name = "encrypted"

    def __init__(self, binary, url, database, work, limits):
        super().__init__(binary, url, database, work, limits)
        identity = os.path.join(work, "identity.txt")
        run([built("filippo.io/age/cmd/age-keygen", work), "-o", identity])
        with open(identity, encoding="ascii") as file:
            (recipient,) = (line.split()[-1] for line in file if line.startswith("# public key:"))
        self.sealing, self.opening = ("--recipient", recipient), ("--identity", identity)
