package store_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/litestash/litestash/store"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	s, err := store.Open(ctx, "file://"+filepath.ToSlash(dir), store.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for _, key := range []string{"fruit/apple", "fruit/pear", "vegetables/leek"} {
		if _, err := s.Create(ctx, key, strings.NewReader("this is "+key), 0); err != nil {
			log.Fatal(err)
		}
	}
	for o, err := range s.List(ctx, store.Query{Prefix: "fruit/"}) {
		if err != nil {
			log.Fatal(err)
		}
		body, err := s.Open(ctx, o, 8, -1)
		if err != nil {
			log.Fatal(err)
		}
		rest, err := io.ReadAll(body)
		body.Close()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(o.Key, o.Size, string(rest))
	}
	// Output:
	// fruit/apple 19 fruit/apple
	// fruit/pear 18 fruit/pear
}
