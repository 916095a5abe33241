package retention_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/retention"
	"github.com/litestash/litestash/store/storetest"
)

// BenchmarkPrune prunes 10,000 snapshots, one a second, in a directory on the disk, down to some thirty.
//
//	go test ./retention -run '^$' -bench Prune -benchtime 1x
func BenchmarkPrune(b *testing.B) {
	const snapshots = 10_000
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "app.db"), 0o777); err != nil {
			b.Fatal(err)
		}
		at, first := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), format.ID(0)
		var minute, hour, before format.ID // the latest first ones, and the one before
		for i := range snapshots {
			t := at.Add(time.Duration(i) * time.Second)
			k := format.FullKey("app.db", format.Name{Time: format.TimeOf(t), ID: format.ID(i + 1)})
			parent := before
			switch {
			case i == 0:
				first = k.Name.ID
				minute, hour = first, first
			case i%3600 == 0:
				parent, hour, minute = hour, k.Name.ID, k.Name.ID
			case i%60 == 0:
				parent, minute = minute, k.Name.ID
			}
			if i > 0 {
				k.Kind, k.HasParent, k.Parent = format.Delta, true, parent
			}
			before = k.Name.ID
			if err := os.WriteFile(filepath.Join(dir, k.String()), []byte("x"), 0o666); err != nil {
				b.Fatal(err)
			}
		}
		st := storetest.OpenDir(b, dir)
		b.StartTimer()
		r, err := retention.Prune(b.Context(), st, "app.db", retention.Policy{Last: 10, Hourly: 3}, retention.PruneOptions{})
		if err != nil || len(r.Gone) < snapshots*9/10 {
			b.Fatalf("%d are gone, %v", len(r.Gone), err)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-sys")
		b.ReportMetric(float64(len(r.Gone)), "deleted")
	}
}
