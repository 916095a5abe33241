package retention_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litestash/litestash/catalog"
	"github.com/litestash/litestash/format"
	"github.com/litestash/litestash/internal/race"
	"github.com/litestash/litestash/retention"
)

// The model runs deletions beside pushes in every interleaving, each of which may stop for ever at
// any step, over the real code that plans and looks. Snapshots are single letters, in the order of time; each
// step below is one request to the store, which answers from what it holds at that moment. TestOrder sees to it that the
// real requests come in the same order.
//
// Held must be: every snapshot that is there and that nobody announced has all that it rests on,
// and so has every one that a push claimed success for, and every one that is held, for ever. And
// where nothing is deleted but by policies, there is always a whole one that is as new as what pushes have
// claimed, and one that was proved. What is announced and still there can be restored, too, and whoever deletes next
// finishes what has stopped. Each rule that a mutation removes must lose one of these.
//
// A process that pushes again and again takes a shorter look from the second push on. It relies on
// the newest snapshot that it has confirmed, which the next one's parent is, or rests on: while that
// is there and not announced, nothing that it rests on has gone, or can go without a listing that
// shows the next one.

type mutation struct {
	noLook     bool // a push claims success without a look
	onlyParent bool // the look is at the parent alone
	ignoreGone bool // the look is at announcements alone
	noRelist   bool // a deletion works from its first listing
	listFirst  bool // a deletion reads announcements after it listed
	goneFirst  bool // the look is for what is gone first, and for announcements then
	withdraw   bool // announcements are withdrawn before all is gone
	heedless   bool // a push that is troubled claims success all the same
	silent     bool // a deletion announces nothing
	unasked    bool // it deletes what it wants to at the second listing, announced or not
	restedOn   bool // it deletes what is announced though others rest on it
	ownOnly    bool // it deletes only what it has announced itself

	// The rest is about short looks.
	noPresence    bool // whether the confirmed snapshot is there is not asked
	presenceFirst bool // it is asked before announcements are read
	noAnnounced   bool // announcements are not read
	unconfirmed   bool // the first snapshot is relied on without a look at its path
	pathOnly      bool // announcements of the confirmed snapshot do not matter
	parentsFirst  bool // deletions take what is rested on before what rests on it

	// And this is about holds and policies.
	noHoldLook    bool // a hold claims success without a look
	holdGoneFirst bool // it looks for what is gone first, and for announcements then
	oneHold       bool // all holds of a snapshot are one object
	holdsEarly    bool // a deletion reads holds only before it announces
	holdsFirst    bool // a deletion reads holds before announcements
	spareNone     bool // a policy's deletion does not look again for the newest good one
	dropNewest    bool // and does not keep it in the first place
	proofless     bool // proofs do not matter
}

// A world is the state of everything.
type world struct {
	objects   string // those that are there, in order of time
	announced string // those in announcements that stand
	procs     [4]proc
}

// key returns what tells a world from all others. There are millions of them.
func (w *world) key() string {
	b := make([]byte, 0, 256)
	field := func(s string) { b = append(append(b, s...), 0) }
	field(w.objects)
	field(w.announced)
	for i := range w.procs {
		p := &w.procs[i]
		b = append(b, byte(p.step), byte(p.pushes))
		for _, s := range [...]string{p.confirmed, p.claims, p.a, p.b, p.announced, p.wanted, p.h, p.hold, p.kept} {
			field(s)
		}
	}
	return string(b)
}

// A proc is a process that pushes, or a deletion.
type proc struct {
	step      int
	pushes    int    // finished
	confirmed string // the last snapshot that it claimed success for
	claims    string // all of them
	a, b      string // what it has read so far
	announced string // its own announcement
	wanted    string // what a deletion insists on
	h         string // the holds that it has read
	hold      string // its own hold
	kept      string // the snapshot that it claims to hold
}

// A task is what a proc is to do: pushes one after the other, to delete the snapshots in drop, or what
// policy does not keep, or to hold a snapshot.
type task struct {
	pushes []pushed
	drop   string
	policy retention.Policy
	hold   string
}

// A pushed snapshot is snap, onto parent.
type pushed struct{ snap, parent string }

type model struct {
	tasks   []task
	parents map[string]string // of every snapshot that there may be
	start   string
	proved  string // of start
	mut     mutation
	seen    map[string]bool   // keys of worlds
	planned map[string]string // what was planned on what was read
	paths   map[string]string
	lost    string
}

// plan remembers what the real code plans: the same is read in very many states.
func (m *model) plan(on string, plan func() string) string {
	got, ok := m.planned[on]
	if !ok {
		got = plan()
		m.planned[on] = got
	}
	return got
}

const letters = "fdxtqQsSuU" // in the order of time; a capital is the full that replaces the small one

// name returns a snapshot's name. Three are taken in an hour.
func name(s string) format.Name {
	i := strings.Index(letters, s)
	return format.Name{Time: format.TimeOf(start.Add(time.Duration(i) * 20 * time.Minute)), ID: format.ID(1 + i)}
}

var start = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// survey returns what a deletion has read, in the words of the real one.
func (m *model) survey(objects, announced, held string) *retention.Survey {
	var announcements []catalog.Announcement
	for n := range set(announced) {
		announcements = append(announcements, catalog.Announcement{Names: []format.Name{n}})
	}
	var holds []catalog.Hold
	for n := range set(held) {
		holds = append(holds, catalog.Hold{Snapshot: n})
	}
	var proofs []catalog.Proof
	for n := range set(m.proved) {
		if !m.mut.proofless {
			proofs = append(proofs, catalog.Proof{Database: "app.db", Snapshot: n, Level: catalog.LevelFull, Outcome: catalog.Sound})
		}
	}
	return retention.NewSurvey("app.db", m.snapshots(objects), announcements, holds, proofs)
}

func (m *model) snapshots(objects string) []catalog.Snapshot {
	var all []catalog.Snapshot
	for _, l := range letters {
		s := string(l)
		if !strings.Contains(objects, s) {
			continue
		}
		k := format.FullKey("app.db", name(s))
		if p := m.parents[s]; p != "" {
			k.Kind, k.HasParent, k.Parent = format.Delta, true, name(p).ID
		}
		all = append(all, catalog.Snapshot{Key: k})
	}
	return all
}

func set(s string) retention.Names {
	n := retention.Names{}
	for _, l := range s {
		n[name(string(l))] = true
	}
	return n
}

func text[T any](list []T, of func(T) format.Name) string {
	var b strings.Builder
	for _, x := range list {
		if n := of(x); !n.IsZero() {
			b.WriteByte(letters[n.ID-1])
		}
	}
	return b.String()
}

// path returns s and all that it rests on, whether it is there or not.
func (m *model) path(s string) string {
	if s == "" {
		return ""
	}
	p, known := m.paths[s]
	if !known {
		p = s + m.path(m.parents[s])
		m.paths[s] = p
	}
	return p
}

func add(objects, s string) string { return sorted(objects + s) }

func remove(objects, s string) string {
	if !strings.ContainsAny(objects, s) {
		return objects
	}
	left := make([]byte, 0, len(objects))
	for i := range len(objects) {
		if strings.IndexByte(s, objects[i]) < 0 {
			left = append(left, objects[i])
		}
	}
	return string(left)
}

// run explores every state and returns which snapshot was lost, if any.
func (m *model) run() string {
	m.seen, m.planned, m.paths = map[string]bool{}, map[string]string{}, map[string]string{}
	todo := []world{{objects: m.start}}
	for len(todo) > 0 && m.lost == "" {
		w := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		key := w.key()
		if m.seen[key] {
			continue
		}
		m.seen[key] = true
		m.check(w)
		for i, t := range m.tasks {
			for choice, more := 0, true; more; choice++ {
				next := w
				p := &next.procs[i]
				ok := false
				more = false
				switch {
				case len(t.pushes) > 0:
					ok = m.push(&next, p, t)
				case t.hold != "":
					ok = m.hold(&next, p, t)
				default:
					more = p.step == deleting && choice+1 < len(firstRound(p.a))
					ok = m.delete(&next, p, t, choice)
				}
				if ok {
					todo = append(todo, next)
				}
			}
		}
	}
	return m.lost
}

const finished = 100 // the step of a proc that has nothing left to do

func (m *model) check(w world) {
	must := ""
	for _, l := range m.start {
		if strings.ContainsRune(w.objects, l) && !strings.ContainsRune(w.announced, l) {
			must += string(l)
		}
	}
	everAnnounced := ""
	for _, p := range w.procs {
		everAnnounced += p.announced
	}
	for _, p := range w.procs {
		must += remove(p.claims, everAnnounced) + p.kept
	}
	// And what is there can be restored, though it is about to go: deletions begin with what rests on others.
	for _, p := range w.procs {
		must += remove(p.claims, remove(p.claims, w.objects))
	}
	for _, l := range m.start {
		if strings.ContainsRune(w.objects, l) {
			must += string(l)
		}
	}
	for _, l := range must {
		for _, need := range m.path(string(l)) {
			if !strings.ContainsRune(w.objects, need) {
				m.lost = fmt.Sprintf("%c lost %c after %d states", l, need, len(m.seen))
			}
		}
	}
	m.checkNewest(w)
	m.checkProved(w)
	m.checkFinish(w)
}

// checkProved checks that policies leave a snapshot that was proved.
func (m *model) checkProved(w world) {
	if m.proved == "" || slices.ContainsFunc(m.tasks, func(t task) bool { return t.drop != "" }) {
		return
	}
	for _, l := range m.proved {
		if !lacks(w.objects, m.path(string(l))) {
			return
		}
	}
	m.lost = fmt.Sprintf("nothing that was proved is left after %d states", len(m.seen))
}

// checkFinish checks that somebody who deletes the same finishes what all others have announced, if these stop here.
func (m *model) checkFinish(w world) {
	if m.lost != "" || w.announced == "" {
		return
	}
	left := m.plan("finish"+w.objects+"-"+w.announced+"-"+w.holds(), func() string {
		p := proc{a: w.announced, b: w.objects, h: w.holds(), wanted: w.announced}
		m.planDeletion(&p, task{drop: w.announced})
		left := remove(w.objects, strings.ReplaceAll(p.a, "|", ""))
		stay := ""
		for _, l := range w.objects {
			if !strings.ContainsRune(w.announced, l) || strings.ContainsRune(w.holds(), l) {
				stay += m.path(string(l))
			}
		}
		return remove(remove(w.announced, stay), remove(w.announced, left))
	})
	if left != "" {
		m.lost = fmt.Sprintf("nobody deletes %s after %d states", left, len(m.seen))
	}
}

// checkNewest checks that policies leave a whole snapshot that is as new as the newest that was there
// from the start or claimed.
func (m *model) checkNewest(w world) {
	newest := m.start[len(m.start)-1:]
	for i, t := range m.tasks {
		if strings.Contains(t.drop, newest) {
			return
		}
		for _, l := range w.procs[i].claims {
			if strings.ContainsRune(t.drop, l) {
				return
			}
			if strings.IndexRune(letters, l) > strings.Index(letters, newest) {
				newest = string(l)
			}
		}
	}
	for _, t := range m.tasks {
		if strings.Contains(t.drop, newest) {
			return
		}
	}
	for _, l := range w.objects {
		if strings.IndexRune(letters, l) >= strings.Index(letters, newest) && !lacks(w.objects, m.path(string(l))) {
			return
		}
	}
	if m.lost == "" {
		m.lost = fmt.Sprintf("nothing as new as %s is left after %d states", newest, len(m.seen))
	}
}

// push takes the next step of a process that pushes, if there is one.
func (m *model) push(w *world, p *proc, t task) bool {
	switch p.step {
	case 0:
		snap := t.pushes[p.pushes]
		if !m.existed(w, snap.parent) {
			return false // nobody can know of it yet
		}
		w.objects = add(w.objects, snap.snap)
		p.step = 1
		if m.mut.noLook || m.mut.unconfirmed && p.confirmed == "" {
			m.claim(p, t, snap.snap)
		}
	case finished:
		return false
	case full:
		m.claim(p, t, strings.ToUpper(t.pushes[p.pushes].snap))
		w.objects = add(w.objects, p.confirmed)
		p.step = finished // what would have built on the one that it replaces is not pushed
	default:
		m.look(w, p, t)
	}
	return true
}

const full = 50 // the step of a push that has to store a full

// claim claims success for a snapshot and goes on to the next push.
func (m *model) claim(p *proc, t task, s string) {
	p.confirmed = s
	p.claims += s
	p.pushes++
	p.step = 0
	if p.pushes == len(t.pushes) {
		p.step = finished
	}
}

// errAsks says that a look wants to see something.
var errAsks = errors.New("a look asks")

// look takes the next step of a look, which is the next thing that the real one asks to see: it is shown again what it saw
// before. If the confirmed snapshot is gone, or about to go, it is at all that the new one rests on, which need not be the
// confirmed one.
func (m *model) look(w *world, p *proc, t task) {
	snap := t.pushes[p.pushes]
	path, seen := m.path(snap.parent), p.a
	if m.mut.onlyParent {
		path = snap.parent
	}
	if early := m.early(p); early != 0 && p.b == "" {
		p.b = m.show(w, p, early, path)
		return
	}
	for {
		asks, trouble := m.verdict(p.confirmed, path, seen)
		switch {
		case asks != 0 && seen != p.a && !m.untold(p, asks):
			p.a = seen // and shows it at another moment
			return
		case asks != 0 && asks == m.early(p):
			seen += p.b
		case asks != 0:
			seen += m.show(w, p, asks, path)
		case trouble && !m.mut.heedless:
			p.a, p.b, p.step = "", "", full
			return
		default:
			p.a, p.b = "", ""
			m.claim(p, t, snap.snap)
			return
		}
	}
}

// early returns what a look sees before all else though it asks for it later.
func (m *model) early(p *proc) byte {
	switch {
	case m.mut.goneFirst && p.confirmed == "":
		return 'g'
	case m.mut.presenceFirst && p.confirmed != "":
		return 'c'
	}
	return 0
}

// untold reports whether what a look asks for is not looked at, or was before.
func (m *model) untold(p *proc, asks byte) bool {
	return asks == m.early(p) || asks == 'g' && m.mut.ignoreGone || asks == 'c' && m.mut.noPresence ||
		asks == 'a' && m.mut.noAnnounced && p.confirmed != ""
}

// show returns what a look sees when it asks for announcements, the confirmed snapshot or the path.
func (m *model) show(w *world, p *proc, asks byte, path string) string {
	sees := ""
	switch {
	case asks != m.early(p) && m.untold(p, asks):
	case asks == 'a' && m.mut.pathOnly:
		sees = remove(w.announced, remove(p.confirmed, path))
	case asks == 'a':
		sees = w.announced
	case asks == 'c':
		sees = remove(p.confirmed, w.objects)
	case asks == 'g':
		sees = remove(path, w.objects)
	}
	return string(asks) + sees + ";"
}

// verdict returns what the real look asks for after it has seen some things, or what it makes of them.
func (m *model) verdict(confirmed, path, seen string) (asks byte, trouble bool) {
	got := m.plan("look"+confirmed+"-"+path+"-"+seen, func() string {
		c := catalog.PathCheck{}
		for _, s := range path {
			c.Path = append(c.Path, name(string(s)))
		}
		if confirmed != "" {
			c.Confirmed = name(confirmed)
		}
		answers, asks := strings.Split(seen, ";"), byte(0)
		next := func(what byte) (string, error) {
			if answers[0] == "" {
				asks = what
				return "", errAsks
			}
			sees := answers[0][1:]
			answers = answers[1:]
			return sees, nil
		}
		trouble, err := c.In(catalog.View{
			Announced: func() (map[format.Name]bool, error) {
				sees, err := next('a')
				return set(sees), err
			},
			ConfirmedGone: func() (bool, error) {
				sees, err := next('c')
				return sees != "", err
			},
			PathGone: func() (int, error) {
				sees, err := next('g')
				return strings.IndexAny(path, sees), err
			},
		})
		switch {
		case err != nil:
			return string(asks)
		case trouble != catalog.Trouble{}:
			return "trouble"
		}
		return ""
	})
	if len(got) == 1 {
		return got[0], false
	}
	return 0, got != ""
}

// lacks reports whether any of s is not among objects.
func lacks(objects, s string) bool { return remove(s, objects) != "" }

// existed reports whether a snapshot is or was there.
func (m *model) existed(w *world, s string) bool {
	for i, t := range m.tasks {
		for n, push := range t.pushes {
			if push.snap == s {
				p := w.procs[i]
				return p.pushes > n || p.pushes == n && p.step > 0
			}
		}
	}
	return true
}

// The steps of a deletion that is doing its work, and of one that is about to withdraw.
const (
	deleting  = 20
	withdraws = 21
)

// delete takes the next step of a deletion, if there is one. Which of a round goes first is up to choice.
func (m *model) delete(w *world, p *proc, t task, choice int) bool {
	switch p.step {
	case 0: // read announcements
		p.a = w.announced
		if !m.holds() {
			p.step = 1 // there is nothing to see in between
		}
	case 1: // and holds
		p.h = w.holds()
	case 2: // list and announce
		p.b, p.wanted = w.objects, t.drop
		if !t.policy.IsZero() {
			p.wanted = m.drops(p, t)
		}
		p.announced = m.plan(fmt.Sprint("announce", p.b, "-", p.a, "-", p.h, "-", p.wanted), func() string {
			names := m.survey(p.b, p.a, p.h).Announceable(set(p.wanted))
			return text(names, func(n format.Name) format.Name { return n })
		})
		p.a = ""
	case 3:
		if !m.mut.silent {
			w.announced = sorted(w.announced + p.announced)
		}
	case 4, 5, 6: // read announcements again, then holds, and then list
		order := "ahl"
		switch {
		case m.mut.listFirst:
			order = "lah"
		case m.mut.holdsFirst:
			order = "hal"
		}
		m.read(w, p, order[p.step-4])
		if !m.holds() && p.step < 6 && order[p.step-3] == 'h' {
			p.step++
		}
		if p.step == 6 {
			p.step = deleting
			m.planDeletion(p, t)
			return true
		}
	case deleting:
		if p.a == "" {
			p.step = withdraws
			return m.delete(w, p, t, choice)
		}
		gone := firstRound(p.a)[choice : choice+1]
		w.objects, p.b = remove(w.objects, gone), remove(p.b, gone)
		p.a = strings.TrimPrefix(strings.Replace(p.a, gone, "", 1), "|")
		return true
	case withdraws:
		if m.mut.withdraw || !strings.ContainsAny(p.b, p.announced) {
			w.announced = remove(w.announced, p.announced)
		}
		p.b, p.h, p.step = "", "", finished
		return true
	default:
		return false
	}
	p.step++
	return true
}

// drops returns what a policy lets go of what was read.
func (m *model) drops(p *proc, t task) string {
	drops := m.plan(fmt.Sprint("policy", t.policy, p.b, "-", p.a, "-", p.h), func() string {
		return text(t.policy.Plan(m.survey(p.b, p.a, p.h), start), func(v retention.Verdict) format.Name {
			if v.Goes() {
				return v.Snapshot.Name
			}
			return format.Name{}
		})
	})
	if m.mut.dropNewest && p.b != "" {
		drops = sorted(drops + p.b[len(p.b)-1:])
	}
	return drops
}

// holds reports whether anything will be held.
func (m *model) holds() bool {
	return slices.ContainsFunc(m.tasks, func(t task) bool { return t.hold != "" })
}

// read reads what a deletion needs the second time.
func (m *model) read(w *world, p *proc, what byte) {
	switch {
	case what == 'a':
		p.a = w.announced
		if m.mut.silent {
			p.a = sorted(p.a + p.announced)
		}
	case what == 'h' && !m.mut.holdsEarly:
		p.h = w.holds()
	case what == 'l' && !m.mut.noRelist:
		p.b = w.objects
	}
}

// planDeletion makes p.a what is to be deleted: rounds, with bars between.
func (m *model) planDeletion(p *proc, t task) {
	insist := p.wanted
	if !t.policy.IsZero() && !m.mut.spareNone && !m.mut.dropNewest {
		insist = ""
	}
	if m.mut.unasked {
		p.a = sorted(p.a + t.drop)
		if !t.policy.IsZero() {
			p.a = sorted(p.a + m.drops(p, t))
		}
	}
	own, all := p.announced, p.a
	if m.mut.restedOn {
		p.a = p.b // then nothing that stays rests on anything
	}
	p.a = m.plan(fmt.Sprint("delete", p.b, "-", all, "-", p.h, "-", insist, "-", own), func() string {
		var rounds []string
		for _, round := range m.survey(p.b, p.a, p.h).Deletable(set(insist)) {
			r := text(round, func(s catalog.Snapshot) format.Name { return s.Name })
			if r = remove(r, remove(r, all)); m.mut.ownOnly {
				r = remove(r, remove(r, own))
			}
			if r != "" {
				rounds = append(rounds, r)
			}
		}
		if m.mut.parentsFirst {
			slices.Reverse(rounds)
		}
		return strings.Join(rounds, "|")
	})
	p.h, p.wanted = "", ""
}

func firstRound(rounds string) string {
	first, _, _ := strings.Cut(rounds, "|")
	return first
}

// holds returns the snapshots that are held.
func (w *world) holds() string {
	held := ""
	for _, p := range w.procs {
		held += p.hold
	}
	return sorted(held)
}

// hold takes the next step of a process that holds a snapshot, if there is one.
func (m *model) hold(w *world, p *proc, t task) bool {
	first := func() bool { return m.troubled(t.hold, m.path(t.hold), w.announced) }
	second := func() bool { return m.troubled(t.hold, w.objects, "") }
	if m.mut.holdGoneFirst {
		first, second = second, first
	}
	late := false
	switch {
	case p.step == 0 && lacks(w.objects, t.hold):
		return false // it does not exist, or not yet
	case p.step == 0:
		p.hold = t.hold
		p.step = 1
		if m.mut.noHoldLook {
			p.kept, p.step = t.hold, finished
		}
	case p.step == 1:
		p.step = 2
		late = first()
	case p.step == 2:
		late = second()
		if !late {
			p.kept, p.step = t.hold, finished
		}
	case p.step == 3:
		p.hold, p.step = "", finished
		if m.mut.oneHold {
			for i := range w.procs {
				w.procs[i].hold = remove(w.procs[i].hold, t.hold)
			}
		}
	default:
		return false
	}
	if late {
		p.step = 3
	}
	return true
}

// troubled reports whether the real look finds that a snapshot does not stay, where others are there and announced.
func (m *model) troubled(s, there, announced string) bool {
	return m.plan("stays"+s+"-"+there+"-"+announced, func() string {
		if _, troubled := catalog.StaysIn(m.snapshots(there), set(announced), name(s))[name(s)]; troubled {
			return s
		}
		return ""
	}) != ""
}

func sorted(s string) string {
	b := []byte(s)
	slices.Sort(b)
	return string(slices.Compact(b))
}

// cases are the situations that the model runs through, those of few states first.
func cases() []*model {
	chain := map[string]string{"d": "f", "x": "d", "t": "x"}
	skip := map[string]string{"d": "f", "x": "f", "t": "x"}
	mk := func(parents map[string]string, tasks ...task) *model {
		m := &model{tasks: tasks, parents: map[string]string{}, start: "fdxt"}
		for k, v := range parents {
			m.parents[k] = v
		}
		for _, t := range tasks {
			for _, p := range t.pushes {
				m.parents[p.snap] = p.parent
			}
		}
		return m
	}
	proved := func(m *model, proved string) *model {
		m.proved = proved
		return m
	}
	push := func(snap, parent string) task { return task{pushes: []pushed{{snap, parent}}} }
	again := func(pushes ...pushed) task { return task{pushes: pushes} }
	drop := func(s string) task { return task{drop: s} }
	prune := func(p retention.Policy) task { return task{policy: p} }
	hold := func(s string) task { return task{hold: s} }
	last, hours := retention.Policy{Last: 1}, retention.Policy{Hourly: 2}
	return []*model{
		mk(chain, drop("fdxt"), push("q", "t"), push("s", "q")),
		mk(chain, drop("fdx"), push("q", "x"), push("s", "q")),
		mk(chain, drop("d"), drop("x")),
		mk(chain, drop("dx"), drop("xt"), push("q", "t")),
		mk(chain, drop("dxt"), push("q", "t"), push("s", "d")),
		mk(chain, drop("fdxt"), hold("t"), hold("x")),
		mk(chain, drop("fdxt"), hold("x"), push("q", "t")),
		mk(chain, drop("xt"), hold("q"), push("q", "x")),
		proved(mk(skip, prune(last), prune(hours), push("q", "t")), "d"),
		mk(chain, drop("q"), drop("dxt"), again(pushed{"q", "t"}, pushed{"s", "t"}, pushed{"u", "t"})),
		mk(chain, drop("xt"), drop("fd"), push("q", "d"), push("s", "t")),
		mk(skip, drop("fdxt"), drop("xt"), hold("t"), hold("t")),
		mk(skip, prune(last), prune(hours), push("q", "t"), push("s", "d")),
		mk(chain, prune(last), prune(hours), hold("x"), push("q", "d")),
		mk(skip, drop("fdxt"), drop("fdx"), push("s", "t"), push("q", "t")),
		mk(skip, drop("d"), drop("xt"), push("q", "x"), push("s", "f")),
		mk(skip, drop("fdxt"), drop("fdxtq"), push("q", "x"), push("s", "q")),
		mk(chain, drop("fdxtq"), drop("tqs"), again(pushed{"q", "t"}, pushed{"s", "q"}, pushed{"u", "s"})),
		mk(chain, drop("fdxtqs"), drop("qs"), again(pushed{"q", "t"}, pushed{"s", "t"}, pushed{"u", "d"})),
		mk(chain, drop("dxtq"), drop("xtqs"), again(pushed{"q", "t"}, pushed{"s", "x"})),
		mk(skip, drop("xtq"), drop("q"), again(pushed{"q", "t"}, pushed{"s", "t"}), push("u", "q")),
		mk(skip, drop("fdxtq"), drop("fdxtqs"), again(pushed{"q", ""}, pushed{"s", "q"}, pushed{"u", "s"})),
		mk(skip, prune(last), drop("d"), push("q", ""), push("s", "d")),
		mk(skip, prune(last), prune(last), again(pushed{"q", ""}, pushed{"s", "q"}), hold("d")),
	}
}

func TestModel(t *testing.T) {
	for i, m := range cases() {
		if lost := m.run(); lost != "" {
			t.Errorf("case %d: %s", i, lost)
		}
		t.Logf("case %d: %d states", i, len(m.seen))
	}
}

// TestModelMutations removes each rule and expects that a snapshot is lost.
func TestModelMutations(t *testing.T) {
	if race.Enabled {
		t.Skip("the model is one goroutine, and TestModel has run all of its code")
	}
	for name, mut := range map[string]mutation{
		"no look after the commit":                                 {noLook: true},
		"a look at the parent alone":                               {onlyParent: true},
		"a look that ignores what is gone":                         {ignoreGone: true},
		"a look for what is gone before announcements":             {goneFirst: true},
		"a push that claims success though it is troubled":         {heedless: true},
		"a deletion that announces nothing":                        {silent: true},
		"a deletion of what was not announced":                     {unasked: true},
		"a deletion of what others rest on that are not announced": {restedOn: true},
		"parents deleted first":                                    {parentsFirst: true},
		"a deletion of one's own announcements alone":              {ownOnly: true},
		"a policy that lets the newest go":                         {dropNewest: true},
		"a policy without regard to proofs":                        {proofless: true},
		"no second listing":                                        {noRelist: true},
		"announcements read after the listing":                     {listFirst: true},
		"announcements withdrawn too early":                        {withdraw: true},

		"a short look that does not ask for the confirmed one": {noPresence: true},
		"a short look that asks for it before announcements":   {presenceFirst: true},
		"a short look without announcements":                   {noAnnounced: true},
		"a short look that relies on one without a look":       {unconfirmed: true},

		"a hold without a look":                                       {noHoldLook: true},
		"a hold's look for what is gone before announcements":         {holdGoneFirst: true},
		"one object for all holds of a snapshot":                      {oneHold: true},
		"holds read only before the announcement":                     {holdsEarly: true},
		"holds read before announcements":                             {holdsFirst: true},
		"a policy's deletion without a second look at what is newest": {spareNone: true},
	} {
		lost := ""
		for _, m := range cases() {
			m.mut = mut
			if lost = m.run(); lost != "" {
				break
			}
		}
		if lost == "" {
			t.Errorf("%s: nothing was lost", name)
		}
		t.Logf("%s: %s", name, lost)
	}
}

// TestModelSpare removes a rule of which another makes up: what is rested on goes last, and so stays until the listing
// that shows the new one.
func TestModelSpare(t *testing.T) {
	if race.Enabled {
		t.Skip("the model is one goroutine, and TestModel has run all of its code")
	}
	for i, m := range cases() {
		if m.holds() {
			continue
		}
		m.mut = mutation{pathOnly: true}
		if lost := m.run(); lost != "" {
			t.Errorf("a short look at the path's announcements: case %d: %s", i, lost)
		}
	}
}

// TestModelOtherPath relies on a confirmed snapshot that does not rest on what the next one does.
func TestModelOtherPath(t *testing.T) {
	m := &model{
		tasks:   []task{{drop: "xt"}, {pushes: []pushed{{"q", "d"}, {"s", "x"}}}},
		parents: map[string]string{"d": "f", "x": "d", "t": "x", "q": "d", "s": "x"},
		start:   "fdxt",
	}
	if m.run() == "" {
		t.Error("nothing was lost")
	}
}
