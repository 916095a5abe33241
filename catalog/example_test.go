package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/store"
)

// Listings alone tell what there is; no object is opened.
func ExampleFind() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "litestash-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	st, err := store.Open(ctx, filepath.Join(dir, "store"), store.Options{AllowNew: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, key := range []string{
		"app.db/20261122T073500.004Z-7q3dk29f0a1bc.full.db.zst",
		"app.db/20261123T073500.004Z-7q3dk8v1hw2rt.full.db.zst",
	} {
		if _, err := st.Create(ctx, key, strings.NewReader("a snapshot"), 0); err != nil {
			log.Fatal(err)
		}
	}

	for _, text := range []string{"20261124T000000.000Z", "20261123T000000.000Z", "20261122T000000.000Z"} {
		at, err := format.ParseTime(text)
		if err != nil {
			log.Fatal(err)
		}
		found, err := catalog.Find(ctx, st, "app.db", at)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Println("nothing as old as", text)
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(found[0].Name)
	}
	// Output:
	// 20261123T073500.004Z-7q3dk8v1hw2rt
	// 20261122T073500.004Z-7q3dk29f0a1bc
	// nothing as old as 20261122T000000.000Z
}
