package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
	"relay/routes"
)

// lookTimeout bounds one look-up of a name and one question to the server.
const lookTimeout = 5 * time.Second

// serverStreams lists the streams that the file may rely on, relay's own left out.
func serverStreams(ctx context.Context, js jetstream.JetStream) ([]routes.Stream, error) {
	streams := []routes.Stream{}
	list := js.ListStreams(ctx)
	for info := range list.Info() {
		c := info.Config
		s := routes.Stream{Name: c.Name, Subjects: c.Subjects, MaxAge: c.MaxAge, Retention: routes.RetentionLimits}
		if c.Mirror != nil || len(c.Sources) > 0 {
			s.Subjects = nil
		}
		if c.Retention == jetstream.WorkQueuePolicy {
			s.Retention = routes.RetentionWorkQueue
		}
		streams = append(streams, s)
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list the streams: %w", err)
	}
	return streams, nil
}

// live gathers what the servers, and the names of receivers, say against a file that
// is valid by itself.
type live struct {
	js       jetstream.JetStream
	config   *routes.Config
	problems routes.Problems
}

// validateLive checks a file that is valid by itself against the servers. again loads
// it anew with more known. What is wrong comes back as routes.Problems, or, when it
// does not keep the file from running, among the warnings.
func validateLive(ctx context.Context, js jetstream.JetStream, c *routes.Config, again func(streams []routes.Stream) (*routes.Config, error)) (*routes.Config, error) {
	l := &live{js: js, config: c}
	l.checkPermissions(ctx)
	if l.failed() { // what is not permitted is not answered either
		return nil, l.problems
	}
	streams, err := serverStreams(ctx, js)
	if err != nil {
		return nil, err
	}
	if l.config, err = again(streams); err != nil {
		return nil, err
	}
	if err := l.checkPlan(ctx); err != nil {
		return nil, err
	}
	l.checkNames(ctx)
	all := slices.Concat(routes.Problems(l.config.Warnings), l.problems)
	slices.SortStableFunc(all, func(a, b routes.Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line))
	})
	if l.failed() {
		return nil, all
	}
	l.config.Warnings = all
	return l.config, nil
}

func (l *live) failed() bool {
	return slices.ContainsFunc(l.problems, func(p routes.Problem) bool { return !p.Warning })
}

// checkPlan tells what a run would refuse, or would not do without being allowed to.
func (l *live) checkPlan(ctx context.Context) error {
	plan, err := dispatcher.NewPlan(ctx, l.js, l.config)
	if err != nil {
		return err
	}
	for _, s := range plan.Steps {
		switch s.Action {
		case dispatcher.Refuse:
			l.say(s.Route, false, "%s", s.Note)
		case dispatcher.Recreate:
			l.say(s.Route, true, "%s would be deleted and created anew, which needs relay run --allow-recreate; %s", s.Target(), s.Note)
		case dispatcher.Create, dispatcher.Update, dispatcher.Leave:
		}
	}
	return nil
}

// say records a problem at a route, or at the file when there is no such route.
func (l *live) say(route string, warning bool, format string, args ...any) {
	p := routes.Problem{Code: routes.CodeLive, Message: fmt.Sprintf(format, args...), Warning: warning}
	if r, ok := l.config.Route(route); ok {
		p.Pos, p.Path = r.Pos, fmt.Sprintf("route %q", route)
	} else if len(l.config.Routes) > 0 {
		p.Pos.File = l.config.Routes[0].Pos.File
	}
	l.problems = append(l.problems, p)
}

// checkNames resolves the hosts of the webhooks, each once.
func (l *live) checkNames(ctx context.Context) {
	seen := map[string]bool{}
	for _, r := range l.config.Routes {
		target := r.Webhook.URL
		if r.Webhook.Proxy != "" {
			target = r.Webhook.Proxy // which does the rest
		}
		u, err := url.Parse(target)
		if err != nil || !r.Enabled || seen[u.Hostname()] || net.ParseIP(u.Hostname()) != nil {
			continue
		}
		seen[u.Hostname()] = true
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		if _, err := net.DefaultResolver.LookupHost(ctx, u.Hostname()); err != nil {
			l.say(r.Name, false, "the host of the webhook has an address: %v", err)
		}
		cancel()
	}
}

// permissions are what the server lets a user do; the zero value is everything.
type permissions struct {
	Publish, Subscribe permission
}

type permission struct {
	Allow, Deny []string
}

// checkPermissions compares what the routes need with what the user may. The server
// tells it of the user who asks ($SYS.REQ.USER.INFO, since nats-server 2.9).
func (l *live) checkPermissions(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var info struct {
		Data struct {
			Permissions permissions `json:"permissions"`
		} `json:"data"`
	}
	answer, err := l.js.Conn().RequestWithContext(ctx, "$SYS.REQ.USER.INFO", nil)
	if err == nil {
		err = json.Unmarshal(answer.Data, &info)
	}
	if err != nil {
		l.say("", true, "the server does not tell what the NATS user may do: %v", err)
		return
	}
	may := info.Data.Permissions
	if inbox := l.js.Conn().NewInbox(); !may.Subscribe.allow(inbox) {
		l.say("", false, "the NATS user may subscribe to %s>, where answers come", inbox[:strings.Index(inbox, ".")+1])
	}
	shared := dispatcher.Needs(l.config, "").Publish
	for _, r := range l.config.Routes {
		if r.Enabled {
			own := dispatcher.RouteNeeds(r)
			l.need(may, r.Name, own...)
			shared = slices.DeleteFunc(shared, func(s string) bool { return slices.Contains(own, s) })
		}
	}
	l.need(may, "", shared...)
}

// need records those of the subjects that the user may not publish to.
func (l *live) need(may permissions, route string, subjects ...string) {
	lacking := slices.DeleteFunc(slices.Clone(subjects), may.Publish.allow)
	if len(lacking) > 0 {
		l.say(route, false, "the NATS user may publish what relay publishes, got no permission for %s", strings.Join(lacking, ", "))
	}
}

// allow says whether all that a subject, which may hold wildcards, stands for passes
// the lists; an empty allow list allows all.
func (p permission) allow(subject string) bool {
	matches := func(filter string) bool { return routes.Matches(filter, subject) }
	overlaps := func(filter string) bool { return routes.Overlap(filter, subject) }
	return (len(p.Allow) == 0 || slices.ContainsFunc(p.Allow, matches)) && !slices.ContainsFunc(p.Deny, overlaps)
}
