package format_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/agetool"
)

// restorePy runs restore.py, which was written from FORMAT.md and shares no code with the package,
// and returns what it restored. Where it refuses, it must leave nothing behind.
func restorePy(t *testing.T, object string, args ...string) ([]byte, error) {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "restored.db")
	output, err := exec.Command("python3", append(append([]string{"-B", "restore.py"}, args...), object, out)...).CombinedOutput()
	if err == nil {
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return data, nil
	}
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 || bytes.Contains(output, []byte("Traceback")) {
		t.Fatalf("restore.py: %v\n%s", err, output)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("restore.py refused, but left %v", left)
	}
	return nil, fmt.Errorf("%s", bytes.TrimSpace(output))
}

func checkRestorePy(t *testing.T, c *chain, args ...string) {
	t.Helper()
	got, err := restorePy(t, c.store(t), args...)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, c.images[len(c.images)-1].data) {
		t.Errorf("restore.py gives %d bytes that are not the image", len(got))
	}
}

func TestRestorePyFull(t *testing.T) {
	for name, m := range map[string]image{
		"empty":     {},
		"a page":    newImage(512, 1),
		"frame-1":   newImage(4096, 255),
		"frame":     newImage(4096, 256),
		"frame+1":   newImage(4096, 257),
		"64 KiB":    newImage(65536, 33),
		"segment+1": newImage(512, format.SegmentPages+1),
	} {
		t.Run(name, func(t *testing.T) { checkRestorePy(t, newChain(t, m)) })
	}
}

func TestRestorePyChain(t *testing.T) {
	full := newImage(1024, 40)
	scattered := changeSome(full, 7, 3)
	grown := resize(scattered, 50)
	shrunk := resize(changeSome(grown, 11, 1), 20)
	regrown := resize(shrunk, 30)
	copy(regrown.data[20*1024:], full.data[20*1024:])
	images := []image{full, scattered, scattered, grown, shrunk, regrown}
	for n := range images {
		t.Run(fmt.Sprint(n+1), func(t *testing.T) { checkRestorePy(t, newChain(t, images[:n+1]...)) })
	}
	t.Run("segments", func(t *testing.T) {
		large := newImage(512, format.SegmentPages+5000)
		checkRestorePy(t, newChain(t, large, changeSome(large, 1000, 980)))
	})
}

func TestRestorePyGolden(t *testing.T) {
	sums, err := os.ReadFile(goldenSums)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sums)) {
		fields := strings.Fields(line)
		got, err := restorePy(t, filepath.Join(goldenStore, filepath.FromSlash(fields[0])), "--root", fields[1])
		if err != nil {
			t.Errorf("%s: %v", fields[0], err)
		} else if fmt.Sprint(len(got)) != fields[2] {
			t.Errorf("%s: %d bytes", fields[0], len(got))
		}
	}
}

// TestRestorePyEncrypted lets it restore the golden objects that are encrypted, by calling the age tool.
func TestRestorePyEncrypted(t *testing.T) {
	tools := t.TempDir()
	if err := agetool.Build(tools); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", tools+string(os.PathListSeparator)+os.Getenv("PATH"))
	const encrypted, identity = "testdata/golden/v1-age", "testdata/golden/identity.txt"
	sums, err := os.ReadFile(encrypted + "/SUMS")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(sums)) {
		fields := strings.Fields(line)
		object := filepath.Join(encrypted, filepath.FromSlash(fields[0]))
		got, err := restorePy(t, object, "--root", fields[1], "--identity", identity)
		if err != nil {
			t.Errorf("%s: %v", fields[0], err)
		} else if sum := sha256.Sum256(got); fmt.Sprintf("%d %x", len(got), sum) != fields[2]+" "+fields[3] {
			t.Errorf("%s: %d other bytes", fields[0], len(got))
		}
		if !strings.HasSuffix(object, ".age") {
			continue
		}
		n++
		if _, err := restorePy(t, object); err == nil || !strings.Contains(err.Error(), "--identity") {
			t.Errorf("%s without an identity: %v", fields[0], err)
		}
	}
	if n < 5 {
		t.Errorf("%d encrypted objects", n)
	}
}

func TestRestorePyArguments(t *testing.T) {
	c := newChain(t, newImage(512, 3))
	root := c.indexes[0].Root.String()
	checkRestorePy(t, c, "--root", root)
	checkRestorePy(t, c, "--database", c.indexes[0].Database)
	for want, args := range map[string][]string{
		"its root is":       {"--root", strings.Repeat("0", 64)},
		"it is of database": {"--database", "app.db"},
	} {
		if _, err := restorePy(t, c.store(t), args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
	elsewhere := filepath.Join(t.TempDir(), c.last().Base())
	if err := os.Rename(c.store(t), elsewhere); err != nil {
		t.Fatal(err)
	}
	if _, err := restorePy(t, elsewhere); err == nil {
		t.Error("an object that lies under another database's name is restored")
	}
	if _, err := restorePy(t, elsewhere, "--database", c.indexes[0].Database); err != nil {
		t.Error(err)
	}
	taken := filepath.Join(t.TempDir(), "taken.db")
	if err := os.WriteFile(taken, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("python3", "-B", "restore.py", c.store(t), taken).Run(); err == nil {
		t.Error("an output that exists is no error")
	}
	if b, err := os.ReadFile(taken); err != nil || string(b) != "precious" {
		t.Errorf("an output that existed is now %q, %v", b, err)
	}
}

func TestRestorePyRefuses(t *testing.T) {
	make2 := func() *chain {
		m := newImage(512, 20)
		return newChain(t, m, changeSome(resize(m, 23), 5, 2))
	}
	edit := func(n int, change func([]byte) []byte) func(*chain) {
		return func(c *chain) { base := c.keys[n].Base(); c.objects[base] = change(c.objects[base]) }
	}
	for name, damage := range map[string]func(*chain){
		"a cut delta":        edit(1, func(b []byte) []byte { return b[:len(b)-1] }),
		"a longer delta":     edit(1, func(b []byte) []byte { return append(b, 0) }),
		"an empty delta":     edit(1, func(b []byte) []byte { return nil }),
		"a cut full":         edit(0, func(b []byte) []byte { return b[:len(b)/2] }),
		"a flip in a full":   edit(0, func(b []byte) []byte { b[len(b)/2] ^= 4; return b }),
		"a later version":    edit(1, func(b []byte) []byte { b[16]++; return b }),
		"another full":       edit(0, func([]byte) []byte { c := newChain(t, newImage(512, 21)); return c.objects[c.last().Base()] }),
		"a full as a delta":  func(c *chain) { c.objects[c.keys[1].Base()] = c.objects[c.keys[0].Base()] },
		"a delta as a full":  func(c *chain) { c.objects[c.keys[0].Base()] = c.objects[c.keys[1].Base()] },
		"the full is away":   func(c *chain) { c.keys = c.keys[1:] },
		"not enough carried": func(c *chain) { withoutPage(t, c, 23) },
		"a gap":              func(c *chain) { withoutPage(t, c, 22) },
		"too few changes":    func(c *chain) { withoutPage(t, c, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			c := make2()
			damage(c)
			if _, err := restorePy(t, c.store(t)); err == nil {
				t.Error("it is restored")
			}
			if _, err := read(c.objects, c.last()); err == nil && len(c.keys) == 2 {
				t.Error("the test's own reader restores it")
			}
		})
	}
}

// withoutPage writes the delta of c anew, well formed, but without one of its pages.
func withoutPage(t *testing.T, c *chain, page uint32) {
	t.Helper()
	x, m := c.indexes[1], c.images[1]
	var pages []uint32
	for _, n := range changed(c.images[0], m) {
		if n != page {
			pages = append(pages, n)
		}
	}
	if len(pages) != int(x.Carried)-1 {
		t.Fatalf("the delta does not carry page %d", page)
	}
	c.objects[c.last().Base()] = build(t, x, m, pages)
}

// flips is a Python program that has restore.py read an object with each of its bits flipped, with
// each byte missing, doubled, and cut off before each byte.
const flips = `
import contextlib, functools, io, struct, sys
sys.path.insert(0, ".")
import restore

restore.decompress = functools.cache(restore.decompress)  # a process each time would take minutes
path = sys.argv[1]
good = open(path, "rb").read()
refusals = (restore.Refused, KeyError, TypeError, ValueError, RecursionError, struct.error)

class Target:
    def __init__(self, data):
        self.data = data
    def open(self, other, mode):
        return io.BytesIO(self.data) if other == path else open(other, mode)

def attempt(data):
    restore.open = Target(data).open
    with contextlib.ExitStack() as stack:
        restore.restore(restore.open_path(path, None, stack), io.BytesIO())

attempt(good)
tried = 0
def refused(data, what):
    global tried
    tried += 1
    try:
        attempt(data)
    except refusals:
        return
    sys.exit("accepted: " + what)

for at in range(len(good)):
    for bit in range(8):
        refused(good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1:], "bit %d of byte %d" % (bit, at))
    refused(good[:at], "cut at %d" % at)
    refused(good[:at] + good[at + 1:], "without byte %d" % at)
    refused(good[:at] + good[at:at + 1] + good[at:], "byte %d twice" % at)
print(tried)
`

// What FORMAT.md tells a stranger to check is enough to notice any flipped bit and any
// missing byte.
func TestRestorePyDetectsEveryFlip(t *testing.T) {
	for name, c := range map[string]*chain{
		"full":  newChain(t, newImage(512, 5)),
		"delta": newChain(t, image{512, make([]byte, 2*512)}, image{512, make([]byte, 4*512)}),
		"empty": newChain(t, image{}),
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			cmd := exec.Command("python3", "-B", "-c", flips, c.store(t))
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr.String())
			}
			if want := 11 * len(c.objects[c.last().Base()]); strings.TrimSpace(string(out)) != fmt.Sprint(want) {
				t.Errorf("%s tried, want %d", bytes.TrimSpace(out), want)
			}
		})
	}
}
