package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/snapshot"
	"github.com/litestash/litestash/upload"
)

// program returns the program as it is on a site's host.
func (h *history) program(s *site) *program {
	return &program{ui: ui.New(ui.Options{Out: io.Discard, Err: io.Discard, Quiet: true}), log: slog.New(slog.DiscardHandler), tempDir: h.dir, stateDir: s.state}
}

// pushOptions returns what push makes of its flags.
func (h *history) pushOptions(s *site) pushOptions {
	now := func() time.Time { return h.now }
	o := pushOptions{
		up: upload.Options{Source: format.Source{Host: s.name}, TempDir: h.dir, Now: now, FullEvery: 7 * 24 * time.Hour, Heartbeat: 24 * time.Hour},
		sn: snapshot.Options{TempDir: h.dir, Now: now},
	}
	o.up.Recipients = h.recipients
	if h.recipients != nil && h.rnd.IntN(2) == 0 {
		o.up.Identities = h.identities
	}
	return o
}

func (h *history) startWatch(s *site) {
	if s.watch == nil {
		s.watch = &watched{p: h.program(s), st: h.st, source: source{s.path, "app.db"}, opts: h.pushOptions(s), confirmEvery: time.Hour}
	}
}

func (h *history) stopWatch(s *site) {
	if s.watch != nil {
		s.watch.Close()
		s.watch = nil
	}
}

// push pushes a database, and takes the name over if it is another's.
func (h *history) push(s *site) {
	defer func() { h.st.midway = nil }() // nothing was created
	ours := h.owns(s)
	if s.watch == nil || !ours && h.rnd.IntN(2) == 0 {
		h.stopWatch(s)
		h.pushOnce(s, false)
		return
	}
	truth := s.backup()
	_, err := s.watch.Push(h.t.Context())
	// A watch need not notice another source before it asks for all again, but may.
	if !ours && isAnothers(err) {
		h.stopWatch(s)
		h.pushOnce(s, true)
		return
	}
	if err != nil {
		h.t.Fatalf("watch: %v", err)
	}
	h.count("pushes by watch")
	h.settle(s, *s.watch.confirmed(), truth)
}

// newest returns the newest of what is listed, or nil.
func (h *history) newest() (newest format.Name, k *keptSnapshot) {
	for n := range h.kept {
		if n.Compare(newest) > 0 {
			newest = n
		}
	}
	return newest, h.kept[newest]
}

// owns reports whether the name is not another site's.
func (h *history) owns(s *site) bool {
	_, k := h.newest()
	return k == nil || k.site == s
}

// isAnothers reports whether push has refused a name because it is another source's.
func isAnothers(err error) bool {
	return errors.As(err, new(*upload.SourceError)) || errors.As(err, new(*upload.UnknownSourceError))
}

// pushOnce is what push does. It has to refuse a name that is another's, and is told to adopt it then.
func (h *history) pushOnce(s *site, adopt bool) {
	refused := !adopt && !h.owns(s)
	truth := s.backup()
	r, err := h.tryPush(h.t.Context(), s, adopt)
	if refused {
		if !isAnothers(err) || r != nil {
			h.t.Fatalf("the name is another's, and push says %v, %v", r, err)
		}
		h.count("refusals")
		h.pushOnce(s, true)
		return
	}
	if err = h.excuse(err); r == nil || err != nil {
		h.t.Fatalf("push: %v, %v", r, err)
	}
	h.count("pushes")
	h.settle(s, r.Snapshot, truth)
}

// tryPush pushes as push does.
func (h *history) tryPush(ctx context.Context, s *site, adopt bool) (*upload.Result, error) {
	p, opts := h.program(s), h.pushOptions(s)
	opts.up.Adopt = adopt
	opts.up.Full, opts.up.EvenUnchanged = h.full || h.rnd.IntN(100) == 0, h.rnd.IntN(50) == 0
	h.full = false
	if h.rnd.IntN(8) == 0 {
		p.stateDir = "" // a container that keeps nothing
		h.count("stateless pushes")
	}
	if h.recipients != nil && opts.up.Identities == nil {
		h.count("pushes that can only encrypt")
	}
	u, err := p.openPusher(opts, h.st, source{s.path, "app.db"})
	if err != nil {
		h.t.Fatal(err)
	}
	defer u.Close()
	out, err := u.push(ctx)
	if err != nil {
		return nil, err
	}
	return out.Result, out.trouble
}

// excuse returns nil for an error of a push that tells of a loss that there was.
func (h *history) excuse(err error) error {
	if lost, ok := errors.AsType[*upload.LostError](err); ok && h.deleted[lost.Key] {
		h.count("losses noticed")
		return nil
	}
	if errors.As(err, new(*upload.DecayError)) && len(h.sure()) < len(h.kept) {
		h.count("snapshots without a path noticed")
		return nil
	}
	return err
}

// failPush lets a push fail. What it stored nobody has claimed then; the next push does if it finds that.
func (h *history) failPush(s *site, how mishap) {
	h.note(s, s.backup())
	truth, ours := s.last, h.owns(s)
	h.fail("pushes", how, h.someCall(9), &keptSnapshot{image: truth, site: s}, func(ctx context.Context) error {
		if s.watch != nil && ours {
			_, err := s.watch.Push(ctx)
			if err == nil {
				h.settle(s, *s.watch.confirmed(), truth)
			}
			return err
		}
		r, err := h.tryPush(ctx, s, !ours)
		if r != nil {
			h.settle(s, r.Snapshot, truth)
			err = h.excuse(err)
		}
		return err
	})
	if how == killed && s.watch != nil {
		h.stopWatch(s)
		h.startWatch(s)
	}
}

// settle notes that a push claims snap to hold truth.
func (h *history) settle(s *site, snap catalog.Snapshot, truth []byte) {
	h.note(s, truth)
	if k := h.kept[snap.Name]; k != nil {
		h.compare(fmt.Sprintf("%v of %s, which is said to hold %s unchanged,", snap.Name, k.site.name, s.name), truth, k.image)
		h.count("unchanged")
		k.sure = true
		return
	}
	t, err := catalog.ReadTail(h.t.Context(), h.sound, snap, h.identities)
	if err != nil {
		h.t.Fatal(err)
	}
	if newest, k := h.newest(); k != nil && snap.Kind == format.Delta && snap.Parent != newest.ID {
		h.count("deltas on an earlier one")
	}
	h.kept[snap.Name] = &keptSnapshot{truth, s, snap.Base(), true}
	h.count(snap.Kind.String() + "s")
	if snap.Encrypted != (h.recipients != nil) {
		h.t.Errorf("%v is stored, and encrypted is %v", snap.Key, snap.Encrypted)
	}
	if snap.Encrypted {
		h.count("encrypted snapshots")
	}
	if n := t.Index.Replaces; !n.IsZero() {
		h.count("replacements")
		h.adopt(&keptSnapshot{image: truth, site: s}) // it is there as well
	}
}

// note notes in what way a database has changed, and in which journal mode it is, as far as its files tell.
func (h *history) note(s *site, truth []byte) {
	size, pages := pagesOf(truth)
	lastSize, last := pagesOf(s.last)
	switch {
	case len(truth) == 0 || len(s.last) == 0:
	case size != lastSize:
		h.count("other page sizes")
	case pages > last:
		h.count("pages came")
	case pages < last:
		h.count("pages went")
	}
	s.last = truth
	journal, err := os.Stat(s.path + "-journal")
	switch {
	case len(truth) > 0 && truth[18] == 2:
		h.count("pushes in WAL mode")
	case err != nil:
		h.count("pushes without a journal")
	case journal.Size() == 0:
		h.count("pushes beside an emptied journal")
	default:
		h.count("pushes beside a journal that stays")
	}
}

// pagesOf returns the page size of an image, in bytes, and how many pages it has.
func pagesOf(image []byte) (size, pages int) {
	if len(image) == 0 {
		return 0, 0
	}
	size = int(binary.BigEndian.Uint16(image[16:]))
	return size, len(image) / size
}
