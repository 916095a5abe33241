package main

import (
	"fmt"
	"strings"
)

// firstFinding sums up on one line what SQLite found wrong with a database. It often says much at once,
// after a line that only names the database.
func firstFinding(messages []string) string {
	var lines []string
	for _, m := range messages {
		for line := range strings.Lines(m) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "***") {
				lines = append(lines, line)
			}
		}
	}
	switch len(lines) {
	case 0:
		return strings.Join(messages, "; ")
	case 1:
		return lines[0]
	}
	return fmt.Sprintf("%s, and %d more", lines[0], len(lines)-1)
}
