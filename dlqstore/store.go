package dlqstore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNotFound says that no dead letter has the id asked for.
var ErrNotFound = errors.New("no such dead letter")

// ErrTooNew says that the database's schema is newer than this binary knows.
var ErrTooNew = errors.New("the database's schema is newer than this relay knows")

// ErrCursor says that a page's cursor was not made by a list.
var ErrCursor = errors.New("the cursor is none that a list gave")

// StateError says that a change was refused because a dead letter is not in a state
// that allows it; somebody else may have been first.
type StateError struct {
	// ID is the dead letter that stands in the way: the one that was to change or,
	// on a restore, its original or an edited copy of it.
	ID    string
	State State  // where it stands now
	Actor string // who brought it there; empty when relay did
	At    time.Time
}

// Error tells the state, since when, and by whom.
func (e *StateError) Error() string {
	return stands("dead letter "+e.ID, string(e.State), e.Actor, e.At)
}

func stands(what, state, actor string, at time.Time) string {
	by := ""
	if actor != "" {
		by = fmt.Sprintf(" by %q", actor)
	}
	return fmt.Sprintf("%s is %s since %s%s", what, state, at.UTC().Format(time.RFC3339), by)
}

// Actor is who asked for a change, for the audit.
type Actor struct {
	Name   string // of the user; "anonymous" where there is no authentication
	Source string // remote address or "cli"
}

// MaxCount is up to where Count counts.
const MaxCount = 10_000

// Filter chooses dead letters. Zero fields choose all; an empty list of ids, none.
type Filter struct {
	IDs         []string  `json:"ids,omitzero"`
	Route       string    `json:"route,omitempty"`
	Subject     string    `json:"subject,omitempty"` // NATS wildcards allowed
	Reason      Reason    `json:"reason,omitempty"`
	Status      int       `json:"status,omitempty"`
	State       State     `json:"state,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"`  // that of a Group
	MinAttempts int       `json:"min_attempts,omitempty"` // so many attempts or more
	Query       string    `json:"q,omitempty"`            // the id, or text in subject or error in any case, or bytes in the payload
	Since       time.Time `json:"since,omitzero"`         // failed at this time or later
	Until       time.Time `json:"until,omitzero"`         // failed before this time
}

// Page asks for one page of a list.
type Page struct {
	Limit  int    // at most 500; 0: 50
	Cursor string // Next of the page before; empty: the first page
	// Brief leaves payload, headers, response and attempts out of a list of dead letters:
	// a table shows none of them, and they are most of what there is to read.
	Brief bool
}

// List is one page of dead letters. It may hold fewer than the limit when payloads
// are large; only Next tells whether there are more.
type List struct {
	DeadLetters []DeadLetter
	Next        string // cursor of the next page; empty: this was the last
	// SearchedTo is set when a search, for text, many attempts or a wide pattern of
	// subjects, did not look at failures from before that time. The next page goes on
	// from there.
	SearchedTo time.Time
}

// Edit is the payload and the headers that a replay sends in place of the original's.
type Edit struct {
	Payload []byte
	Headers map[string][]string
}

// Store holds the projection of the dead-letter stream, and what people did to it.
// All methods are safe for concurrent use. An error that is none of the sentinels
// means that the database could not be used.
type Store interface {
	// Migrate brings the schema to the version that this binary knows. Several
	// processes may call it at once; one does the work. Errors: ErrTooNew.
	Migrate(ctx context.Context) error
	// Schema says at which version the database is. It changes nothing.
	Schema(ctx context.Context) (Schema, error)

	// Project upserts dead letters and attempts in one transaction; the same input
	// any number of times, in any order, leaves the same rows. What the database
	// refuses is quarantined and does not fail the rest.
	Project(ctx context.Context, batch Batch) error

	// List returns a page of the dead letters that the filter chooses, by the time
	// of their failure. Errors: ErrCursor.
	List(ctx context.Context, f Filter, p Page) (List, error)
	// Get returns one dead letter with its attempts, or ErrNotFound.
	Get(ctx context.Context, id string) (DeadLetter, error)
	// Count returns how many dead letters the filter chooses, at most MaxCount+1.
	// Where List would search, it tells how many there are among the newest that a search
	// looks at.
	Count(ctx context.Context, f Filter) (int, error)
	// Groups returns the dead letters that the filter chooses by cause and route, the
	// largest groups first, at most limit: 50 when it is 0, never more than 500.
	Groups(ctx context.Context, f Filter, limit int) ([]Group, error)
	// GroupHours returns how many dead letters of each of the groups failed in each of
	// the 24 hours up to that of now, the oldest first: those in the state, or in any
	// when it is empty.
	GroupHours(ctx context.Context, groups []Group, state State, now time.Time) ([][Hours]int, error)

	// StartReplay moves a dead letter from dead to replaying, records the audit row
	// in the same transaction and returns what is to be sent. With edit set, that is
	// an edited copy under an id of its own, and the dead letter itself is discarded,
	// so that only one of both ever goes out. Errors: ErrNotFound, *StateError.
	StartReplay(ctx context.Context, id string, edit *Edit, by Actor) (Replay, error)
	// PendingReplays returns replays that were started and not yet marked sent,
	// oldest first, at most limit, and fewer when their payloads are large.
	PendingReplays(ctx context.Context, limit int) ([]Replay, error)
	// MarkReplaySent records that the replay lane holds the replays. It is a no-op for
	// those of which a later replay has been started.
	MarkReplaySent(ctx context.Context, replays ...Replay) error

	// OverdueReplays returns the routes that have replays which the lane took before
	// that time and whose outcome is not known.
	OverdueReplays(ctx context.Context, sentBefore time.Time) ([]string, error)
	// ResendReplays makes those of a route pending again, under the next number. It is
	// for replays that the lane has lost. It returns how many there were.
	ResendReplays(ctx context.Context, route string, sentBefore time.Time) (int, error)

	// Discard moves a dead letter from dead to discarded. Errors: ErrNotFound,
	// *StateError.
	Discard(ctx context.Context, id, reason string, by Actor) error
	// Restore moves a dead letter from discarded back to dead, unless an edited copy
	// of it, or what it is a copy of, is not discarded. Errors: ErrNotFound,
	// *StateError.
	Restore(ctx context.Context, id string, by Actor) error

	// CountChange returns how many dead letters a change is about.
	CountChange(ctx context.Context, c Change) (int, error)
	// Change discards or restores what the filter chooses now, each with its row in the
	// audit, in one transaction. It returns how many; MaxChange: there may be more.
	Change(ctx context.Context, c Change, by Actor) (int, error)

	// Import adds dead letters of another relay, as dead, each with its row in the
	// audit. Those that are there already stay as they are. It returns how many it
	// added. Errors: *UnfitError, and then nothing was added.
	Import(ctx context.Context, letters []DeadLetter, by Actor) (int, error)
	// Rebuild projects what a dead-letter stream holds, and returns how many dead
	// letters the table did not have. Those that the audit knows as delivered or
	// discarded come back as that. A dry run only counts.
	Rebuild(ctx context.Context, batch Batch, dryRun bool, by Actor) (int, error)

	// CountReplay returns how many dead letters a job of that spec would hold.
	CountReplay(ctx context.Context, spec JobSpec) (int, error)
	// StartJob writes down what the filter chooses now and starts to replay it. One
	// that holds nothing is done at once.
	StartJob(ctx context.Context, spec JobSpec, by Actor) (Job, error)
	// Job returns one replay job, or ErrNoJob.
	Job(ctx context.Context, id string) (Job, error)
	// Jobs returns the newest jobs, at most limit. Queued is not told.
	Jobs(ctx context.Context, limit int) ([]Job, error)
	// ChangeJob pauses, resumes (to JobRunning) or cancels a job; one that is in that
	// state already stays as it is. Errors: ErrNoJob, *JobStateError.
	ChangeJob(ctx context.Context, id string, to JobState, by Actor) (Job, error)
	// ChangeJobRate gives a running or paused job another rate, 0 for none; what is in
	// flight goes on. Errors: ErrNoJob, *JobStateError.
	ChangeJobRate(ctx context.Context, id string, perSecond float64, by Actor) (Job, error)
	// JobItems returns a page of what a job holds, in the order in which it is replayed.
	// An empty state chooses all. Errors: ErrNoJob, ErrCursor.
	JobItems(ctx context.Context, id string, state ItemState, p Page) (JobItemList, error)
	// AdvanceJobs counts what became of the replays that jobs have started, and starts
	// those that are due. It returns when to call it again, or 0 when there is no
	// unfinished job. Several processes may call it at any time.
	AdvanceJobs(ctx context.Context) (time.Duration, error)

	// Audit returns a page of the audit, newest first. Errors: ErrCursor.
	Audit(ctx context.Context, f AuditFilter, p Page) (AuditList, error)

	// Prune deletes, in batches, what was kept for long enough: dead letters by their
	// retention; after 30 days also those that were delivered or discarded, attempts of
	// deliveries without a dead letter, and finished replay jobs. It returns how many rows
	// of those it deleted, with an error too.
	Prune(ctx context.Context, keep Retention, now time.Time) (int, error)

	// Ping says whether the database answers and has the tables that relay needs.
	Ping(ctx context.Context) error
	// Close gives back what Open took.
	Close()
}

// Schema tells the version of a database's schema.
type Schema struct {
	Current int64 // of the database; 0: none of relay's tables are there
	Known   int64 // the newest that this binary knows
}

// Batch is what the projector read from the streams since its last commit.
type Batch struct {
	DeadLetters []Record
	// Attempts are attempt events. One of a replay with the verdict ack or drop ends
	// that replay: its dead letter becomes delivered.
	Attempts []Attempt
	// Unreadable are messages that could not be decoded; they are quarantined.
	Unreadable []Unreadable
}

// Unreadable is a message of a dead-letter or attempts stream that relay cannot read;
// most likely somebody else published it there.
type Unreadable struct {
	Stream   string
	Sequence uint64
	Subject  string
	Headers  map[string][]string
	Data     []byte
	Reason   string // why it cannot be read
}

// Record is a dead letter as the stream holds it: one death. Replay says of which
// life: 0 the first, n the nth replay.
type Record struct {
	DeadLetter
	Replay int
	// Reference says that the payload and the headers were too large for the stream
	// and were projected before it was published; the record carries neither.
	Reference bool
}

// Replay is one replay of a dead letter, ready for the replay lane.
type Replay struct {
	DeadLetter     // what is sent; of an edited replay, the copy
	Number     int // counted from 1
}
