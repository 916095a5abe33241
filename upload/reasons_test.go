package upload_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/seal"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
)

// What a push may know of the one before it: this process has confirmed it, this host remembers it, or nothing.
const (
	confirmed = iota
	remembered
	forgotten
)

var knowledge = [...]string{"confirmed", "remembered", "forgotten"}

// rewrite makes the first n pages others.
func rewrite(data []byte, seed uint64, n int) []byte {
	next := bytes.Clone(data)
	copy(next, memimage.Noise(seed, 4096, n))
	return next
}

// outweigh pushes until the deltas on the full, of which there are some bytes already, are too much for another one,
// and not before.
func outweigh(s *series, full catalog.Snapshot, deltas int64) {
	s.t.Helper()
	for i := 0; 2*deltas <= full.Object.Size; i++ {
		data := rewrite(s.data[0], uint64(1000+i), 9+i)
		s.data = append([][]byte{data}, s.data...)
		r := s.push()
		if r.Why != "" {
			s.t.Fatalf("%d bytes of deltas on %d of a full, and the next is a full because %q", deltas, full.Object.Size, r.Why)
		}
		deltas += r.Snapshot.Object.Size
	}
}

// TestReasons gives a push each of the reasons to store a full, or all but that, by what it knows of what was
// pushed before.
func TestReasons(t *testing.T) {
	alice, bob := newKeys(t), newKeys(t)
	all := seal.NewIdentities(alice.key, bob.key)
	const unnoticed = "the full of a delta " // by who does not look at it
	same := func(why string) [3]string { return [3]string{why, why, why} }
	change := func(s *series, n int) {
		for i := range s.data {
			s.data[i] = rewrite(s.data[i], 9999, n)
		}
	}
	dir := func(s *series) *store.Dir { return s.st.(*store.Dir) }
	remove := func(s *series, snap catalog.Snapshot) {
		if err := s.st.Delete(s.t.Context(), snap.Object.Key); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		do   func(s *series, full, delta catalog.Snapshot) // what it rests on
		why  [3]string                                     // by what is known; nothing for a delta
	}{
		{"nothing", func(*series, catalog.Snapshot, catalog.Snapshot) {}, same("")},
		{"--full", func(s *series, _, _ catalog.Snapshot) { s.opts.Full = true }, same("it was asked for")},
		{"a millisecond less than --full-every", func(s *series, full, _ catalog.Snapshot) {
			s.now = full.Name.Time.UTC().Add(7*24*time.Hour - time.Millisecond)
		}, same("")},
		{"--full-every", func(s *series, full, _ catalog.Snapshot) {
			s.now = full.Name.Time.UTC().Add(7 * 24 * time.Hour)
		}, same("the last one is older than 168h0m0s")},
		{"another --full-every", func(s *series, full, _ catalog.Snapshot) {
			s.opts.FullEvery = 90 * time.Minute
			s.now = full.Name.Time.UTC().Add(90 * time.Minute)
		}, same("the last one is older than 1h30m0s")},
		{"the deltas outweigh half the full", func(s *series, full, delta catalog.Snapshot) {
			outweigh(s, full, delta.Object.Size)
		}, same("the deltas since the last one have more than half its size")},
		{"another page size", func(s *series, _, _ catalog.Snapshot) { s.page = 8192 }, same("the page size has changed")},
		{"half of the pages", func(s *series, _, _ catalog.Snapshot) { change(s, 150) }, same("")},
		{"most pages", func(s *series, _, _ catalog.Snapshot) { change(s, 151) }, same("151 of 300 pages have changed")},
		{"the full is announced", func(s *series, full, _ catalog.Snapshot) {
			announceDeletion(s.t, s.st, full.Name)
		}, same("FULL is about to be deleted")},
		{"the newest is announced", func(s *series, _, delta catalog.Snapshot) {
			announceDeletion(s.t, s.st, delta.Name)
		}, same("DELTA is about to be deleted")},
		{unnoticed + "is gone", func(s *series, full, _ catalog.Snapshot) { remove(s, full) },
			// That the newest is there stands for the rest, see [upload.Options].
			[3]string{"", "FULL is gone or cut short", "what the newest snapshot rests on cannot be read"}},
		{unnoticed + "is damaged", func(s *series, full, _ catalog.Snapshot) {
			damage(s.t, dir(s), full, func(b []byte) []byte { b[len(b)-2000] ^= 1; return b })
		}, [3]string{"", "", "what the newest snapshot rests on cannot be read"}}, // nobody else reads it
		{"the newest is cut short", func(s *series, _, delta catalog.Snapshot) {
			damage(s.t, dir(s), delta, cut)
		}, [3]string{"DELTA is gone or cut short", "the newest snapshot cannot be read", "the newest snapshot cannot be read"}},
		{"the newest is gone", func(s *series, _, delta catalog.Snapshot) { remove(s, delta) },
			[3]string{"DELTA is gone or cut short", "the store has lost the newest snapshot", ""}},
		{"all is gone", func(s *series, full, delta catalog.Snapshot) { remove(s, full); remove(s, delta) },
			[3]string{"FULL is gone or cut short", "the store has lost the newest snapshot", "it is the first snapshot"}},
		{"the newest is encrypted, and nobody has an identity", func(s *series, _, _ catalog.Snapshot) {
			s.opts.Recipients = alice.rs
			s.push()
		}, [3]string{"", "", "there is no identity to read the newest snapshot with"}},
		{"what the newest rests on is encrypted for others", func(s *series, _, _ catalog.Snapshot) {
			s.opts.Recipients, s.opts.Full = alice.rs, true
			s.push()
			s.opts.Recipients, s.opts.Identities, s.opts.Full = bob.rs, bob.ids, false
			s.push()
		}, [3]string{"", "", "what the newest snapshot rests on is encrypted for other identities than those given"}},
	} {
		for known, want := range c.why {
			t.Run(c.name+"/"+knowledge[known], func(t *testing.T) {
				dir := storetest.OpenDir(t, storetest.FastDir(t))
				s := newSeries(t, dir)
				full, delta := s.push().Snapshot, s.push().Snapshot
				s.now = s.now.Add(time.Millisecond)
				c.do(s, full, delta)
				switch known {
				case remembered:
					s.last = nil
				case forgotten:
					s.last, s.m = nil, newMemory(t)
				}
				there, err := upload.Confirm(t.Context(), s.st, delta)
				if err != nil {
					t.Fatal(err)
				}
				data := s.data[0]
				r, err := s.tryPush()
				want = strings.NewReplacer("FULL", full.Name.String(), "DELTA", delta.Name.String()).Replace(want)
				if r == nil || r.Why != want || (r.Index.Kind() == format.Full) != (want != "") {
					t.Fatalf("%+v, %v, want a full because %q", r, err, want)
				}
				decayed := strings.HasSuffix(want, "cannot be read")
				lost := !there && known != forgotten && !decayed
				if errors.As(err, new(*upload.LostError)) != lost || errors.As(err, new(*upload.DecayError)) != decayed || (err != nil) != (lost || decayed) {
					t.Errorf("the push says %v", err)
				}
				sound := !strings.HasPrefix(c.name, unnoticed) || want != ""
				var out bytes.Buffer
				if _, err := restore.Stream(t.Context(), s.st, r.Snapshot, &out, restore.Options{Identities: all}); (err == nil) != sound || err == nil && !bytes.Equal(out.Bytes(), data) {
					t.Errorf("%v is not what was pushed (%v)", r.Snapshot.Name, err)
				}
				// The reason is gone with the full.
				s.opts.Full = false
				if r := s.push(); want != "" && r.Why != "" {
					t.Errorf("the next one is a full, too, because %q", r.Why)
				}
			})
		}
	}
}
