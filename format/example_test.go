package format_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/litestash/litestash/format"
)

func ExampleParseKey() {
	for _, key := range []string{
		"tenants/42/app.db/20261122T073500.004Z-7q3dk29f0a1bc.full.db.zst",
		"tenants/42/app.db/20261122T083500.004Z-7q3dk8v1hw2rt.on-7q3dk29f0a1bc.delta.zst.age",
		"tenants/42/app.db/20261122T093500.004Z-7q3dk5nc9m4e0.on-7q3dk8v1hw2rt.patch2",
		"tenants/42/README.txt",
	} {
		k, ok := format.ParseKey(key)
		if !ok {
			fmt.Println("none of ours")
			continue
		}
		fmt.Println(k.Database, k.Name.Time, k.Kind, k.HasParent, k.Encrypted)
	}
	// Output:
	// tenants/42/app.db 20261122T073500.004Z full false false
	// tenants/42/app.db 20261122T083500.004Z delta true true
	// tenants/42/app.db 20261122T093500.004Z unknown true false
	// none of ours
}

func ExampleParseDatabase() {
	for _, s := range []string{"tenants/42/app.db", "../app.db", "cafe\u0301.db"} {
		name, err := format.ParseDatabase(s)
		fmt.Printf("%q %v\n", name, err)
	}
	// Output:
	// "tenants/42/app.db" <nil>
	// "" database name "../app.db": it has a part that is . or ..
	// "café.db" <nil>
}

// A full snapshot of a database of two pages is written to memory and read back.
func ExampleWriter() {
	const pageSize = 4096
	database := make([]byte, 2*pageSize)
	copy(database, "SQLite format 3\x00")

	// What each page hashes to, and the root of all.
	salt := format.NewSalt()
	hasher := format.NewPageHasher(salt)
	hashes := []format.PageHash{hasher.Hash(database[:pageSize]), hasher.Hash(database[pageSize:])}
	root := format.NewRootHasher(pageSize, 2, salt)
	for _, h := range hashes {
		root.Write(h[:])
	}

	x := &format.Index{
		Header: format.Header{
			Database: "app.db",
			Snapshot: format.Name{Time: 1795332900004, ID: format.NewID(format.NewLineage())},
			PageSize: pageSize,
			Pages:    2,
		},
		Carried: 2,
		Salt:    salt,
		Root:    root.Sum(),
		Creator: "an example",
	}

	// The object: data frames of format.FrameSize each, the page table, index and seek table.
	var object bytes.Buffer
	w, err := format.NewWriter(&object, x)
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Frame(format.NewCompressor().Compress(nil, database), len(database)); err != nil {
		log.Fatal(err)
	}
	if err := w.Segment([]format.Run{{First: 1, Count: 2}}, hashes); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	// Reading begins at the end. A reader of a whole database does this for each segment and frame,
	// and checks the hash of every page, the root and the header.
	b := object.Bytes()
	tail, _, err := format.ParseTail(b, int64(len(b))) // the second result asks for more bytes
	if err != nil {
		log.Fatal(err)
	}
	segment, err := format.ParseSegment(b[tail.Segments[0].Off:tail.Segments[0].End()], tail, 0)
	if err != nil {
		log.Fatal(err)
	}
	frame := b[tail.Data[0].Off:tail.Data[0].End()]
	if format.Checksum(frame) != segment.Frames[0] {
		log.Fatal("damaged")
	}
	dec := format.NewDecompressor()
	defer dec.Close()
	pages := make([]byte, tail.FrameLen(0))
	if err := dec.Decompress(pages, frame); err != nil {
		log.Fatal(err)
	}
	fmt.Println(tail.Index.Database, tail.Index.Snapshot.Time, tail.Index.Size())
	fmt.Println(hasher.Hash(pages[:pageSize]) == segment.Hashes[0], bytes.Equal(pages, database))
	// Output:
	// app.db 20261122T073500.004Z 8192
	// true true
}
