package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"relay/dispatcher"
	"relay/routes"
)

func doctorCommand() *cobra.Command {
	var d doctor
	var format string
	var printPermissions bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong or risky around a routes file: NATS, streams, permissions, database, clocks",
		Long: "Look at the NATS servers, the streams and consumers, the permissions of the NATS user, the database and the clocks,\n" +
			"and say of each whether it is well and, if not, how to mend it. Nothing is changed, and relay need not run.\n" +
			"Exit code: 0 nothing is wrong (there may be warnings), 1 something is, 2 it was called wrongly.",
		Example: "  relay doctor --routes routes.yaml --nats nats://nats:4222 --database postgres://relay@db/relay\n" +
			"  relay doctor --routes routes.yaml --nats-permissions",
		Args: cobra.NoArgs,
	}
	nats := natsFlags(cmd)
	f := cmd.Flags()
	routesFlag(f, &d.path)
	databaseFlag(f, &d.database)
	f.StringVar(&d.monitor, "nats-monitor", "", "URL of the NATS server's monitoring port, as in http://nats:8222, which tells sync_interval")
	f.StringVar(&format, "format", "text", "text or json")
	f.BoolVar(&printPermissions, "nats-permissions", false, "print the least that the NATS user has to be permitted for these routes, and look at nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		err := oneOf("--format", format, "text", "json")
		if err != nil {
			return err
		}
		if d.config, err = namedRoutes(cmd, d.path); err != nil {
			return err
		}
		if printPermissions {
			return writePermissions(cmd.OutOrStdout(), format, dispatcher.Needs(d.config, natsInbox))
		}
		d.lookAtNATS(cmd.Context(), *nats)
		d.lookAtDatabase(cmd.Context())
		if err := d.write(cmd.OutOrStdout(), format); err != nil {
			return unusable(err)
		}
		if d.worst() == levelFail {
			return wrong(nil)
		}
		return nil
	}
	return cmd
}

// natsInbox is where NATS clients take their answers.
const natsInbox = "_INBOX.>"

// level says how a finding stands.
type level string

const (
	levelOK   level = "ok"
	levelWarn level = "warn" // it runs, and something may be lost or come late
	levelFail level = "fail" // it does not run
)

// finding is one thing that doctor looked at.
type finding struct {
	Check string `json:"check"`
	Level level  `json:"level"`
	Text  string `json:"text"`
	Mend  string `json:"mend,omitempty"` // how; of what is well it is empty
}

// doctor gathers findings.
type doctor struct {
	path     string
	database string
	monitor  string
	config   *routes.Config
	findings []finding
}

// Thresholds of the clocks: receivers refuse signatures that are five minutes off.
const (
	skewWarns = 5 * time.Second
	skewFails = time.Minute
)

func (d *doctor) ok(check, format string, args ...any) {
	d.findings = append(d.findings, finding{Check: check, Level: levelOK, Text: fmt.Sprintf(format, args...)})
}

func (d *doctor) warn(check, mend, format string, args ...any) {
	d.findings = append(d.findings, finding{check, levelWarn, fmt.Sprintf(format, args...), mend})
}

func (d *doctor) fail(check, mend, format string, args ...any) {
	d.findings = append(d.findings, finding{check, levelFail, fmt.Sprintf(format, args...), mend})
}

// problems takes over what a check of the file against the servers said.
func (d *doctor) problems(check, mend string, list routes.Problems) {
	for _, p := range list {
		if p.Warning {
			d.warn(check, mend, "%s", strings.Replace(p.String(), "warning: ", "", 1))
		} else {
			d.fail(check, mend, "%s", p)
		}
	}
}

// skew judges a clock that showed theirs between two moments of this machine's.
func (d *doctor) skew(whose string, before, theirs, after time.Time) {
	var off time.Duration
	switch {
	case theirs.Before(before):
		off = before.Sub(theirs)
	case theirs.After(after):
		off = theirs.Sub(after)
	}
	const mend = "let all machines keep their time by NTP; receivers refuse signatures that are five minutes old"
	switch off = off.Round(time.Millisecond); {
	case off >= skewFails:
		d.fail("clock", mend, "the clock of %s and this machine's are %s apart", whose, off)
	case off >= skewWarns:
		d.warn("clock", mend, "the clock of %s and this machine's are %s apart", whose, off)
	default:
		d.ok("clock", "the clock of %s agrees with this machine's", whose)
	}
}

func (d *doctor) worst() level {
	worst := levelOK
	for _, f := range d.findings {
		if f.Level == levelFail || f.Level == levelWarn && worst == levelOK {
			worst = f.Level
		}
	}
	return worst
}

func (d *doctor) write(w io.Writer, format string) error {
	if format == "json" {
		return writeJSON(w, struct {
			Level  level     `json:"level"`
			Checks []finding `json:"checks"`
		}{d.worst(), d.findings})
	}
	count := map[level]int{}
	for _, f := range d.findings {
		count[f.Level]++
		fmt.Fprintf(w, "%-4s  %-11s  %s\n", f.Level, f.Check, printable(f.Text))
		if f.Mend != "" {
			fmt.Fprintf(w, "                   → %s\n", f.Mend)
		}
	}
	_, err := fmt.Fprintf(w, "\n%d ok, %s, %d failed\n", count[levelOK], counted(count[levelWarn], "warning"), count[levelFail])
	return err
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// writePermissions writes them as a user of nats-server's configuration has them.
func writePermissions(w io.Writer, format string, p dispatcher.Permissions) error {
	type list struct {
		Allow []string `json:"allow"`
	}
	if format == "json" {
		return writeJSON(w, struct {
			Publish   list `json:"publish"`
			Subscribe list `json:"subscribe"`
		}{list{p.Publish}, list{p.Subscribe}})
	}
	fmt.Fprint(w, "# The least that relay needs for these routes, for a user of nats-server.conf:\n"+
		"#   users: [ { user: relay, password: $RELAY_PASSWORD, permissions: { … } } ]\npermissions: {\n")
	for _, side := range []struct {
		name  string
		allow []string
	}{{"publish", p.Publish}, {"subscribe", p.Subscribe}} {
		fmt.Fprintf(w, "  %s: {\n    allow: [\n", side.name)
		for _, subject := range side.allow {
			fmt.Fprintf(w, "      %q\n", subject)
		}
		fmt.Fprint(w, "    ]\n  }\n")
	}
	_, err := fmt.Fprintln(w, "}")
	return err
}
