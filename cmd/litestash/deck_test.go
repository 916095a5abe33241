package main

import "math/rand/v2"

// A deck deals its cards in random order, and each of them before any comes again: a run that goes through it once
// has met all that is rare.
type deck[T any] struct {
	rnd   *rand.Rand
	cards []T
	order []int // of those that are left, from the end
}

// add adds a card some times.
func (d *deck[T]) add(times int, card T) {
	for range times {
		d.cards = append(d.cards, card)
	}
}

func (d *deck[T]) deal() T {
	if len(d.order) == 0 {
		d.order = d.rnd.Perm(len(d.cards))
	}
	last := len(d.order) - 1
	card := d.cards[d.order[last]]
	d.order = d.order[:last]
	return card
}
