package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// freeNames is the member whose own members are named by users.
const freeNames = "tags"

// checkJSON refuses JSON that two parsers may read differently, although encoding/json has no
// objection to it: it takes the last of several members of one name, ignores the case of names,
// leaves a field as it is for a null or an absent member, and replaces what is not UTF-8. The text
// must be one value that encoding/json has read, which bounds its depth; members must be there.
func checkJSON(text []byte, members []string) error {
	if !utf8.Valid(text) {
		return errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	names, err := checkValue(dec, false)
	if err != nil {
		return err
	}
	for _, m := range members {
		if !slices.Contains(names, m) {
			return fmt.Errorf("it has no member %q", m)
		}
	}
	return nil
}

// checkValue reads one value and returns the names of its members, if it is an object. Unless
// free, these are to be in lower case.
func checkValue(dec *json.Decoder, free bool) (names []string, err error) {
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, errors.New("it holds a null")
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil, nil
	}
	seen := make(map[string]bool)
	for dec.More() {
		name := ""
		if open == '{' {
			if name, err = readName(dec, free); err != nil {
				return nil, err
			}
			if seen[name] {
				return nil, fmt.Errorf("it has two members %q", name)
			}
			seen[name] = true
			names = append(names, name)
		}
		if _, err := checkValue(dec, name == freeNames); err != nil {
			return nil, err
		}
	}
	_, err = dec.Token() // the closing bracket
	return names, err
}

func readName(dec *json.Decoder, free bool) (string, error) {
	t, err := dec.Token()
	if err != nil {
		return "", err
	}
	name, _ := t.(string) // what else it could be, Token refuses
	if !free && (name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "") {
		return "", fmt.Errorf("it has a member %q", name)
	}
	return name, nil
}
