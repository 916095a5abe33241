package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
)

// A build is what the program knows of its own making.
type build struct {
	Version  string `json:"version"`            // a tag, a pseudo-version, or devel
	Revision string `json:"revision,omitempty"` // of the source; known if the go command could ask git
	Modified bool   `json:"modified,omitempty"` // the source differed from the revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// thisBuild returns the facts that the go command left in the program.
func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildOf(info)
}

func buildOf(info *debug.BuildInfo) build {
	b := build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// String returns the build in words, without the program's name.
func (b build) String() string {
	facts := []string{b.Go, b.Platform}
	if b.Revision != "" {
		revision := "revision " + b.Revision[:min(len(b.Revision), 12)]
		if b.Modified {
			revision += " modified"
		}
		facts = append([]string{revision}, facts...)
	}
	return b.Version + " (" + strings.Join(facts, ", ") + ")"
}

// version returns the version that the program was built as.
func version() string { return thisBuild().Version }

func (p *program) printVersion() error {
	b := thisBuild()
	return p.ui.Result(b, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, "litestash", b)
		return err
	})
}
