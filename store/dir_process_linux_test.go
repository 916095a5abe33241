package store_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litestash/litestash/store"
	"github.com/litestash/litestash/store/storetest"
)

// The test binary is its own helper: with LITESTASH_TEST_HELPER set it does what that names and
// nothing else.
func TestMain(m *testing.M) {
	helpers := map[string]func(dir string) error{"write": helpWrite, "full": helpFull, "read-only": helpReadOnly}
	if help, ok := helpers[os.Getenv("LITESTASH_TEST_HELPER")]; ok {
		if err := help(os.Getenv("LITESTASH_TEST_DIR")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func helper(t *testing.T, name, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "LITESTASH_TEST_HELPER="+name, "LITESTASH_TEST_DIR="+dir)
	return cmd
}

// helpWrite writes an object until it is killed, and says so once it is in the middle.
func helpWrite(dir string) error {
	d, err := store.OpenDir(dir)
	if err != nil {
		return err
	}
	body := io.MultiReader(strings.NewReader("half"), readerFunc(func([]byte) (int, error) {
		fmt.Println("half")
		time.Sleep(time.Hour)
		return 0, io.EOF
	}))
	_, err = d.Create(context.Background(), "killed", body, 0)
	return err
}

func TestDirKilledWriter(t *testing.T) {
	root := t.TempDir()
	cmd := helper(t, "write", root)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "half\n" {
		t.Fatalf("helper said %q, %v", line, err)
	}
	storetest.Put(t, storetest.OpenDir(t, root), "beside", nil)
	if got := files(t, root); len(got) != 2 {
		t.Errorf("beside a living writer: %q, want its file and the new object", got)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	d := storetest.OpenDir(t, root)
	if got := storetest.Keys(t, d, store.Query{}); !slices.Equal(got, []string{"beside"}) {
		t.Errorf("listed %q", got)
	}
	storetest.Put(t, d, "next", nil)
	if got := files(t, root); !slices.Equal(got, []string{"beside", "next"}) {
		t.Errorf("after the next: %q", got)
	}
}

// onSmallDisk runs a helper with a disk of its own, which needs a mount namespace. Where the
// kernel does not let this user have one there is no small disk to be had.
func onSmallDisk(t *testing.T, name string) {
	t.Helper()
	cmd := helper(t, name, t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || bytes.Contains(out, []byte("mount: ")) {
		t.Skipf("this host allows no mounts to tests: %v: %s", err, out)
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func mount(dir, options string, flags uintptr) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	return nil
}

func TestDirFullDisk(t *testing.T) { onSmallDisk(t, "full") }

func helpFull(dir string) error {
	if err := mount(dir, "size=1m", 0); err != nil {
		return err
	}
	d, err := store.OpenDir(filepath.Join(dir, "store"))
	if err != nil {
		return err
	}
	ctx := context.Background()
	_, err = d.Create(ctx, "key", bytes.NewReader(make([]byte, 4<<20)), 0)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) {
		return fmt.Errorf("create on a full disk: %v", err)
	}
	if _, err := d.Create(ctx, "small", bytes.NewReader(make([]byte, 1000)), 0); err != nil {
		return fmt.Errorf("the partial file is still there: %w", err)
	}
	return nil
}

func TestDirReadOnlyDisk(t *testing.T) { onSmallDisk(t, "read-only") }

func helpReadOnly(dir string) error {
	if err := mount(dir, "size=1m", 0); err != nil {
		return err
	}
	d, err := store.OpenDir(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	o, err := d.Create(ctx, "a/key", strings.NewReader("data"), 0)
	if err != nil {
		return err
	}
	if err := mount(dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY); err != nil {
		return err
	}
	if _, err := d.Create(ctx, "a/other", strings.NewReader("data"), 0); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), dir) {
		return fmt.Errorf("create: %v", err)
	}
	if err := d.Delete(ctx, "a/key"); !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("delete: %v", err)
	}
	if skew, err := d.Skew(ctx); skew != 0 || err != nil {
		return fmt.Errorf("skew: %v, %w", skew, err)
	}
	r, err := d.Open(ctx, o, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}
