package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"relay/internal/natsconn"
)

// letter is what the commands read of a dead letter in the admin API's JSON.
type letter struct {
	ID         string    `json:"id"`
	Route      string    `json:"route"`
	State      string    `json:"state"`
	Reason     string    `json:"reason"`
	Subject    string    `json:"original_subject"`
	Payload    []byte    `json:"payload_base64"`
	Error      string    `json:"error"`
	Status     int       `json:"status"`
	RetryCount int       `json:"retry_count"`
	Stream     string    `json:"stream"`
	Sequence   uint64    `json:"stream_sequence"`
	Published  time.Time `json:"published_at"`
	FailedAt   time.Time `json:"failed_at"`
	ReplayOf   string    `json:"replay_of"`

	Headers  map[string][]string `json:"headers"`
	Attempts []struct {
		Number   int       `json:"number"`
		Replay   int       `json:"replay"`
		At       time.Time `json:"at"`
		Status   int       `json:"status"`
		Error    string    `json:"error"`
		Duration float64   `json:"duration_ms"`
	} `json:"attempts"`
}

// adminClient asks the admin API of a running relay.
type adminClient struct {
	base  string // without a slash at its end
	shown string // base without a password
	token string // empty: relay asks nobody
	http  *http.Client
}

// adminToken is the variable with the client's bearer token: a flag would show it to
// everybody who lists the processes.
const adminToken = "RELAY_ADMIN_TOKEN" //nolint:gosec // the name of it

// newAdminClient takes an address, as relay run does, or a URL.
func newAdminClient(admin string) (*adminClient, error) {
	base := admin
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, unusable(fmt.Errorf("--admin %q: an address as in 127.0.0.1:8080, or an http(s) URL wanted", natsconn.Redact(admin)))
	}
	return &adminClient{base: strings.TrimSuffix(base, "/"), shown: u.Redacted(), token: os.Getenv(adminToken), http: &http.Client{Timeout: time.Minute}}, nil
}

func (c *adminClient) get(ctx context.Context, path string, query url.Values, out any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.do(ctx, http.MethodGet, path, nil, out)
}

func (c *adminClient) post(ctx context.Context, path string, body, out any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return unusable(err)
	}
	return c.do(ctx, http.MethodPost, path, data, out)
}

// refusal is an answer of the API that is not the one asked for.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

// do decodes the answer into out. A refusal for what stands in the database ends the
// command with 1; a request that is wrong, or that nobody answers, with 2.
func (c *adminClient) do(ctx context.Context, method, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return unusable(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return unusable(fmt.Errorf("ask relay at %s (is it running? see --admin): %w", c.shown, err))
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return c.refused(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return unusable(fmt.Errorf("read the answer of %s: %w", c.shown, err))
	}
	return nil
}

func (c *adminClient) refused(resp *http.Response) error {
	var body struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	const most = 64 << 10
	data, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err = errors.Join(err, json.Unmarshal(data, &body)); err != nil || body.Error.Message == "" {
		return unusable(fmt.Errorf("%s answered %s; is that relay's admin address?", resp.Request.URL.Host, resp.Status))
	}
	r := &refusal{resp.StatusCode, body.Error.Message}
	if r.status == http.StatusUnauthorized && c.token == "" {
		r.message = "relay asks who you are: set " + adminToken + " to a token of its --admin-tokens"
	}
	if r.status == http.StatusNotFound || r.status == http.StatusConflict {
		return wrong(r)
	}
	return unusable(r)
}

// each calls f with the JSON of every dead letter that the query chooses, newest first,
// at most limit; 0: all. It holds one page at a time.
func (c *adminClient) each(ctx context.Context, query url.Values, limit int, f func(json.RawMessage) error) error {
	const pageSize = 200
	if limit < 0 {
		return errLimit(limit)
	}
	for n := 0; limit == 0 || n < limit; {
		size := pageSize
		if limit > 0 {
			size = min(size, limit-n)
		}
		query.Set("limit", strconv.Itoa(size))
		var page struct {
			DeadLetters []json.RawMessage `json:"dead_letters"`
			Next        string            `json:"next_cursor"`
		}
		if err := c.get(ctx, "dead-letters", query, &page); err != nil {
			return err
		}
		for _, d := range page.DeadLetters {
			if err := f(d); err != nil {
				return err
			}
		}
		n += len(page.DeadLetters)
		if page.Next == "" {
			return nil
		}
		query.Set("cursor", page.Next)
	}
	return nil
}

func errLimit(got int) error { return unusable(fmt.Errorf("--limit: want 0 or more, got %d", got)) }

// filterFlags are the API's filters as flags, by parameter.
type filterFlags map[string]*string

func addFilterFlags(cmd *cobra.Command, withState bool) filterFlags {
	f := filterFlags{}
	add := func(name, parameter, usage string) {
		f[parameter] = cmd.Flags().String(name, "", usage)
	}
	add("route", "route", "of this route")
	add("subject", "subject", "original subject; * stands for one token, > for the rest")
	add("reason", "reason", "why it died: exhausted, expired, rejected, aborted, oversize, poison, blocked")
	add("status", "status", "the last answer's HTTP status")
	add("min-attempts", "min_attempts", "this many attempts or more")
	add("fingerprint", "fingerprint", "died of this cause (see relay dlq groups)")
	add("query", "q", "this text in id, subject, error or payload")
	add("since", "since", "failed at this time (2026-01-31T15:04:05Z) or age (24h, 7d), or later")
	add("until", "until", "failed before this time or age")
	if withState {
		add("state", "state", "dead, replaying, delivered or discarded")
	}
	return f
}

// query returns the filters that were given.
func (f filterFlags) query() url.Values {
	q := url.Values{}
	for name, v := range f {
		if *v != "" {
			q.Set(name, *v)
		}
	}
	return q
}

// body is the filter as the body of POST replays has it.
func (f filterFlags) body(ids []string) (map[string]any, error) {
	b := map[string]any{}
	for name := range f.query() {
		b[name] = *f[name]
	}
	for name, flag := range map[string]string{"status": "--status", "min_attempts": "--min-attempts"} {
		if _, given := b[name]; !given {
			continue
		}
		n, err := strconv.Atoi(*f[name])
		if err != nil {
			return nil, unusable(fmt.Errorf("%s %q: a number wanted", flag, *f[name]))
		}
		b[name] = n
	}
	if len(ids) > 0 {
		b["ids"] = ids
	}
	return b, nil
}
