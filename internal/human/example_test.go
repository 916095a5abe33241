package human_test

import (
	"fmt"
	"time"

	"github.com/litestash/litestash/internal/human"
)

func ExampleBytes() {
	fmt.Println(human.Bytes(999), human.Bytes(1_000), human.Bytes(503_132_160))
	// Output: 999 B 1.0 kB 503.1 MB
}

func ExampleRate() {
	fmt.Println(human.Rate(838_200_000))
	// Output: 838.2 MB/s
}

func ExampleDuration() {
	for _, d := range []time.Duration{450 * time.Millisecond, 2300 * time.Millisecond, 65 * time.Second, 123 * time.Minute, 76 * time.Hour} {
		fmt.Println(human.Duration(d))
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
	fmt.Println(human.Ago(now.Add(-12*time.Second), now))
	fmt.Println(human.Ago(now.Add(-123*time.Minute), now))
	// Output:
	// 12s ago
	// 2h03m ago
}

func ExampleCount() {
	fmt.Println(human.Count(1234567))
	// Output: 1,234,567
}
