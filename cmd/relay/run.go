package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"relay/admin"
	"relay/dispatcher"
	"relay/routes"
)

func runCommand() *cobra.Command {
	var s settings
	var routesPath string
	var watch bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Deliver what the routes file says",
		Example: "  relay run --routes routes.yaml --nats nats://nats:4222 --database postgres://relay@db/relay\n" +
			"  relay run --routes routes.yaml --embedded --data /var/lib/relay",
		Args: cobra.NoArgs,
	}
	nats := natsFlags(cmd)
	f := cmd.Flags()
	routesFlag(f, &routesPath)
	databaseFlag(f, &s.database)
	serverFlags(cmd, &s, "text")
	f.BoolVar(&s.embedded, "embedded", false, "run NATS with JetStream inside this process, and SQLite; needs --data")
	f.BoolVar(&s.noMigrate, "no-migrate", false, "leave the database's schema as it is (see relay migrate)")
	f.BoolVar(&watch, "watch", false, "put the routes file in force by itself when it changes; SIGHUP and POST /api/v1/reload do it on demand")
	f.BoolVar(&s.allowRecreate, "allow-recreate", false, "let consumers be deleted and created anew, position kept, when nothing less does (see relay plan)")
	f.DurationVar(&s.drain, "drain", 25*time.Second, "how long attempts under way may go on after SIGTERM")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		s.nats = *nats
		if err := checkRun(cmd, routesPath, s); err != nil {
			return unusable(err)
		}
		s.reload.load = func() (*routes.Config, error) {
			return routes.Load([]string{routesPath}, routes.Options{Secrets: true, CheckFilter: dispatcher.CheckFilter})
		}
		if s.config, err = loadRoutes(s.reload.load, cmd.ErrOrStderr()); err != nil {
			return err
		}
		s.reload.hangup = make(chan os.Signal, 1) // from now on: it ends no relay that waits for NATS
		signal.Notify(s.reload.hangup, syscall.SIGHUP)
		defer signal.Stop(s.reload.hangup)
		if watch {
			s.reload.watch = routesPath
		}
		if s.log, err = newLogger(cmd.ErrOrStderr(), s.logging); err != nil {
			return unusable(err)
		}
		if err := listenAdmin(cmd, &s); err != nil {
			return unusable(err)
		}
		return serve(cmd.Context(), s)
	}
	return cmd
}

// serverFlags are the flags that run and dev have in common.
func serverFlags(cmd *cobra.Command, s *settings, logFormat string) {
	f := cmd.Flags()
	f.StringVar(&s.data, "data", "", "folder for the embedded NATS and SQLite")
	f.IntVar(&s.natsPort, "nats-port", 4222, "port of the embedded NATS on 127.0.0.1; -1 picks a free one and prints it")
	f.StringVar(&s.adminAddr, "admin", "127.0.0.1:8080", "address of the admin page and API [RELAY_ADMIN_ADDR]")
	f.StringVar(&s.basePath, "admin-base-path", "", "path under which a proxy has the admin page, as in /relay")
	f.BoolVar(&s.allowRemote, "admin-insecure", false, "serve the admin page on an address other than loopback without authentication")
	f.StringVar(&s.authOptions.UsersFile, "admin-users", "", "file of who may log in, a line NAME:HASH:ROLE each; the hash is bcrypt, as htpasswd -B makes it, the role viewer, operator or editor")
	f.StringVar(&s.authOptions.TokensFile, "admin-tokens", "", "file of bearer tokens, a line NAME:HASH:ROLE each; the hash is the token's SHA-256 in hex")
	f.StringVar(&s.authOptions.TrustedHeader, "admin-trusted-header", "", "header in which a trusted proxy names the user")
	f.StringSliceVar(&s.authOptions.TrustedProxies, "admin-trusted-proxies", nil, "addresses and CIDRs of proxies whose X-Forwarded-For, X-Forwarded-Proto and --admin-trusted-header are believed")
	f.Uint64Var(&s.health.Pending, "health-pending", admin.DefaultPending, "messages pending above which /health calls a consumer unhealthy")
	f.Float64Var(&s.health.AckPendingShare, "health-ack-pending", admin.DefaultAckPendingShare, "share of consumer.max_ack_pending, up to 1, above which it does")
	f.Float64Var(&s.health.RedeliveryRate, "health-redelivered", admin.DefaultRedeliveryRate, "share of redelivered ones among the messages pending ack, up to 1, above which it does")
	f.Int64Var(&s.maxInFlight, "max-in-flight-bytes", dispatcher.DefaultMaxInFlightBytes, "bytes of messages in hand at once, over all routes")
	f.StringVar(&s.logging.format, "log-format", logFormat, "text, json or compact")
	f.StringVar(&s.logging.level, "log-level", "info", "debug, info, warn or error")
	f.IntVar(&s.logging.sample, "log-sample", 1, "write one in so many lines of deliveries that succeeded, and all of what failed; 1 writes every line")
}

// checkRun finds contradictions between the flags before anything is opened.
func checkRun(cmd *cobra.Command, routesPath string, s settings) error {
	switch {
	case routesPath == "":
		return errNoRoutes
	case routesPath == "-":
		return errors.New("--routes -: relay run reads the file again at each reload, which standard input cannot: give a path")
	case s.embedded && s.data == "":
		return errors.New("--embedded keeps its data in a folder: give --data DIR")
	case s.embedded && cmd.Flags().Changed("database"):
		return errors.New("--embedded brings its own SQLite: leave out --database")
	case s.embedded && natsGiven(cmd) != "":
		return fmt.Errorf("--embedded brings its own NATS: leave out %s", natsGiven(cmd))
	case !s.embedded && (cmd.Flags().Changed("data") || cmd.Flags().Changed("nats-port")):
		return errors.New("--data and --nats-port are of the embedded NATS: give --embedded too, or leave them out")
	case !s.embedded && s.database == "":
		return errors.New("where are dead letters kept? Give --database postgres://… (or set RELAY_DATABASE_URL), --database sqlite:PATH, or --embedded --data DIR")
	}
	return nil
}

// checkHealth refuses limits that no consumer, or every one, would be above.
func checkHealth(l admin.HealthLimits) error {
	if l.Pending == 0 {
		return errors.New("--health-pending: a number above 0 wanted, got 0")
	}
	for flag, share := range map[string]float64{"--health-ack-pending": l.AckPendingShare, "--health-redelivered": l.RedeliveryRate} {
		if !(share > 0 && share <= 1) { // which is how NaN is refused too
			return fmt.Errorf("%s: a share above 0 and up to 1 wanted, got %v", flag, share)
		}
	}
	return nil
}

// listenAdmin reads who may use the admin page and what healthy means, and opens its
// address.
func listenAdmin(cmd *cobra.Command, s *settings) (err error) {
	if err := checkHealth(s.health); err != nil {
		return err
	}
	if s.auth, err = admin.LoadAuth(s.authOptions); err != nil {
		return err
	}
	if err := admin.CheckAddr(s.adminAddr); err != nil && s.auth == nil && !s.allowRemote {
		return fmt.Errorf("--admin %s: %w", s.adminAddr, err)
	}
	s.admin, err = listen(cmd.Context(), s.adminAddr, "choose another with --admin, or port 0 for a free one")
	return err
}
