package main

import "testing"

func TestDefaultStateDir(t *testing.T) {
	for _, c := range []struct {
		name, want string
		env        map[string]string
	}{
		{"a service's", "/var/lib/litestash", map[string]string{
			"STATE_DIRECTORY": "/var/lib/litestash", "XDG_STATE_HOME": "/x", "HOME": "/root"}},
		{"a user's", "/x/litestash", map[string]string{"XDG_STATE_HOME": "/x", "HOME": "/home/ada"}},
		{"in the home", "/home/ada/.local/state/litestash", map[string]string{"HOME": "/home/ada"}},
		{"nowhere, and not in a place that is everybody's", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := defaultStateDir(func(k string) string { return c.env[k] }); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
