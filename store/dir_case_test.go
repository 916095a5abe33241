package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A foldingDisk ignores the case of names, like the disks of many desktops.
type foldingDisk struct{ osDisk }

func (d foldingDisk) lstat(path string) (fs.FileInfo, error) {
	names, err := d.names(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.EqualFold(name, filepath.Base(path)) {
			return os.Lstat(filepath.Join(filepath.Dir(path), name))
		}
	}
	return nil, fs.ErrNotExist
}

func TestCheckCase(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"App.db", "42", "ünï", "LOUD"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]error{
		"App.db": nil, "42": nil, "ünï": nil, "LOUD": nil,
		"app.db": errCase, "APP.DB": errCase, "ÜNï": errCase, "loud": errCase,
	} {
		on := foldingDisk{}
		info, err := on.lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := checkCase(on, dir, name, info); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	info, err := os.Lstat(filepath.Join(dir, "App.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := checkCase(osDisk{}, dir, "App.db", info); err != nil {
		t.Errorf("on this disk: %v", err)
	}
}
