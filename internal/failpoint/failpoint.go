// Package failpoint names the moments at which a crash has to be harmless, and
// lets a test end the process at one of them. The points cost nothing and do
// nothing unless the program is built with the tag failpoints.
//
// Everything may import it; it imports nothing of relay.
package failpoint

// Env names the environment variable that arms one point: NAME, or NAME:N to
// end the process when the point is reached for the Nth time.
const Env = "RELAY_FAILPOINT"

// The points, in the order in which a message that dies and is replayed passes
// them.
const (
	Answered  = "answered"  // the receiver answered, nothing is decided
	Parked    = "parked"    // the dead letter has its PubAck, the source is not settled
	Termed    = "termed"    // the source of a dead letter is settled
	Settled   = "settled"   // the source of any message is settled, nothing is counted
	Projected = "projected" // the rows are written, not committed
	Committed = "committed" // the rows are committed, the stream's messages are not acked
	Offered   = "offered"   // a replay is in the replay stream, the table does not say so
	Replayed  = "replayed"  // a replay was delivered, its result is not published
	Recorded  = "recorded"  // a replay's result is in the table, its message is not acked
)
