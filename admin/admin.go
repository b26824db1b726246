// Package admin is relay's HTTP surface for people and scripts: the pages, the JSON
// API under /api/v1, the health endpoints and the metrics.
//
// It reads and changes dead letters through dlqstore.Store and knows nothing of how
// messages are delivered: what it needs of the dispatcher it declares as small
// interfaces. Only cmd/relay imports it.
package admin

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"relay/dlqstore"
	"relay/internal/fleet"
)

// Options are what a Server works with. Store, Routes and NATS are required.
type Options struct {
	// Store holds the dead letters.
	Store dlqstore.Store
	// Routes are the routes as they run in this process.
	Routes Runtime
	// NATS returns nil while the connection to NATS works, else what is wrong with it.
	NATS func(ctx context.Context) error

	// Replays is told of every replay that was started, so that it goes out at once.
	// Nil: replays go out when their sender looks by itself.
	Replays Replays
	// Republish sends dead letters to their original subject. Nil: a replay with
	// "to": "subject" is refused.
	Republish Republisher
	// Rebuild brings back what the table of dead letters has lost. Nil: it is refused.
	Rebuild Rebuilder
	// Config tells about the routes file in force. Nil: the pages do not speak of it.
	Config func() ConfigStatus
	// Reload reads the routes file again and applies it; its error is for whoever
	// wrote the file. Nil: POST /api/v1/reload is refused.
	Reload func(ctx context.Context) error
	// Fleet tells how the routes are doing, over all relay processes. Nil: the pages
	// show no more than Routes tells.
	Fleet Fleet
	// Gatherer is what /metrics serves. Nil: there is no /metrics.
	Gatherer prometheus.Gatherer
	// HealthLimits are the limits of /health. Zero fields take their defaults.
	HealthLimits HealthLimits

	// Auth knows who may do what. Nil: there is no authentication, and whoever reaches
	// the address may do everything.
	Auth *Auth
	// BasePath is the path under which people reach the admin surface, as in /relay,
	// when a proxy has it there; requests are answered with it and without it. Empty: /.
	BasePath string
	// AllowRemote serves addresses other than loopback, and requests for any host
	// name, without Auth. It is meant for a container whose port is published on
	// loopback only.
	AllowRemote bool
	// Version of relay, shown on the pages. Defaults to "dev".
	Version string
	// Logger defaults to slog.Default.
	Logger *slog.Logger
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Replays is whoever hands started replays to the replay lane.
type Replays interface {
	// Wake makes it look for started replays now. It does not block.
	Wake()
}

// Fleet is the relay processes together. Its methods are safe for concurrent use; only
// Attempts waits for NATS.
type Fleet interface {
	// Processes are those that are there, this one first.
	Processes() []fleet.Process
	// Figures are those of the routes on which anything happened in the last hour, or
	// ever failed.
	Figures() map[string]fleet.Figures
	// Attempts are the last ones on a route, the newest first, and how many processes
	// did not answer for theirs in time.
	Attempts(ctx context.Context, route string) (list []fleet.Attempt, silent int)
	// Lag is how many dead letters and attempts the database does not hold yet.
	Lag() int
}

// Republisher sends a dead letter to the subject that it came from, where every
// consumer of that subject gets it, not only the route that failed.
type Republisher interface {
	// Republish publishes payload and headers to d.OriginalSubject as a new message,
	// without the headers that mean something to JetStream, and returns when the
	// stream holds it.
	Republish(ctx context.Context, d dlqstore.DeadLetter) error
}

// Server is the admin surface. Its methods are safe for concurrent use.
type Server struct {
	opts   Options
	log    *slog.Logger
	now    func() time.Time
	limits HealthLimits
	pages  *pages
	assets *assets

	live    chan struct{} // room for streams of events
	closing chan struct{} // closed when relay stops
}

// New makes a Server. It opens nothing and starts nothing.
func New(o Options) (*Server, error) {
	switch {
	case o.Store == nil:
		return nil, errors.New("admin: Options.Store is required")
	case o.Routes == nil:
		return nil, errors.New("admin: Options.Routes is required")
	case o.NATS == nil:
		return nil, errors.New("admin: Options.NATS is required")
	}
	o.Version, o.Logger = cmp.Or(o.Version, "dev"), cmp.Or(o.Logger, slog.Default())
	if o.Now == nil {
		o.Now = time.Now
	}
	base, err := checkBasePath(o.BasePath)
	if err != nil {
		return nil, err
	}
	o.BasePath = base
	assets, err := newAssets(base)
	if err != nil {
		return nil, err
	}
	pages, err := newPages(assets, base)
	if err != nil {
		return nil, err
	}
	return &Server{
		opts: o, log: o.Logger, now: o.Now, limits: o.HealthLimits.withDefaults(), pages: pages, assets: assets,
		live: make(chan struct{}, maxLive), closing: make(chan struct{}),
	}, nil
}

// Handler serves everything. It is the whole list of what relay answers to.
func (s *Server) Handler() http.Handler {
	r := chi.NewRouter()
	r.Use(s.stripBase, s.recoverPanic, s.guardHost, secureHeaders, s.guardOrigin, middleware.GetHead)
	r.NotFound(s.notFound)
	r.MethodNotAllowed(s.methodNotAllowed)

	// Open to everybody: what probes ask, what the login page is made of, and that page.
	r.Get("/healthz", s.healthz)
	r.Get("/readyz", s.readyz)
	r.Get("/assets/{name}", s.assets.serve)
	r.Get("/login", s.page(s.loginPage))
	r.Post("/login", s.page(s.loginPage))

	r.Group(func(r chi.Router) {
		r.Use(s.need(viewer))
		s.routeViewer(r)
	})
	r.Group(func(r chi.Router) {
		r.Use(s.need(operator))
		s.routeOperator(r)
	})
	r.Group(func(r chi.Router) {
		r.Use(s.need(editor))
		r.Get("/dead-letters/{id}/edit", s.page(s.editPage))
		r.Post("/dead-letters/{id}/edit", s.pageUpTo(maxEditBytes, s.editPage))
		r.Post("/dead-letters/{id}/edit/check", s.pageUpTo(maxEditBytes, s.checkEditPage))
		r.Post("/api/v1/dead-letters/import", s.api(s.importDeadLetters)) // of any payload, which can then be replayed
	})
	return r
}

// routeViewer routes what changes nothing but the session.
func (s *Server) routeViewer(r chi.Router) {
	r.Get("/health", s.health)
	if s.opts.Gatherer != nil {
		r.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(s.opts.Gatherer, promhttp.HandlerOpts{
			MaxRequestsInFlight: 4,
		}))
	}

	r.Get("/", s.page(s.overviewPage))
	r.Get("/routes/{name}", s.page(s.routePage))
	r.Get("/dead-letters", s.page(s.deadLettersPage))
	r.Get("/dead-letters/{id}", s.page(s.deadLetterPage))
	r.Post("/dead-letters/export", s.stream(s.exportPage))
	r.Get("/replays", s.page(s.replaysPage))
	r.Get("/replays/{id}", s.page(s.jobPage))
	r.Get("/audit", s.page(s.auditPage))
	r.Get(eventsPath, s.stream(s.events))
	r.Post("/logout", s.page(s.logoutPage))

	r.Get("/api/v1/routes", s.api(s.listRoutes))
	r.Get("/api/v1/routes/{name}", s.api(s.getRoute))
	r.Get("/api/v1/dead-letters", s.api(s.listDeadLetters))
	r.Get("/api/v1/dead-letters/{id}", s.api(s.getDeadLetter))
	r.Get("/api/v1/dead-letters/{id}/payload", s.api(s.getPayload))
	r.Get("/api/v1/dead-letter-groups", s.api(s.listGroups))
	r.Get("/api/v1/replays", s.api(s.listReplays))
	r.Get("/api/v1/replays/{id}", s.api(s.getReplay))
	r.Get("/api/v1/replays/{id}/items", s.api(s.listReplayItems))
	r.Get("/api/v1/audit", s.api(s.listAudit))
	r.Get("/api/v1/openapi.json", s.api(s.getOpenAPI))
}

// routeOperator routes what changes something, and the forms that lead there. The API's
// replay asks for an editor itself when it is an edited one.
func (s *Server) routeOperator(r chi.Router) {
	r.Post("/routes/{name}/pause", s.page(s.pausePage(true, "paused")))
	r.Post("/routes/{name}/resume", s.page(s.pausePage(false, "resumed")))
	r.Post("/dead-letters/{id}/replay", s.page(s.actPage("replaying", s.replayOne)))
	r.Post("/dead-letters/{id}/discard", s.page(s.actPage("discarded", s.discardOne)))
	r.Post("/dead-letters/{id}/restore", s.page(s.actPage("restored", s.restoreOne)))
	r.Post("/dead-letters/choose", s.page(s.choosePage))
	r.Post("/dead-letters/discard", s.page(s.changeManyPage(dlqstore.Discarded)))
	r.Post("/dead-letters/restore", s.page(s.changeManyPage(dlqstore.Dead)))
	r.Get("/replays/new", s.page(s.newReplaysPage))
	r.Post("/replays", s.page(s.startReplaysPage))
	r.Post("/replays/{id}/rate", s.page(s.ratePage))
	r.Post("/replays/{id}/pause", s.page(s.changeJobPage(dlqstore.JobPaused, "job-paused")))
	r.Post("/replays/{id}/resume", s.page(s.changeJobPage(dlqstore.JobRunning, "resumed")))
	r.Post("/replays/{id}/cancel", s.page(s.changeJobPage(dlqstore.JobCancelled, "job-cancelled")))

	r.Post("/api/v1/routes/{name}/pause", s.api(s.pauseRoute(true)))
	r.Post("/api/v1/routes/{name}/resume", s.api(s.pauseRoute(false)))
	r.Post("/api/v1/dead-letters/{id}/replay", s.api(s.replayDeadLetter))
	r.Post("/api/v1/dead-letters/{id}/discard", s.api(s.discardDeadLetter))
	r.Post("/api/v1/dead-letters/{id}/restore", s.api(s.restoreDeadLetter))
	r.Post("/api/v1/dead-letters/rebuild", s.api(s.rebuildDeadLetters))
	r.Post("/api/v1/dead-letters/discard", s.api(s.changeDeadLetters(dlqstore.Discarded)))
	r.Post("/api/v1/dead-letters/restore", s.api(s.changeDeadLetters(dlqstore.Dead)))
	r.Post("/api/v1/replays", s.api(s.startReplays))
	r.Post("/api/v1/replays/{id}/rate", s.api(s.changeReplayRate))
	r.Post("/api/v1/replays/{id}/pause", s.api(s.changeReplay(dlqstore.JobPaused)))
	r.Post("/api/v1/replays/{id}/resume", s.api(s.changeReplay(dlqstore.JobRunning)))
	r.Post("/api/v1/replays/{id}/cancel", s.api(s.changeReplay(dlqstore.JobCancelled)))
	r.Post("/api/v1/reload", s.api(s.reload))
}
