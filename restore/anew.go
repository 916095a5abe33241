package restore

import (
	"errors"
	"log/slog"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/chain"
	"github.com/litestash/litestash/format"
)

// Anew calls do, which restores or verifies, with the snapshot that find finds. Should do end with a
// [chain.HoleError], somebody may have deleted the snapshot since it was found, or stored another one in
// its stead: then find is asked again. If it finds one that was not tried yet, do is called with that; if
// it does not, the hole is real and is returned. A nil log discards.
func Anew(find func() (catalog.Snapshot, error), do func(catalog.Snapshot) error, log *slog.Logger) error {
	tried := map[format.Name]bool{}
	var hole error
	for {
		snap, err := find()
		if err != nil {
			return err
		}
		if tried[snap.Name] {
			return hole
		}
		if hole != nil {
			(&Options{Logger: log}).logger().Warn("an object is gone, taking another snapshot", "snapshot", snap.Name.String(), "err", hole)
		}
		tried[snap.Name] = true
		if hole = do(snap); !errors.As(hole, new(*chain.HoleError)) {
			return hole
		}
	}
}
