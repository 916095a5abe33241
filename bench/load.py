"""What an application does to the benchmark's database meanwhile."""

import random
import sqlite3
import struct

WAL_HEADER, FRAME_HEADER = 32, 24


class Application:
    """Has a database open, as an application would, and changes rows of it: the same ones each time for
    the same seed. It leaves checkpoints to SQLite unless told otherwise."""

    def __init__(self, path, seed=1, checkpoint_pages=1000):
        self.path = path
        self.random = random.Random(seed)
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA synchronous = OFF")  # it is the backup that is measured
        self.db.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")
        (self.rows,) = self.db.execute("SELECT max(id) FROM message").fetchone()
        self.texts = [text for (text,) in self.db.execute("SELECT body FROM message WHERE id % 97 = 0 LIMIT 5000")]

    def update(self, rows):
        """Rewrites rows, drawn from all, in one transaction."""
        self.db.execute("BEGIN IMMEDIATE")
        for _ in range(rows):
            self.rewrite(self.random.randint(1, self.rows))
        self.db.execute("COMMIT")

    def write(self):
        """A small write: one new message, and four rewritten among the newest ten thousand. One transaction."""
        self.rows += 1
        author, token = f"user-{self.random.randrange(20_000):05d}", f"{self.random.getrandbits(96):024x}"
        row = (self.rows, author, 1_800_000_000 + self.rows, token, self.random.choice(self.texts))
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("INSERT INTO message VALUES (?, ?, ?, ?, ?)", row)
        for _ in range(4):
            self.rewrite(self.random.randint(max(1, self.rows - 9_999), self.rows))
        self.db.execute("COMMIT")

    def rewrite(self, row):
        """Puts the words of a row's text into another order: its page changes and no other."""
        (text,) = self.db.execute("SELECT body FROM message WHERE id = ?", (row,)).fetchone()
        words = text.split(" ")
        self.random.shuffle(words)
        self.db.execute("UPDATE message SET body = ? WHERE id = ?", (" ".join(words), row))

    def has_rows_of(self, path):
        """Whether the database at path has the same rows, whatever else a backup program added to either."""
        self.db.execute("ATTACH ? AS other", (path,))
        ours, theirs, equal = self.db.execute(
            "SELECT (SELECT count(*) FROM main.message), (SELECT count(*) FROM other.message), (SELECT count(*)"
            " FROM main.message a JOIN other.message b USING (id)"
            " WHERE a.author = b.author AND a.sent = b.sent AND a.token = b.token AND a.body = b.body)"
        ).fetchone()
        self.db.execute("DETACH other")
        return ours == theirs == equal

    def close(self):
        self.db.close()


class Recorder:
    """Tells which pages each commit of an application has written, by reading the WAL. The application must
    not checkpoint by itself."""

    def __init__(self, application):
        self.application = application
        self.checkpoint()

    def checkpoint(self):
        self.application.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.read = 0  # bytes of the WAL

    def changes(self):
        """The pages, by number, that were written since the last call, and the database's size in pages."""
        with open(self.application.path + "-wal", "rb") as wal:
            wal.seek(self.read)
            new = wal.read()
        at = 0
        if self.read == 0:
            (page_size,) = struct.unpack_from(">I", new, 8)
            self.page_size, at = page_size, WAL_HEADER
        pages, size = {}, 0
        while at < len(new):
            number, size = struct.unpack_from(">II", new, at)
            pages[number] = new[at + FRAME_HEADER : at + FRAME_HEADER + self.page_size]
            at += FRAME_HEADER + self.page_size
        self.read += len(new)
        if self.read > 64 << 20:
            self.checkpoint()
        return pages, size
