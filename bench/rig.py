"""What the benchmarks run on: the server, the database, the program, and a client for the store."""

import json
import os
import subprocess
import sys
import urllib.parse
import zlib

from measure import MIB, die, read, real_path, version

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
KEPT = os.path.join(CACHE, "litestash-bench")  # the databases, for the next run


def store_url(directory):
    """The URL of the store that is measured: BENCH_S3's, or that of a MinIO, beside which this script is
    started again. Its data belongs on the same disk as all the rest, in directory."""
    url = os.environ.get("BENCH_S3") or os.environ.get("LITESTASH_TEST_S3", "").split(" ")[0]
    if not url:
        os.environ.setdefault("TMPDIR", directory)
        with_servers = os.path.join(os.path.dirname(HERE), ".ci", "with-servers")
        os.execv(with_servers, [with_servers, "--only", "minio-http", *sys.argv])
    return url


def below(url, prefix):
    """The URL of the store below a prefix in another."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{prefix}").geturl()


def database_file(directory, size):
    """The path of the database, made first if this recipe's is not there. Reads it into the page cache."""
    with open(os.path.join(HERE, "make-db"), "rb") as recipe:
        path = os.path.join(directory, f"text-{size}-{zlib.crc32(recipe.read()):08x}.db")
    if not os.path.exists(path):
        subprocess.run([os.path.join(HERE, "make-db"), path, str(size)], check=True)
    with open(path, "rb") as file:
        while file.read(MIB):
            pass
    return path


def built(package, work, ready=None):
    """The path of a command of this checkout, which is built into work unless one is ready."""
    if ready:
        return os.path.abspath(ready)
    binary = os.path.join(work, os.path.basename(package))
    env = dict(os.environ, CGO_ENABLED="0")
    subprocess.run(["go", "build", "-trimpath", "-o", binary, package], cwd=os.path.dirname(HERE), env=env, check=True)
    return binary


class Client:
    """The pipeline's S3 client: aws, or rclone where aws is missing or rclone is asked for."""

    def __init__(self, url, wanted):
        parts = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(parts.query))
        if parts.scheme != "s3" or not parts.netloc:
            die(f"not an S3 store: {url}")
        self.root = f"{parts.netloc}{parts.path.rstrip('/')}"
        self.endpoint = query.get("endpoint", "")
        self.env = dict(os.environ)
        if "region" in query or self.endpoint:
            self.env["AWS_DEFAULT_REGION"] = self.env["AWS_REGION"] = query.get("region", "us-east-1")
        if "profile" in query:
            self.env["AWS_PROFILE"] = query["profile"]
        aws, rclone = (real_path(tool) if wanted in (None, tool) else None for tool in ("aws", "rclone"))
        if aws:
            self.name = version(aws, "--version")
            self.aws = [aws] + (["--endpoint-url", self.endpoint] if self.endpoint else [])
        elif rclone:
            self.name = version(rclone, "version")
            self.aws = None
            self.rclone = [rclone, "--s3-provider", "Other", "--s3-env-auth", "--s3-endpoint", self.endpoint]
            if bundle := self.env.pop("AWS_CA_BUNDLE", ""):  # some versions refuse to start with it
                self.env["RCLONE_CA_CERT"] = bundle
            self.env["RCLONE_CONFIG"] = os.devnull
        else:
            die(f"{wanted} is not installed" if wanted else "neither aws nor rclone is installed")

    def upload(self, key):
        if self.aws:
            return [*self.aws, "s3", "cp", "--only-show-errors", "-", f"s3://{self.root}/{key}"]
        return [*self.rclone, "rcat", f":s3:{self.root}/{key}"]

    def download(self, key):
        if self.aws:
            return [*self.aws, "s3", "cp", "--only-show-errors", f"s3://{self.root}/{key}", "-"]
        return [*self.rclone, "cat", f":s3:{self.root}/{key}"]

    def stored(self, prefix):
        """Bytes of all objects below a prefix, whoever wrote them."""
        return sum(size for _, size in self.list(prefix))

    def list(self, prefix):
        """The keys of all objects below a prefix and their sizes in bytes."""
        bucket, _, root = self.root.partition("/")
        if self.aws:
            listing = ["s3api", "list-objects-v2", "--bucket", bucket, "--prefix", f"{root}/{prefix}/".lstrip("/")]
            found = json.loads(self.ask([*self.aws, *listing, "--output", "json", "--query", "Contents[].[Key, Size]"]))
            return [tuple(one) for one in found or []]
        found = json.loads(self.ask([*self.rclone, "lsjson", "--recursive", "--files-only", f":s3:{self.root}/{prefix}"]))
        return [(one["Path"], one["Size"]) for one in found]

    def remove(self, prefix):
        if self.aws:
            self.ask([*self.aws, "s3", "rm", "--recursive", "--only-show-errors", f"s3://{self.root}/{prefix}/"])
        else:
            self.ask([*self.rclone, "delete", f":s3:{self.root}/{prefix}"])

    def ask(self, command):
        done = subprocess.run(command, env=self.env, capture_output=True, text=True)
        if done.returncode:
            die(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout


class Limits:
    """What Litestash's commands are run under: a cgroup's memory limit, GOMEMLIMIT, both or neither."""

    def __init__(self, memory, gomemlimit):
        self.env = {"GOMEMLIMIT": gomemlimit} if gomemlimit else {}
        self.group = self.kind = None
        self.prefix = []
        if memory:
            self.enter(memory)

    def enter(self, memory):
        name = f"litestash-bench-{os.getpid()}"
        v1, v2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
        try:
            if os.path.exists(f"{v2}/cgroup.subtree_control"):
                if "memory" not in read(f"{v2}/cgroup.subtree_control").split():
                    raise OSError("the memory controller is not enabled")
                self.group, self.kind = f"{v2}/{name}", "cgroup v2"
                settings = {"memory.max": memory, "memory.swap.max": 0}
            elif os.path.exists(f"{v1}/memory.limit_in_bytes"):
                self.group, self.kind = f"{v1}/{name}", "cgroup v1"
                settings = {"memory.limit_in_bytes": memory, "memory.swappiness": 0}
            else:
                raise OSError("no memory cgroup is mounted")
            os.mkdir(self.group)
            for setting, value in settings.items():
                with open(f"{self.group}/{setting}", "w", encoding="ascii") as file:
                    file.write(str(value))
            self.prefix = ["sh", "-c", f'echo $$ >"{self.group}/cgroup.procs" && exec "$@"', "sh"]
        except OSError as reason:
            self.group = None
            if not os.path.isdir("/run/systemd/system"):
                die(f"cannot limit memory: {reason}, and systemd is not running")
            self.kind = "systemd-run"
            self.prefix = ["systemd-run", "--quiet", "--scope", "-p", f"MemoryMax={memory}", "-p", "MemorySwapMax=0"]

    def wrap(self, command):
        return self.prefix + command

    def report(self):
        """What the cgroup counted: its peak holds the page cache too, and so always comes near the limit."""
        if not self.group:
            return {}
        names = ("memory.peak", "memory.events", "memory.max_usage_in_bytes", "memory.failcnt", "memory.oom_control")
        return {name: read(f"{self.group}/{name}") for name in names if os.path.exists(f"{self.group}/{name}")}

    def leave(self):
        if self.group:
            os.rmdir(self.group)


class Meter:
    """Counts bytes and requests between clients and the server, see meter/main.go. It takes some time of
    both, so nothing is timed through it."""

    def __init__(self, url, work):
        parts = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(parts.query))
        if not query.get("endpoint", "").startswith("http://"):
            die("bytes on the wire can only be counted with an endpoint over http")
        command = [built("./bench/meter", work), query["endpoint"]]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        query["endpoint"] = self.process.stdout.readline().strip()
        self.url = parts._replace(query=urllib.parse.urlencode(query)).geturl()

    def take(self):
        """What went over the wire since the last time."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()
