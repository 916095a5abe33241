#!/usr/bin/env python3
"""Restore a snapshot from its object, by FORMAT.md alone.

    restore.py [--database NAME] [--root HEX] [--identity FILE] OBJECT OUTPUT

OBJECT is a snapshot's object in a local copy of a store, such as
store/app.db/20261122T073500.004Z-7q3dk29f0a1bc.full.db.zst. What a delta rests on is looked for
beside it. OUTPUT must not exist; it appears only when every page and the root are checked.

It takes Python 3.8, the zstd tool and, for encrypted objects, the age tool.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import zlib

FRAME = 1 << 20
SEGMENT = 1 << 16
OWN, SEEK = 0x184D2A5C, 0x184D2A5E
MAX_FACTS = 1 << 20
NAME = r"([0-9]{8}T[0-9]{6}\.[0-9]{3}Z-[0-9a-f][0-9a-hjkmnp-tv-z]{12})"
FULL = re.compile(NAME + r"\.full\.db\.zst(\.age)?")
DELTA = re.compile(NAME + r"\.on-([0-9a-f][0-9a-hjkmnp-tv-z]{12})\.delta\.zst(\.age)?")


class Refused(Exception):
    """The object is not what FORMAT.md says an object must be."""


def must(condition, what):
    if not condition:
        raise Refused(what)


def skippable(frame, magic):
    must(len(frame) >= 8 and struct.unpack_from("<II", frame) == (magic, len(frame) - 8), "not a skippable frame of its size")
    return frame[8:]


def facts(frame, magic):
    """Return the JSON object of a header or an index."""
    content = skippable(frame, OWN)
    must(content[:8] == magic and len(content) >= 44 and len(frame) <= MAX_FACTS, "no %s" % magic.decode())
    version, = struct.unpack_from("<I", content, 8)
    must(version == 1, "format version %d: this program reads version 1" % version)
    must(hashlib.sha256(content[:-32]).digest() == content[-32:], "hash of %s" % magic.decode())

    def members(pairs):
        must(len(dict(pairs)) == len(pairs), "a member twice")
        must(all(value is not None for _, value in pairs), "a null")
        return dict(pairs)

    text = content[12:-32]
    if magic == b"LSTINDEX":
        text = decompress(text, MAX_FACTS)
    value = json.loads(text.decode("utf-8"), object_pairs_hook=members)
    check_names(value)
    return value


def check_names(value):
    if isinstance(value, list):
        must(all(v is not None for v in value), "a null")
        for v in value:
            check_names(v)
    if isinstance(value, dict):
        for name, v in value.items():
            must(re.fullmatch("[a-z_]+", name), "a member %r" % name)
            if name != "tags":
                check_names(v)


def check_header(h):
    """Check what stands in a header and in an index alike."""
    for name in ("database", "snapshot", "parent"):
        must(type(h[name]) is str, name)
    for name in ("page_size", "pages"):
        must(type(h[name]) is int, name)
    size, pages = h["page_size"], h["pages"]
    must(0 <= pages < 2**32 - 1, "%d pages" % pages)
    must((size == 0) == (pages == 0), "%d pages of %d bytes" % (pages, size))
    must(size == 0 or 512 <= size <= 65536 and size & (size - 1) == 0, "page size %d" % size)
    must(re.fullmatch(NAME, h["snapshot"]), "snapshot %r" % h["snapshot"])
    if h["parent"]:
        must(re.fullmatch(NAME, h["parent"]), "parent %r" % h["parent"])
        must(h["parent"][:20] < h["snapshot"][:20], "a parent that is not earlier")


class Object:
    """One object, its tail read and checked."""

    def __init__(self, file, base, stored):
        self.file = file
        self.stored = stored  # bytes, encrypted or not
        self.size = file.seek(0, os.SEEK_END)
        self.read_tail()
        self.check_key(base)
        header = facts(self.read(*self.header), b"LITESTSH")
        for name in ("database", "snapshot", "parent", "page_size", "pages"):
            must(header[name] == self.index[name] and type(header[name]) is type(self.index[name]), "header and index disagree on " + name)

    def read(self, offset, length):
        must(0 <= offset and offset + length <= self.size, "cut short")
        self.file.seek(offset)
        data = self.file.read(length)
        must(len(data) == length, "cut short")
        return data

    def read_tail(self):
        count, descriptor, magic = struct.unpack("<IBI", self.read(self.size - 9, 9))
        must(magic == 0x8F92EAB1 and descriptor == 0 and count >= 2, "no seek table")
        must(256 * (count - 4) <= self.size, "more frames than fit")
        start = self.size - 9 - 8 * count - 8
        table = skippable(self.read(start, self.size - start), SEEK)
        spans, offset = [], 0
        for stored, content in struct.iter_unpack("<II", table[:-9]):
            spans.append((offset, stored, content))
            offset += stored
        must(offset == start, "sizes do not add up to the object's")
        must(spans[0][2] == 0 and spans[-1][2] == 0, "no header or no index")
        must(spans[0][1] <= MAX_FACTS and spans[-1][1] <= MAX_FACTS, "a header or an index too large")
        self.header = spans[0][:2]
        self.index = facts(self.read(*spans[-1][:2]), b"LSTINDEX")
        self.check_index()
        carried, page_size = self.index["carried"], self.index["page_size"]
        total = carried * page_size
        wanted = [FRAME] * (total // FRAME) + [total % FRAME] * (total % FRAME > 0)
        segments = -(-carried // SEGMENT)
        must(count == 2 + len(wanted) + segments, "%d frames" % count)
        must([s[2] for s in spans[1:-1]] == wanted + [0] * segments, "the content of frames")
        self.data = spans[1:1 + len(wanted)]
        self.segments = spans[1 + len(wanted):-1]
        must(all(s[1] <= FRAME + 64 for s in self.data), "a data frame too large")
        must(all(s[1] <= 2 * FRAME for s in self.segments), "a segment too large")

    def check_index(self):
        x = self.index
        check_header(x)
        delta = x["parent"] != ""
        must(type(x["carried"]) is int and 0 <= x["carried"] <= x["pages"], "carried")
        must(delta or x["carried"] == x["pages"], "a full that does not carry every page")
        must(re.fullmatch("[0-9a-f]{32}", x["salt"]), "salt")
        must(re.fullmatch("[0-9a-f]{64}", x["root"]), "root")
        must(("parent_root" in x) == delta, "parent_root")
        must(type(x["chain"]) is list and bool(x["chain"]) == delta, "chain")
        must(type(x["source"]) is dict and type(x["creator"]) is str, "source or creator")

    def check_key(self, base):
        full, delta = FULL.fullmatch(base), DELTA.fullmatch(base)
        must(full or delta, "%s is no key of a full or a delta" % base)
        must((full or delta).group(1) == self.index["snapshot"], "it was another snapshot's: %s" % self.index["snapshot"])
        must(self.index["parent"][21:] == (delta.group(2) if delta else ""), "its parent is not the one in the key")

    def table(self):
        """Yield each segment of the page table: page numbers, hashes, data frames."""
        last = 0
        frames = iter(self.data)
        for i, (offset, stored, _) in enumerate(self.segments):
            content = skippable(self.read(offset, stored), OWN)
            must(len(content) >= 24 and content[:8] == b"LSTPAGES", "not a page table segment")
            must(zlib.crc32(content[:-4]) == struct.unpack("<I", content[-4:])[0], "checksum of a segment")
            ordinal, count, runs = struct.unpack_from("<III", content, 8)
            must(ordinal == SEGMENT * i and count == min(SEGMENT, self.index["carried"] - ordinal), "order of segments")
            covered = -(-count * self.index["page_size"] // FRAME)
            must(len(content) == 20 + 8 * runs + 16 * count + 4 * covered + 4, "size of a segment")
            numbers = []
            for r, (first, length) in enumerate(struct.iter_unpack("<II", content[20:20 + 8 * runs])):
                must(first > last + (r > 0) and first + length <= self.index["pages"] + 1, "a run out of place")
                must(1 <= length <= count - len(numbers), "a run of %d pages" % length)
                numbers += range(first, first + length)
                last = first + length - 1
            must(len(numbers) == count, "%d pages in runs" % len(numbers))
            if self.index["parent"] == "":
                must(runs == 1 and numbers[0] == ordinal + 1, "a full that leaves pages out")
            at = 20 + 8 * runs
            sums = struct.unpack_from("<%dI" % covered, content, at + 16 * count)
            yield numbers, content[at:at + 16 * count], [(next(frames), s) for s in sums]

    def content(self, span, checksum):
        """Return what a data frame holds."""
        offset, stored, size = span
        frame = self.read(offset, stored)
        must(zlib.crc32(frame) == checksum, "checksum of a data frame")
        data = decompress(frame, size)
        must(len(data) == size, "a data frame of %d bytes where %d belong" % (len(data), size))
        return data


def decompress(frame, most):
    """Return what a zstd frame holds, at most that many bytes."""
    with tempfile.TemporaryFile() as stored:
        stored.write(frame)
        stored.seek(0)
        with subprocess.Popen(["zstd", "-dcq"], stdin=stored, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as zstd:
            data = zstd.stdout.read(most + 1)  # whatever else it says it has, is not read
            if len(data) > most:
                zstd.kill()
    must(zstd.returncode == 0 and len(data) <= most, "a frame that does not decompress, or to too much")
    return data


def root(index, hashes):
    h = hashlib.sha256(b"litestash root v1\0")
    h.update(struct.pack("<II", index["page_size"], index["pages"]))
    h.update(bytes.fromhex(index["salt"]))
    h.update(hashes)
    return h.hexdigest()


def open_object(path, identity, stack):
    if path.endswith(".age"):
        must(identity, "%s is encrypted: it takes --identity" % path)
        file = stack.enter_context(tempfile.TemporaryFile())
        subprocess.run(["age", "-d", "-i", identity, path], stdout=file, check=True)
    else:
        file = stack.enter_context(open(path, "rb"))
    try:
        return Object(file, os.path.basename(path), os.path.getsize(path))
    except Refused as e:
        raise Refused("%s: %s" % (path, e))


def open_path(path, identity, stack):
    """Return the objects that the snapshot needs, a full first and its own last."""
    target = open_object(path, identity, stack)
    chain = target.index["chain"]
    must(all(type(l) is dict and (DELTA if i else FULL).fullmatch(l["key"]) for i, l in enumerate(chain)), "chain")
    objects = [open_object(os.path.join(os.path.dirname(path), l["key"]), identity, stack) for l in chain] + [target]
    for i, o in enumerate(objects):
        must(o.index["chain"] == chain[:i], "chains disagree")
        must(o is target or o.stored == chain[i]["size"], "an object of another size than the chain says")
        if i:
            must(o.index["parent"] == objects[i - 1].index["snapshot"], "a delta on another parent")
            must(o.index["parent_root"] == objects[i - 1].index["root"], "a delta on another root")
            for name in ("database", "salt", "page_size"):
                must(o.index[name] == objects[0].index[name], "the chain disagrees on " + name)
    return objects


def restore(objects, out):
    """Write the image of the last object to out. It is right only when this returns."""
    hashes = bytearray()
    for o in objects:
        salt, page_size, pages = bytes.fromhex(o.index["salt"]), o.index["page_size"], o.index["pages"]
        del hashes[16 * pages:]
        for numbers, carried, frames in o.table():
            for i, page in enumerate(numbers):
                must(16 * (page - 1) <= len(hashes), "a page before page %d is in no object" % page)
                hashes[16 * (page - 1):16 * page] = carried[16 * i:16 * i + 16]
            i = 0
            for span, checksum in frames:
                data = o.content(span, checksum)
                for at in range(0, len(data), page_size):
                    page = data[at:at + page_size]
                    must(hashlib.sha256(salt + page).digest()[:16] == carried[16 * i:16 * i + 16], "hash of page %d" % numbers[i])
                    out.seek((numbers[i] - 1) * page_size)
                    out.write(page)
                    i += 1
        must(len(hashes) == 16 * pages, "pages after page %d are in no object" % (len(hashes) // 16))
        out.truncate(pages * page_size)
    final = objects[-1].index
    must(root(final, hashes) == final["root"], "the pages do not have the root of the index")


def place(path, args):
    """Restore into a file beside the output, which then gets its name."""
    directory = os.path.dirname(os.path.abspath(args.output))
    with contextlib.ExitStack() as stack:
        objects = open_path(path, args.identity, stack)
        final = objects[-1].index
        where = os.path.dirname(os.path.abspath(path))
        if args.database is not None:
            must(final["database"] == args.database, "it is of database %r" % final["database"])
        else:
            must(where.endswith("/" + final["database"]), "it is of database %r: --database says that this is right" % final["database"])
        must(args.root in (None, final["root"]), "its root is %s" % final["root"])
        out = stack.enter_context(tempfile.NamedTemporaryFile(dir=directory, prefix=".restore-"))
        restore(objects, out)
        out.flush()
        os.fsync(out.fileno())
        os.link(out.name, args.output)  # fails if it exists; the temporary name goes by itself
    fd = os.open(directory, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    print(final["root"])


def main():
    parser = argparse.ArgumentParser(description="Restore a snapshot from its object.")
    parser.add_argument("--database", help="the database's name, if it is not where the object lies")
    parser.add_argument("--root", help="the root that was noted down when the snapshot was taken")
    parser.add_argument("--identity", help="age identity file for encrypted objects")
    parser.add_argument("object")
    parser.add_argument("output")
    args = parser.parse_args()
    try:
        place(args.object, args)
    except Refused as e:
        sys.exit("restore.py: %s" % e)
    except (KeyError, TypeError, ValueError, RecursionError, struct.error) as e:
        sys.exit("restore.py: damaged: %s: %s" % (type(e).__name__, e))
    except (OSError, subprocess.CalledProcessError) as e:
        sys.exit("restore.py: %s" % e)


if __name__ == "__main__":
    main()
