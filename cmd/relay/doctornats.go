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
	"relay/internal/natsconn"
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
	if !d.permissions(ctx, &live{js: js, config: d.config}, refused) || !d.account(ctx, js) {
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
		if err := ask(ctx, l.js.Conn(), strings.ReplaceAll(subject, "*", d.config.Routes[0].Stream), refused); err != nil {
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
	resp, err := look(ctx, url)
	if err != nil {
		return err
	}
	if resp.status != http.StatusOK {
		return fmt.Errorf("%s answered %d %s", resp.from, resp.status, http.StatusText(resp.status))
	}
	if err := json.Unmarshal(resp.body, into); err != nil {
		return fmt.Errorf("%s: %w", resp.from, err)
	}
	return nil
}

// looked is an answer to a look; from is its URL without a password.
type looked struct {
	from   string
	status int
	body   []byte // the first MiB
}

func look(ctx context.Context, url string) (looked, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return looked{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return looked{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return looked{req.URL.Redacted(), resp.StatusCode, body}, err
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
