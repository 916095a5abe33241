package upload_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/snapshot"
	"github.com/litestash/litestash/state"
	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/upload"
)

// exampleDatabase returns a directory with a database in it, app.db.
func exampleDatabase() (dir string) {
	dir, err := os.MkdirTemp("", "litestash-example-")
	if err != nil {
		log.Fatal(err)
	}
	if out, err := exec.Command("sqlite3", filepath.Join(dir, "app.db"), "CREATE TABLE t(x); INSERT INTO t VALUES(1)").CombinedOutput(); err != nil {
		log.Fatalf("%v: %s", err, out)
	}
	return dir
}

// A snapshot of a live database is taken and stored. The store is looked at first, so that what it
// refuses is refused before the database is copied.
func ExampleBegin() {
	dir := exampleDatabase()
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "app.db")
	ctx := context.Background()

	st, err := store.Open(ctx, filepath.Join(dir, "store"), store.Options{AllowNew: true})
	if err != nil {
		log.Fatal(err)
	}
	key := state.Key{Store: filepath.Join(dir, "store"), Database: "app.db", Source: format.Source{Host: "web1", Path: path}}
	memory, err := state.Open(filepath.Join(dir, "state"), key, "", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer memory.Close()
	push, err := upload.Begin(ctx, st, upload.Options{
		Database: key.Database,
		Source:   key.Source,
		Memory:   memory,
		Creator:  "example 1.0",
	})
	if err != nil {
		log.Fatal(err)
	}
	var images []*snapshot.Image // one, unless what the first would rest on vanishes meanwhile
	result, err := push.Commit(ctx, func(salt format.Salt, base *upload.Base) (upload.Image, error) {
		opts := snapshot.Options{Salt: salt}
		if base != nil {
			opts.Base = base // not a nil *upload.Base in an interface
		}
		img, err := snapshot.Take(ctx, path, opts)
		if err != nil {
			return nil, err
		}
		images = append(images, img)
		return img, nil
	})
	for _, img := range images {
		img.Close()
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Index.Kind(), result.Index.Pages, "pages")
	// Output: full 2 pages
}
