package ui_test

import (
	"fmt"
	"os"

	"github.com/litestash/litestash/internal/human"
	"github.com/litestash/litestash/internal/ui"
)

func ExampleSafe() {
	fmt.Println(ui.Safe("app\x1b[2J.db"))
	// Output: app\x1b[2J.db
}

func ExampleUI_NewTable() {
	u := ui.New(ui.Options{Out: os.Stdout, Err: os.Stderr})
	t := u.NewTable("DATABASE", ">SNAPSHOTS", ">STORED")
	t.Row("app.db", human.Count(1200), human.Bytes(503_132_160))
	t.Row("tenants/42/data.db", human.Count(7), human.Bytes(88_000))
	if err := u.Result(nil, t.Write); err != nil {
		panic(err)
	}
	// Output:
	// DATABASE            SNAPSHOTS    STORED
	// app.db                  1,200  503.1 MB
	// tenants/42/data.db          7   88.0 kB
}
