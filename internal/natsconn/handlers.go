package natsconn

import (
	"errors"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"
)

// connOptions are the options that need nothing but o: liveness, reconnection and
// what is done with the connection's own reports.
func (o Options) connOptions() []nats.Option {
	name := o.Name
	if name == "" {
		name = "relay"
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return []nats.Option{
		nats.Name(name),
		nats.Timeout(tryTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: we closed it ourselves
				log.Warn("NATS disconnected", "err", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			log.Debug("NATS reconnect", "err", err)
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("NATS reconnected", "url", nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			o.onAsyncError(log, sub, err)
		}),
	}
}

// onAsyncError takes what the server reports to the connection and not to a call.
func (o Options) onAsyncError(log *slog.Logger, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		subject := refusedSubject(err)
		log.Error("NATS permission missing", "subject", subject, "err", err)
		if o.OnPermissionError != nil {
			o.OnPermissionError(subject)
		}
		return
	}
	if sub != nil {
		log = log.With("subject", sub.Subject)
	}
	log.Warn("NATS error", "err", err)
}

// refusedSubject finds the subject in the server's report, whose form is
// Permissions Violation for Publish to "SUBJECT"; empty if it has another one.
func refusedSubject(err error) string {
	_, rest, _ := strings.Cut(err.Error(), `"`)
	subject, _, found := strings.Cut(rest, `"`)
	if !found {
		return ""
	}
	return subject
}
