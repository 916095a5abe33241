package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The test binary is litestash when it is called by that name: scripts and tests that need a
// process of its own, to kill it for example, find it so on their PATH.
func TestMain(m *testing.M) {
	testscript.Main(awayFromHome{m}, map[string]func(){"litestash": main})
}

// awayFromHome runs tests with a state directory of their own, for what does not name one.
type awayFromHome struct{ *testing.M }

func (m awayFromHome) Run() int {
	dir, err := os.MkdirTemp("", "litestash-state-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Setenv("LITESTASH_STATE_DIR", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.M.Run()
}

// TestScripts runs the scripts in testdata: each is a session with the program that a user could
// have typed. What they can call beside litestash and the tools of the system is in scriptCommands.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		Cmds:               scriptCommands,
		Setup:              setUpScript,
		Condition:          scriptCondition,
		RequireUniqueNames: true,
	})
}
