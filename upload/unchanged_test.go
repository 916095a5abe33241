package upload_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
	"github.com/litestash/litestash/upload"
)

// TestUnchanged pushes a source that looks as it did, and says when it is not believed.
func TestUnchanged(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	memory, err := state.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	data := memimage.Text(1, 512, 100)
	// commit pushes data, which looks in a way before it is read and in another one when it is.
	commit := func(data []byte, before, inside string) *upload.Result {
		t.Helper()
		p := beginPush(t, st, upload.Options{Look: before, Memory: memory})
		r, err := told(p.Commit(t.Context(), func(salt format.Salt, _ *upload.Base) (upload.Image, error) {
			img := memimage.New(salt, 512, data, time.Now())
			img.Looks = inside
			return img, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	// unchanged asks about a source with a look.
	unchanged := func(opts upload.Options) *upload.Result {
		t.Helper()
		opts.Memory = memory
		r, err := beginPush(t, st, opts).Unchanged(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}

	first := commit(data, "early", "one")
	for look, want := range map[string]bool{"one": true, "early": false, "": false, "two": false} {
		r := unchanged(upload.Options{Look: look})
		if (r != nil) != want {
			t.Errorf("looking like %q: %+v", look, r)
		}
		if r != nil && (r.Snapshot.Key != first.Snapshot.Key || r.Root != first.Root || r.Size != first.Size || r.Pages != 100 || r.Index != nil) {
			t.Errorf("looking like %q it is %+v, want %+v", look, r, first)
		}
	}
	for name, opts := range map[string]upload.Options{
		"even unchanged":      {EvenUnchanged: true},
		"heartbeat":           {Heartbeat: time.Nanosecond},
		"full":                {Full: true},
		"the last one is old": {FullEvery: time.Nanosecond},
	} {
		opts.Look = "one"
		if r := unchanged(opts); r != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}

	// The same content with another look is not stored, and the look is remembered.
	if r := commit(data, "two", "two"); r.Index != nil || unchanged(upload.Options{Look: "two"}) == nil {
		t.Errorf("the same again: %+v", r)
	}
	// A look that could not be told at the instant of the image is none.
	commit(memimage.Text(2, 512, 100), "three", "")
	for _, look := range []string{"one", "two", "three", ""} {
		if r := unchanged(upload.Options{Look: look}); r != nil {
			t.Errorf("after a change, looking like %q: %+v", look, r)
		}
	}

	// What the store has lost is not unchanged.
	last := commit(memimage.Text(3, 512, 100), "", "four")
	p := beginPush(t, st, upload.Options{Look: "four", Memory: memory})
	if err := st.Delete(t.Context(), last.Snapshot.Object.Key); err != nil {
		t.Fatal(err)
	}
	r, err := p.Unchanged(t.Context())
	if base, _ := planned(t, p); r != nil || err != nil || base != nil {
		t.Errorf("with its object gone: %+v, %v, base %v", r, err, base)
	}
}

// TestHeartbeat pushes what has not changed, and stores nothing before the newest snapshot is as old as that: then one
// that holds no page, and no second one.
func TestHeartbeat(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name string
		opts upload.Options
		age  time.Duration
		want bool
	}{
		{"a millisecond less than a day", upload.Options{}, day - time.Millisecond, false},
		{"a day", upload.Options{}, day, true},
		{"a millisecond less than another time", upload.Options{Heartbeat: 90 * time.Minute}, 90*time.Minute - time.Millisecond, false},
		{"another time", upload.Options{Heartbeat: 90 * time.Minute}, 90 * time.Minute, true},
		{"even unchanged", upload.Options{EvenUnchanged: true}, time.Millisecond, true},
	} {
		for _, look := range []string{"", "as ever"} {
			t.Run(c.name+", it looks "+look, func(t *testing.T) {
				s := newSeries(t, storetest.OpenDir(t, t.TempDir()))
				s.opts = c.opts
				s.opts.Look = look
				data := s.data[0]
				s.data = [][]byte{data, data, data}
				newest := s.push().Snapshot // what has changed since the first of the day would be carried
				s.now, s.images = newest.Name.Time.UTC().Add(c.age), 0
				r, err := s.tryPush()
				if err != nil || (r.Index != nil) != c.want {
					t.Fatalf("%+v, %v, want one stored: %v", r, err, c.want)
				}
				if unread := s.images == 0; unread != (look != "" && !c.want) {
					t.Errorf("the database was read %d times", s.images)
				}
				if r.Index == nil {
					if r.Snapshot.Key != newest.Key {
						t.Errorf("it stands for %v, want %v", r.Snapshot.Key, newest.Key)
					}
					return
				}
				if r.Index.Kind() != format.Delta || r.Index.Carried != 0 || r.Snapshot.Name.Time != format.TimeOf(s.now) {
					t.Errorf("stored is the %v %v of %d pages", r.Index.Kind(), r.Snapshot.Name, r.Index.Carried)
				}
				checkStored(t, s.st, r.Snapshot, data)
				s.opts.EvenUnchanged = false
				if r := s.push(); r.Index != nil {
					t.Errorf("and then another, %v", r.Snapshot.Name)
				}
			})
		}
	}
}

// planned returns what an image for a push is to be taken with.
func planned(t *testing.T, p *upload.Push) (base *upload.Base, salt format.Salt) {
	t.Helper()
	enough := errors.New("that was all")
	_, err := p.Commit(t.Context(), func(s format.Salt, b *upload.Base) (upload.Image, error) {
		base, salt = b, s
		return nil, enough
	})
	if err != enough {
		t.Fatal(err)
	}
	return base, salt
}

func beginPush(t *testing.T, st store.Store, opts upload.Options) *upload.Push {
	t.Helper()
	opts.Database, opts.Source = "app.db", here
	p, err := upload.Begin(t.Context(), st, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestReread pushes a source of which only what had changed was read, until it is time to read all.
func TestReread(t *testing.T) {
	st := storetest.OpenDir(t, t.TempDir())
	memory, err := state.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	now := time.Date(2026, 11, 22, 7, 35, 0, 0, time.UTC)
	data := memimage.Text(1, 512, 100)
	begin := func() *upload.Push {
		return beginPush(t, st, upload.Options{Memory: memory, RereadEvery: time.Hour, Now: func() time.Time { return now }})
	}
	// commit pushes the data, after a change of it or as it is.
	commit := func(look string, followed, change bool) {
		t.Helper()
		p := begin()
		if change {
			data = bytes.Clone(data)
			data[5*512+len(look)] ^= 1
		}
		_, err := told(p.Commit(t.Context(), func(salt format.Salt, _ *upload.Base) (upload.Image, error) {
			img := memimage.New(salt, 512, data, now)
			img.Looks, img.Followed = look, followed
			return img, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(look string) {
		t.Helper()
		base, salt := planned(t, begin())
		got, pages := base.Since()
		if got != look || pages != 100 {
			t.Errorf("it is followed since %q, with %d pages, want %q", got, pages, look)
		}
		hashes, same, all := make([]format.PageHash, 100), make([]bool, 100), memimage.New(salt, 512, data, now)
		known := make([]format.PageHash, 100)
		if err := base.Newest(1, hashes, same); err != nil || all.ReadHashes(1, known) != nil || !slices.Equal(hashes, known) || !same[0] {
			t.Errorf("what is remembered of the pages are not the hashes (%v)", err)
		}
		if err := base.Newest(2, hashes, same); err == nil {
			t.Error("a page is remembered that is not there")
		}
	}
	commit("one", false, true)
	want("one")
	now = now.Add(59 * time.Minute)
	commit("two", true, true)
	want("two")
	commit("three", true, false) // and is found to be unchanged
	want("three")
	now = now.Add(time.Minute)
	want("")
	commit("four", false, false)
	want("four")
	now = now.Add(-time.Minute) // the clock was set back
	want("")
}
