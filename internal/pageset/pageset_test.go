package pageset_test

import (
	"slices"
	"testing"

	"github.com/litestash/litestash/internal/pageset"
)

func TestSet(t *testing.T) {
	s := pageset.New(130)
	s.Add(1, 1)
	s.Add(63, 4)
	s.Add(130, 1)
	want := []uint32{1, 63, 64, 65, 66, 130}
	if got := slices.Collect(s.All()); !slices.Equal(got, want) {
		t.Errorf("it holds %d, want %d", got, want)
	}
	for page := uint32(1); page < 1000; page++ {
		if s.Has(page) != slices.Contains(want, page) {
			t.Errorf("page %d: %v", page, s.Has(page))
		}
	}
	for page := range s.All() {
		if page > 63 {
			t.Errorf("it goes on to %d", page)
		}
		if page == 63 {
			break
		}
	}
	if pageset.Set(nil).Has(1) {
		t.Error("the nil set holds a page")
	}
}
