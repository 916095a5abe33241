package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// AnnouncementPrefix is what the keys of announcements begin with: a place of its own, so that those who
// may push need not be allowed to make one.
const AnnouncementPrefix = format.Reserved + "/announced/"

// An Announcement is an object that names snapshots of a database which are about to be deleted.
type Announcement struct {
	Object store.Object  `json:"-"`
	Names  []format.Name `json:"snapshots"`
}

// maxAnnouncement bounds the size of an announcement in bytes.
const maxAnnouncement = 16 << 20

// Announce announces the deletion of snapshots of a database, in an object under the unique name n.
func Announce(ctx context.Context, st store.Store, database string, n format.Name, names []format.Name) error {
	key := AnnouncementPrefix + database + "/" + n.String() + ".json"
	if err := createJSON(ctx, st, key, Announcement{Names: names}); err != nil {
		return fmt.Errorf("announce a deletion: %w", err)
	}
	return nil
}

// Announcements returns the announcements about a database. Objects among them whose names do not begin
// like one are left alone, as in the rest of a store; what does and cannot be understood is an error,
// because it may be a later version's: what it names must not be built on.
func Announcements(ctx context.Context, st store.Store, database string) ([]Announcement, error) {
	all, illegible, err := readAnnouncements(ctx, st, database)
	if err == nil && len(illegible) > 0 {
		err = illegible[0].err
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

// An illegible announcement cannot be understood.
type illegible struct {
	key string
	err error
}

func readAnnouncements(ctx context.Context, st store.Store, database string) (all []Announcement, bad []illegible, _ error) {
	for o, err := range st.List(ctx, store.Query{Prefix: AnnouncementPrefix + database + "/", Shallow: true}) {
		if err != nil {
			return nil, nil, fmt.Errorf("list announced deletions: %w", err)
		}
		if _, ok := leadingName(o.Key); !ok {
			continue
		}
		a, err := readAnnouncement(ctx, st, o)
		if errors.Is(err, fs.ErrNotExist) {
			continue // all that it named is gone
		}
		if err != nil {
			err = fmt.Errorf("read %s: %w", o.Key, err)
		}
		switch {
		case errors.Is(err, format.ErrDamaged):
			bad = append(bad, illegible{o.Key, err})
		case err != nil:
			return nil, nil, err
		default:
			all = append(all, a)
		}
	}
	return all, bad, nil
}

func readAnnouncement(ctx context.Context, st store.Store, o store.Object) (Announcement, error) {
	a := Announcement{Object: o}
	if o.Size > maxAnnouncement {
		return a, fmt.Errorf("%w: an announcement of %d bytes", format.ErrDamaged, o.Size)
	}
	text, err := store.ReadRange(ctx, st, o, 0, o.Size)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, fmt.Errorf("%w: %w", format.ErrDamaged, err)
	}
	if len(a.Names) == 0 {
		return a, fmt.Errorf("%w: an announcement of nothing", format.ErrDamaged)
	}
	return a, nil
}

// Withdraw removes an announcement, if it is still there.
func Withdraw(ctx context.Context, st store.Store, a Announcement) error {
	if err := st.Delete(ctx, a.Object.Key); err != nil {
		return fmt.Errorf("withdraw %s: %w", a.Object.Key, err)
	}
	return nil
}

// Announced returns the snapshots of a database that are announced to be deleted.
func Announced(ctx context.Context, st store.Store, database string) (map[format.Name]bool, error) {
	all, err := Announcements(ctx, st, database)
	if err != nil {
		return nil, err
	}
	return named(all), nil
}

// AnnouncedLegibly is [Announced] for whoever can go on where an announcement cannot be understood. It returns the keys
// of those: anything that was there before them may be announced in them.
func AnnouncedLegibly(ctx context.Context, st store.Store, database string) (names map[format.Name]bool, illegible []string, _ error) {
	all, bad, err := readAnnouncements(ctx, st, database)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range bad {
		illegible = append(illegible, b.key)
	}
	return named(all), illegible, nil
}

func named(all []Announcement) map[format.Name]bool {
	names := map[format.Name]bool{}
	for _, a := range all {
		for _, n := range a.Names {
			names[n] = true
		}
	}
	return names
}
