package dlqstore

import (
	"context"
	"fmt"
	"strconv"
)

// ItemState is what became of one of the dead letters that a replay job holds.
type ItemState string

// The states of an item.
const (
	ItemPending   ItemState = "pending" // its turn has not come
	ItemSent      ItemState = "sent"    // started, outcome not known yet
	ItemDelivered ItemState = "delivered"
	ItemFailed    ItemState = "failed"  // died again
	ItemSkipped   ItemState = "skipped" // no longer dead when its turn came
)

// ItemStates returns all states of an item.
func ItemStates() []ItemState {
	return []ItemState{ItemPending, ItemSent, ItemDelivered, ItemFailed, ItemSkipped}
}

// JobItem is one dead letter of a replay job.
type JobItem struct {
	Position     int // in the job, counted from 1
	State        ItemState
	DeadLetterID string
	Replay       int // which replay of the dead letter it was; 0: none yet
	// Route, OriginalSubject, and Error are the dead letter's as it stands now; empty
	// when it was pruned.
	Route           string
	OriginalSubject string
	Error           string
}

// JobItemList is one page of what a job holds.
type JobItemList struct {
	Items []JobItem
	Next  string // cursor of the next page; empty: this was the last
}

func (s *store) JobItems(ctx context.Context, id string, state ItemState, p Page) (JobItemList, error) {
	job, err := s.Job(ctx, id)
	if err != nil {
		return JobItemList{}, err
	}
	w := &conditions{}
	w.add(`job = ` + w.arg(job.number))
	if state != "" {
		w.add(`i.state = ` + w.arg(string(state)))
	}
	if p.Cursor != "" {
		after, err := strconv.ParseInt(p.Cursor, 10, 32)
		if err != nil {
			return JobItemList{}, ErrCursor
		}
		w.add(`position > ` + w.arg(after))
	}
	limit := p.limit()
	//nolint:gosec // constants and the numbers of parameters
	query := `SELECT position, i.state, dead_letter_id, replay, coalesce(route, ''), coalesce(original_subject, ''), coalesce(error, '')
		FROM replay_items AS i LEFT JOIN dead_letters AS d ON d.id = dead_letter_id` + w.sql() +
		` ORDER BY position LIMIT ` + strconv.Itoa(limit+1)
	rows, err := s.read.QueryContext(ctx, query, w.args...)
	items, err := collect(rows, err, func(s scanner) (i JobItem, err error) {
		err = s.Scan(&i.Position, &i.State, &i.DeadLetterID, &i.Replay, &i.Route, &i.OriginalSubject, &i.Error)
		return i, err
	})
	if err != nil {
		return JobItemList{}, fmt.Errorf("list the items of replay job %q: %w", id, err)
	}
	list := JobItemList{Items: items}
	if len(items) > limit {
		list.Items, list.Next = items[:limit], strconv.Itoa(items[limit-1].Position)
	}
	return list, nil
}
