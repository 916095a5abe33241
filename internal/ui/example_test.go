package ui_test

import (
	"fmt"
	"os"
	"time"

	"github.com/litestash/litestash/internal/ui"
)

func ExampleBytes() {
	fmt.Println(ui.Bytes(999), ui.Bytes(1_000), ui.Bytes(503_132_160))
	// Output: 999 B 1.0 kB 503.1 MB
}

func ExampleRate() {
	fmt.Println(ui.Rate(838_200_000))
	// Output: 838.2 MB/s
}

func ExampleDuration() {
	for _, d := range []time.Duration{450 * time.Millisecond, 2300 * time.Millisecond, 65 * time.Second, 123 * time.Minute, 76 * time.Hour} {
		fmt.Println(ui.Duration(d))
	}
	// Output:
	// 0.45s
	// 2.3s
	// 1m05s
	// 2h03m
	// 3d04h
}

func ExampleAgo() {
	now := time.Date(2026, 11, 22, 7, 35, 0, 0, time.UTC)
	fmt.Println(ui.Ago(now.Add(-12*time.Second), now))
	fmt.Println(ui.Ago(now.Add(-123*time.Minute), now))
	// Output:
	// 12s ago
	// 2h03m ago
}

func ExampleCount() {
	fmt.Println(ui.Count(1234567))
	// Output: 1,234,567
}

func ExampleSafe() {
	fmt.Println(ui.Safe("app\x1b[2J.db"))
	// Output: app\x1b[2J.db
}

func ExampleUI_NewTable() {
	u := ui.New(ui.Options{Out: os.Stdout, Err: os.Stderr})
	t := u.NewTable("DATABASE", ">SNAPSHOTS", ">STORED")
	t.Row("app.db", ui.Count(1200), ui.Bytes(503_132_160))
	t.Row("tenants/42/data.db", ui.Count(7), ui.Bytes(88_000))
	if err := u.Result(nil, t.Write); err != nil {
		panic(err)
	}
	// Output:
	// DATABASE            SNAPSHOTS    STORED
	// app.db                  1,200  503.1 MB
	// tenants/42/data.db          7   88.0 kB
}
