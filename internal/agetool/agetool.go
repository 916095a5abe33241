// Package agetool builds the age tool, for tests that what we write is read by others.
package agetool

import (
	"fmt"
	"os"
	"os/exec"
)

// Build puts age and age-keygen, of the version that go.mod names, into dir.
func Build(dir string) error {
	for _, name := range []string{"age", "age-keygen"} {
		cmd := exec.Command("go", "build", "-o", dir+string(os.PathSeparator), "filippo.io/age/cmd/"+name)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	return nil
}
