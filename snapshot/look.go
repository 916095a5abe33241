package snapshot

import "time"

// racyWindow is how long a change of a file may have the same time as one before it: more than the
// granularity of any file system's times, the coarsest of which are two seconds. Times within it
// prove nothing, which Git calls racily clean.
const racyWindow = 2 * time.Second

// Look returns what the database at path looks like, as text without meaning to others: while two
// looks are equal, nothing has been committed between them. It returns the empty string when that
// cannot be told, as right after a commit in the rollback-journal modes, and everywhere but on
// Linux.
//
// It takes no locks, writes nothing, and reads nothing of the database file but its header. A
// database that somebody else is about to commit to may look as before until that is done.
func Look(path string) (string, error) { return look(path, racyWindow) }

// look is [Look] with another window than [racyWindow].
func look(path string, window time.Duration) (string, error) {
	path, err := resolve(path)
	if err != nil {
		return "", err
	}
	settled := time.Now().Add(-window)
	first, err := glance(path, settled)
	if err != nil || first == "" {
		return "", err
	}
	// The facts are not read at one instant. If all of them are found again, there was one: between
	// the two glances.
	second, err := glance(path, settled)
	if err != nil || first != second {
		return "", err
	}
	return first, nil
}

// lookAtSource returns what the source looks like, and the empty string if that cannot be told or
// read.
func (t *taker) lookAtSource() string {
	l, err := look(t.path, t.opts.racyWindow)
	if err != nil {
		t.opts.Logger.Debug("what the database looks like cannot be told", "path", t.path, "err", err)
		return ""
	}
	return l
}

// confirmLook forgets what the source looked like before it was read unless it looks the same now.
func (t *taker) confirmLook() {
	if t.look != "" && t.look != t.lookAtSource() {
		t.look = ""
	}
}
