package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
	"relay/dlqstore"
	"relay/internal/natsconn"
	"relay/routes"
)

// Versions of nats-server: below the first consumers have no several filters and no
// metadata, below the second nobody can pause them.
const (
	natsNeeded = "2.10.0"
	natsWanted = "2.11.0"
)

// nearlyFull is the share of a limit above which something is said.
const nearlyFull = 0.8

// lookAtNATS looks at the servers and at all that the routes file needs there.
func (d *doctor) lookAtNATS(ctx context.Context, o natsconn.Options) {
	refused := make(chan string, 64)
	o.OnPermissionError = func(subject string) {
		select {
		case refused <- subject:
		default: // there are enough to name
		}
	}
	conn, err := natsconn.Connect(ctx, o)
	if err != nil {
		d.fail("nats", "give the right --nats, --nats-context or --nats-creds, or start the server", "%v", err)
		return
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		d.fail("nats", "", "use JetStream: %v", err)
		return
	}
	d.server(ctx, conn)
	if !d.permissions(ctx, &live{conn: conn, js: js, config: d.config}, refused) || !d.account(ctx, js) {
		return // what comes would not be answered
	}
	d.syncInterval(ctx)
	if err := d.streams(ctx, js); err != nil {
		d.fail("streams", "look at the NATS server's log", "%v", err)
		return
	}
	d.projection(ctx, js)
	d.hosts(ctx)
}

func (d *doctor) server(ctx context.Context, conn *nats.Conn) {
	version := conn.ConnectedServerVersion()
	text := fmt.Sprintf("nats-server %s at %s", version, natsconn.Redact(conn.ConnectedUrl()))
	if rtt, err := conn.RTT(); err == nil && ctx.Err() == nil {
		text += fmt.Sprintf(", %s away", rtt.Round(10*time.Microsecond))
	}
	switch {
	case older(version, natsNeeded):
		d.fail("nats", "upgrade it to "+natsWanted+" or later", "%s; relay needs %s", text, natsNeeded)
	case older(version, natsWanted):
		d.warn("nats", "upgrade it to "+natsWanted+" or later", "%s; routes cannot be paused", text)
	default:
		d.ok("nats", "%s", text)
	}
}

// older compares versions by their numbers.
func older(version, than string) bool {
	numbers := func(s string) (n [3]int) {
		_, _ = fmt.Sscanf(s, "%d.%d.%d", &n[0], &n[1], &n[2]) // what cannot be read counts as 0
		return n
	}
	a, b := numbers(version), numbers(than)
	return slices.Compare(a[:], b[:]) < 0
}

// permissions compares what the user may with what the routes need, and then tries what
// changes nothing. It says whether relay can work.
func (d *doctor) permissions(ctx context.Context, l *live, refused <-chan string) bool {
	const mend = "relay doctor --nats-permissions prints what to allow"
	l.checkPermissions(ctx)
	d.problems("permission", mend, l.problems)
	select {
	case <-refused: // to ask for the user's permissions, which was just said
	default:
	}
	tried := 0
	for _, subject := range dispatcher.Needs(l.config, natsInbox).Publish {
		if !readOnly(subject) {
			continue
		}
		tried++
		if err := ask(ctx, l.conn, strings.ReplaceAll(subject, "*", d.config.Routes[0].Stream), refused); err != nil {
			d.fail("permission", mend, "%v", err)
			return false
		}
	}
	if len(l.problems) == 0 {
		d.ok("permission", "the NATS user may do what these routes need; %d calls that change nothing were tried", tried)
	}
	return !l.failed()
}

// readOnly says whether an empty request on the subject only asks something.
func readOnly(subject string) bool {
	return subject == "$JS.API.INFO" || strings.HasPrefix(subject, "$JS.API.STREAM.LIST") ||
		strings.HasPrefix(subject, "$JS.API.CONSUMER.LIST.") || strings.Contains(subject, ".INFO.")
}

// ask makes one call. Any answer will do; a refusal comes beside it, to the connection.
func ask(ctx context.Context, conn *nats.Conn, subject string, refused <-chan string) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	answered := make(chan error, 1)
	go func() {
		_, err := conn.RequestWithContext(ctx, subject, nil)
		answered <- err
	}()
	select {
	case err := <-answered:
		if err != nil && !errors.Is(err, nats.ErrNoResponders) {
			return fmt.Errorf("%s is not answered: %w", subject, err)
		}
		return nil
	case denied := <-refused:
		cancel()
		<-answered //nolint:errcheck // the refusal says more
		return fmt.Errorf("the server refused %s", denied)
	}
}

// account looks at JetStream itself.
func (d *doctor) account(ctx context.Context, js jetstream.JetStream) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	info, err := js.AccountInfo(ctx)
	if err != nil {
		d.fail("jetstream", "jetstream { store_dir: … } in nats-server.conf, and jetstream: enabled for the account", "JetStream cannot be used: %v", err)
		return false
	}
	if most := info.Limits.MaxStore; most > 0 && float64(info.Store) > nearlyFull*float64(most) {
		d.warn("jetstream", "raise the account's limit, or let streams keep less", "%d of %d bytes of the account's storage are used", info.Store, most)
	} else {
		d.ok("jetstream", "JetStream is on: %s, %d bytes", counted(info.Streams, "stream"), info.Store)
	}
	return true
}

// syncInterval reads when the server's files reach the disk, which no client of it is
// told: only the monitoring port does.
func (d *doctor) syncInterval(ctx context.Context) {
	const mend = "jetstream { sync_interval: always } in nats-server.conf, or three replicas on machines that do not fail together"
	if d.monitor == "" {
		d.warn("sync", "give --nats-monitor http://HOST:8222, or read sync_interval in nats-server.conf",
			"when the server's files reach the disk is not known; by default it is every 2 minutes")
		return
	}
	var jsz struct {
		Config struct {
			SyncInterval time.Duration `json:"sync_interval"`
			SyncAlways   bool          `json:"sync_always"`
		} `json:"config"`
	}
	switch err := getJSON(ctx, strings.TrimSuffix(d.monitor, "/")+"/jsz", &jsz); {
	case err != nil:
		d.warn("sync", "--nats-monitor is the URL of the server's http: or monitor_port: address", "%v", err)
	case jsz.Config.SyncAlways:
		d.ok("sync", "sync_interval: always, each message is on the disk before its publisher is told")
	default:
		d.warn("sync", mend, "sync_interval is %s: a crash of the machine loses what came since", jsz.Config.SyncInterval)
	}
}

func getJSON(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(into); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}

// streams looks at the file against the servers, and at each stream that it names or
// needs.
func (d *doctor) streams(ctx context.Context, js jetstream.JetStream) error {
	streams, err := serverStreams(ctx, js)
	if err != nil {
		return err
	}
	if d.path != "-" { // which was read, and is gone
		c, err := routes.Load([]string{d.path}, routes.Options{CheckFilter: dispatcher.CheckFilter, Streams: streams, Secrets: true})
		var problems routes.Problems
		if err != nil && !errors.As(err, &problems) {
			return err
		}
		if err == nil {
			problems = c.Warnings
		}
		d.problems("routes", "mend the file; relay validate --live shows the place", problems)
	}
	plan, err := dispatcher.NewPlan(ctx, js, d.config)
	if err != nil {
		return err
	}
	d.plan(plan)
	var names []string
	for _, r := range d.config.Routes {
		names = append(names, r.Stream)
	}
	routed := len(names)
	for _, s := range plan.Steps {
		names = append(names, s.Stream)
	}
	most, clock := 0, false
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			continue
		}
		before := time.Now()
		stream, err := js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue // the plan says so
		}
		if err != nil {
			return fmt.Errorf("look at stream %q: %w", name, err)
		}
		info := stream.CachedInfo()
		if !clock && !info.TimeStamp.IsZero() {
			d.skew("the NATS server", before, info.TimeStamp, time.Now())
			clock = true
		}
		if i < routed {
			most = max(most, info.Config.Replicas)
		}
		d.stream(info, most)
	}
	return nil
}

// plan tells what running the file would do, or not do.
func (d *doctor) plan(plan *dispatcher.Plan) {
	changes, refused := 0, false
	for _, s := range plan.Steps {
		switch s.Action {
		case dispatcher.Refuse:
			refused = true
			d.fail("routes", "", "%s%s: %s", s.Target(), ofRoute(s.Route), s.Note)
		case dispatcher.Recreate:
			d.warn("routes", "relay run --allow-recreate, or put the file back", "%s%s would have to be made anew", s.Target(), ofRoute(s.Route))
		case dispatcher.Create, dispatcher.Update:
			changes++
		case dispatcher.Leave:
		}
	}
	if !refused {
		d.ok("routes", "%s; %d streams or consumers would be made or changed, see relay plan", counted(len(d.config.Routes), "route"), changes)
	}
	for _, o := range plan.Orphans {
		d.warn("orphans", "relay plan --prune removes it, with what it has not delivered",
			"consumer %q of stream %q is left of route %q, which has gone: %d pending", o.Consumer, o.Stream, o.Route, o.NumPending)
	}
}

// stream tells what is risky about one stream. most is how many replicas a routed stream
// has.
func (d *doctor) stream(info *jetstream.StreamInfo, most int) {
	c, before := info.Config, len(d.findings)
	dead := slices.Contains(deadLetterStreams(d.config), c.Name)
	warn := func(mend, format string, args ...any) {
		d.warn("stream", mend, "%s: "+format, append([]any{c.Name}, args...)...)
	}
	if c.Storage == jetstream.MemoryStorage {
		warn("make it anew with storage: file; JetStream cannot change it", "it is kept in memory: a restart of the server loses it")
	}
	switch {
	case c.Replicas < most:
		warn(fmt.Sprintf("nats stream edit %s --replicas %d", c.Name, most), "%s, and a routed stream has %d", counted(c.Replicas, "replica"), most)
	case c.Replicas < 2:
		warn("replicas: 3 on a cluster of three machines, or a backup of the disk", "one replica: it is lost with its disk")
	}
	if info.Cluster != nil {
		for _, peer := range info.Cluster.Replicas {
			if peer.Offline || !peer.Current {
				warn("bring it back; nats stream report shows when it has caught up", "its replica on %s is away or behind", peer.Name)
			}
		}
	}
	for _, limit := range []struct {
		what      string
		used, max float64
	}{{"bytes", float64(info.State.Bytes), float64(c.MaxBytes)}, {"messages", float64(info.State.Msgs), float64(c.MaxMsgs)}} {
		if limit.max > 0 && limit.used > nearlyFull*limit.max && (dead || c.Discard == jetstream.DiscardNew || c.Retention == jetstream.LimitsPolicy) {
			warn("nats stream edit "+c.Name+" raises it", "%.0f of at most %.0f %s", limit.used, limit.max, limit.what)
		}
	}
	if dead && c.Discard != jetstream.DiscardNew {
		warn("nats stream edit "+c.Name+" --discard new: then it pushes back", "when it is full it throws dead letters away")
	}
	if dead && c.Duplicates < min(24*time.Hour, max(c.MaxAge, time.Hour)) {
		warn("nats stream edit "+c.Name+" --dupe-window 24h", "it knows a dead letter again for %s only, so that one may stand in it twice", c.Duplicates)
	}
	if len(d.findings) == before {
		age := "without end"
		if c.MaxAge > 0 {
			age = "for " + c.MaxAge.String()
		}
		d.ok("stream", "%s: %s, %s, %d messages, kept %s", c.Name, strings.ToLower(c.Storage.String()), counted(c.Replicas, "replica"), info.State.Msgs, age)
	}
}

// projection tells how far the database is behind the streams, and whether anybody
// carries.
func (d *doctor) projection(ctx context.Context, js jetstream.JetStream) {
	var lag uint64
	readers, found := 0, false
	names := append(deadLetterStreams(d.config), dlqstore.AttemptsStream)
	for _, name := range names {
		c, err := js.Consumer(ctx, name, dlqstore.ProjectorConsumer)
		if err != nil {
			continue // no relay has run yet
		}
		found = true
		info := c.CachedInfo()
		lag += info.NumPending + uint64(max(info.NumAckPending, 0))
		readers += info.NumWaiting
	}
	switch {
	case !found:
		d.ok("projection", "no relay has carried dead letters into a database yet")
	case lag > 0 && readers == 0:
		d.warn("projection", "start relay run; it catches up by itself", "%d dead letters and attempts are not in the database, and no relay is carrying them", lag)
	case lag > 1000:
		d.warn("projection", "look for \"projection waits\" in relay's log, and at the database", "%d dead letters and attempts are not in the database yet", lag)
	default:
		d.ok("projection", "%d dead letters and attempts wait for the database", lag)
	}
}

// hosts resolves the webhooks' names.
func (d *doctor) hosts(ctx context.Context) {
	l := &live{config: d.config}
	l.checkNames(ctx)
	d.problems("webhooks", "the URL of the webhook, or the name server", l.problems)
	if len(l.problems) == 0 {
		d.ok("webhooks", "the hosts of all webhooks have addresses")
	}
}
