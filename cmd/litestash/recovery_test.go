package main

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestAnotherIsTaken deletes the newest snapshot after restore and verify have found it and before they read
// any of it: they take the one before.
func TestAnotherIsTaken(t *testing.T) {
	s := newS3Server(t)
	db := sampleDB(t)
	var names []string
	for _, sql := range []string{"SELECT 1", "UPDATE words SET word = 'two'", "UPDATE words SET word = 'three'"} {
		sh(t, db, sql)
		names = append(names, strings.TrimSpace(mustLite(t, "push", "-q", db, "--store", s.store())))
	}
	target := filepath.Join(t.TempDir(), "restored.db")
	for i, command := range [][]string{{"restore", "app.db", "-o", target}, {"verify", "app.db"}} {
		doomed, next := names[2-i], names[1-i]
		var once sync.Once
		s.place(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, doomed) {
				once.Do(func() {
					out, err := exec.Command("litestash", "delete", "app.db", doomed, "--store", s.store()).CombinedOutput()
					if err != nil {
						t.Errorf("delete: %v: %s", err, out)
					}
				})
			}
			real.ServeHTTP(w, r)
		})
		code, stdout, stderr := lite(t, append(command, "--store", s.store())...)
		if code != 0 || !strings.Contains(stdout, next) || !strings.Contains(stderr, "taking another snapshot") {
			t.Errorf("%s exits with %d: %s%s; want it to take %s", command[0], code, stdout, stderr, next)
		}
	}
	if got := sh(t, target, "SELECT word FROM words"); got != "two\n" {
		t.Errorf("the restored database says %q", got)
	}
}
