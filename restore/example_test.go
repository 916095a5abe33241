package restore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/memimage"
	"github.com/litestash/litestash/restore"
	"github.com/litestash/litestash/snapshot"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/upload"
	"github.com/litestash/litestash/upload/uploadtest"
)

// exampleStore returns a directory with a store that holds a snapshot of the database app.db.
func exampleStore() (dir string) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "litestash-example-")
	if err != nil {
		log.Fatal(err)
	}
	st, err := store.Open(ctx, filepath.Join(dir, "store"), store.Options{AllowNew: true})
	if err != nil {
		log.Fatal(err)
	}
	opts := upload.Options{Database: "app.db", Source: format.Source{Host: "web1", Path: "/srv/app.db"}}
	if _, err := uploadtest.Push(ctx, st, opts, 4096, memimage.Text(1, 4096, 3), time.Now()); err != nil {
		log.Fatal(err)
	}
	return dir
}

// The database is restored as it was ten minutes from now at the latest. What is at the path is
// replaced, unless a process has it open, and kept beside it.
func ExampleFile() {
	dir := exampleStore()
	defer os.RemoveAll(dir)
	ctx := context.Background()

	st, err := store.Open(ctx, filepath.Join(dir, "store"), store.Options{})
	if err != nil {
		log.Fatal(err)
	}
	at := format.TimeOf(time.Now().Add(10 * time.Minute))
	found, err := catalog.Find(ctx, st, "app.db", at)
	if err != nil {
		log.Fatal(err)
	}
	result, err := restore.File(ctx, st, found[0], filepath.Join(dir, "restored.db"), restore.FileOptions{
		Replace: true,
		Hold: func(ctx context.Context, path string) (restore.Held, error) {
			h, err := snapshot.Hold(ctx, path)
			if err != nil {
				return nil, err // not a nil *snapshot.Held in an interface
			}
			return h, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Index.Size(), "bytes of", result.Index.Source.Path, "on", result.Index.Source.Host)
	// Output: 12288 bytes of /srv/app.db on web1
}

// Everything that the store holds is read back and checked.
func ExampleVerify() {
	dir := exampleStore()
	defer os.RemoveAll(dir)
	ctx := context.Background()

	st, err := store.Open(ctx, filepath.Join(dir, "store"), store.Options{})
	if err != nil {
		log.Fatal(err)
	}
	databases, err := catalog.Databases(ctx, st)
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range databases {
		snapshots, err := catalog.List(ctx, st, d.Name)
		if err != nil {
			log.Fatal(err)
		}
		for _, s := range snapshots {
			if _, err := restore.Verify(ctx, st, s, restore.Options{}); err != nil {
				fmt.Println(d.Name, s.Name, err)
				continue
			}
			fmt.Println(d.Name, "is sound")
		}
	}
	// Output: app.db is sound
}
