package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/litestash/litestash/internal/ui"
	"github.com/litestash/litestash/seal"
)

// identityFlags returns the flags of all commands that say how to open what is encrypted. Secrets are in
// files or come from commands, never in arguments, which others can see.
func identityFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "identity", Aliases: []string{"i"}, EnvVars: []string{"LITESTASH_IDENTITY_FILE"}, Usage: "open what is encrypted with the identities in `FILE`, of age or SSH; may be repeated"},
		&cli.StringFlag{Name: "passphrase-file", EnvVars: []string{"LITESTASH_PASSPHRASE_FILE"}, Usage: "take the passphrase from the first line of `FILE`"},
		&cli.StringFlag{Name: "passphrase-command", EnvVars: []string{"LITESTASH_PASSPHRASE_COMMAND"}, Usage: "take the passphrase from what the shell `COMMAND` prints"},
		&cli.BoolFlag{Name: "passphrase", Usage: "ask for the passphrase on the terminal"},
	}
}

// recipientFlags returns the flags of push and watch that say for whom to encrypt.
func recipientFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "recipient", Aliases: []string{"r"}, Usage: "encrypt for the public `KEY`: age1.., age1pq1.. or one of SSH; may be repeated"},
		&cli.StringSliceFlag{Name: "recipients-file", EnvVars: []string{"LITESTASH_RECIPIENTS_FILE"}, Usage: "encrypt for the public keys in `FILE`, one a line; may be repeated"},
		&cli.BoolFlag{Name: "plaintext", Usage: "do not encrypt what has been kept encrypted so far"},
	}
}

// A keyring is what the flags of identityFlags say. Nothing is read or asked for before it is needed, and
// that once.
type keyring struct {
	identities []string // files
	file       string
	command    string
	prompt     bool

	passphrase func() (string, error)
}

func newKeyring(ctx context.Context, c *cli.Context) (*keyring, error) {
	k := &keyring{
		identities: files(c, "identity"),
		file:       c.String("passphrase-file"),
		command:    c.String("passphrase-command"),
		prompt:     c.Bool("passphrase"),
	}
	ways := 0
	for _, given := range []bool{k.file != "", k.command != "", k.prompt} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return nil, usagef("--passphrase-file, --passphrase-command and --passphrase are three ways to one passphrase: choose one")
	}
	k.passphrase = sync.OnceValues(func() (string, error) { return k.readPassphrase(ctx) })
	return k, nil
}

// files returns the files that a flag names. A variable of the environment that is empty names none.
func files(c *cli.Context, flag string) []string {
	return slices.DeleteFunc(c.StringSlice(flag), func(name string) bool { return name == "" })
}

// hasPassphrase reports whether there is a way to a passphrase.
func (k *keyring) hasPassphrase() bool { return k.file != "" || k.command != "" || k.prompt }

// open returns what opens what is encrypted; nil if nothing was given for that.
func (k *keyring) open() (*seal.Identities, error) {
	var all []seal.Identity
	for _, name := range k.identities {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read identities: %w", err)
		}
		list, err := seal.ParseIdentities(text, k.unlock)
		if err != nil {
			return nil, &keyError{fmt.Errorf("identities in %s: %w", name, err)}
		}
		all = append(all, list...)
	}
	if k.hasPassphrase() {
		secret, err := k.passphrase()
		if err != nil {
			return nil, err
		}
		i, err := seal.PassphraseIdentity(secret)
		if err != nil {
			return nil, &keyError{err}
		}
		all = append(all, i)
	}
	if len(all) == 0 {
		return nil, nil
	}
	return seal.NewIdentities(all...), nil
}

// errProtected says that identities cannot be read without a passphrase.
var errProtected = errors.New("a passphrase protects them, and none is given")

// unlock returns the passphrase for a file of identities that is protected by one.
func (k *keyring) unlock() (string, error) {
	if !k.hasPassphrase() {
		return "", errProtected
	}
	return k.passphrase()
}

// recipients returns for whom to encrypt; nil for nobody.
func (k *keyring) recipients(c *cli.Context) (*seal.Recipients, error) {
	var all []seal.Recipient
	if err := notEmpty(c); err != nil {
		return nil, err
	}
	for _, s := range c.StringSlice("recipient") {
		r, err := seal.ParseRecipient(s)
		if err != nil {
			return nil, usagef("--recipient: %w", err)
		}
		all = append(all, r)
	}
	for _, name := range files(c, "recipients-file") {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read recipients: %w", err)
		}
		list, err := seal.ParseRecipients(text)
		if err != nil {
			return nil, &keyError{fmt.Errorf("recipients in %s: %w", name, err)}
		}
		all = append(all, list...)
	}
	switch {
	case len(all) == 0 && k.hasPassphrase() && len(k.identities) > 0:
		return nil, usagef("the passphrase opens --identity, which says nothing of whom to encrypt for: name --recipient as well, or leave --identity out to encrypt with the passphrase")
	case len(all) > 0 && k.hasPassphrase() && len(k.identities) == 0:
		return nil, usagef("--recipient and a passphrase do not go together: a snapshot is encrypted for keys or with a passphrase")
	case len(all) == 0 && k.hasPassphrase():
		secret, err := k.passphrase()
		if err != nil {
			return nil, err
		}
		if k.prompt {
			if err := confirmPassphrase(c.Context, secret); err != nil {
				return nil, err
			}
		}
		r, err := seal.PassphraseRecipient(secret)
		if err != nil {
			return nil, &keyError{err}
		}
		all = append(all, r)
	}
	switch plaintext := c.Bool("plaintext"); {
	case len(all) > 0 && plaintext:
		return nil, usagef("--plaintext goes with neither recipients nor a passphrase")
	case len(all) == 0:
		return nil, nil
	}
	rs, err := seal.NewRecipients(all...)
	if err != nil {
		return nil, &keyError{fmt.Errorf("recipients: %w", err)}
	}
	return rs, nil
}

// notEmpty refuses what should say for whom to encrypt and is empty, as by a variable that is not set: that would store
// for all to read what should not be.
func notEmpty(c *cli.Context) error {
	const lacks = "unset it to store snapshots as they are"
	switch {
	case c.Bool("plaintext"):
		return nil
	case slices.Contains(c.StringSlice("recipient"), ""):
		return usagef("--recipient is empty: name a public key")
	case slices.Contains(c.StringSlice("recipients-file"), ""):
		return usagef("--recipients-file or LITESTASH_RECIPIENTS_FILE is empty: name a file, or %s", lacks)
	}
	for _, by := range [][2]string{{"passphrase-file", "LITESTASH_PASSPHRASE_FILE"}, {"passphrase-command", "LITESTASH_PASSPHRASE_COMMAND"}} {
		if c.IsSet(by[0]) && c.String(by[0]) == "" {
			return usagef("--%s or %s is empty: say where the passphrase is, or %s", by[0], by[1], lacks)
		}
	}
	return nil
}

// A keyError says that what should be keys cannot be used.
type keyError struct{ err error }

func (e *keyError) Error() string { return e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

// readPassphrase reads the passphrase in the way that was chosen.
func (k *keyring) readPassphrase(ctx context.Context) (secret string, err error) {
	var text []byte
	switch {
	case k.file != "":
		if text, err = os.ReadFile(k.file); err != nil {
			return "", fmt.Errorf("read the passphrase: %w", err)
		}
	case k.command != "":
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", k.command)
		cmd.Stderr = os.Stderr
		if text, err = cmd.Output(); err != nil {
			return "", fmt.Errorf("run the command for the passphrase: %w", err)
		}
	default:
		if text, err = ui.AskSecret(ctx, "Passphrase: "); err != nil {
			return "", asking(err)
		}
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return "", &passphraseError{errors.New("the passphrase is empty")}
	}
	return string(line), nil
}

// confirmPassphrase has the passphrase typed again: what is encrypted with a mistyped one nobody can read.
func confirmPassphrase(ctx context.Context, secret string) error {
	again, err := ui.AskSecret(ctx, "The same again: ")
	if err != nil {
		return asking(err)
	}
	if string(again) != secret {
		return &passphraseError{errors.New("the two passphrases are not the same")}
	}
	return nil
}

// asking says that a passphrase was asked for when err came.
func asking(err error) error {
	err = fmt.Errorf("ask for the passphrase: %w", err)
	if errors.Is(err, ui.ErrNoTerminal) {
		return &passphraseError{err}
	}
	return err
}

// A passphraseError says that there is no passphrase to use.
type passphraseError struct{ err error }

func (e *passphraseError) Error() string { return e.err.Error() }
func (e *passphraseError) Unwrap() error { return e.err }
