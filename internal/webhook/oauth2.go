package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"relay/routes"
)

const (
	// tokenMargin is how long before its end a token is renewed, or a tenth of its
	// life if that is shorter.
	tokenMargin = 30 * time.Second
	// tokenLife is assumed of a token whose answer does not say.
	tokenLife = 5 * time.Minute
	// tokenPause is how long a failure is remembered, so that attempts that wait for
	// the same token do not ask one after the other.
	tokenPause    = time.Second
	maxTokenBytes = 64 << 10
)

// tokenSource gets and keeps the access token of a route: the client-credentials
// grant of RFC 6749, section 4.4, the client's secret as HTTP Basic (section 2.3.1).
type tokenSource struct {
	config routes.OAuth2
	form   string
	// fetching is held by the one attempt that asks for a token.
	fetching chan struct{}

	mu      sync.Mutex
	token   token
	failure error
	failed  time.Time
}

type token struct {
	authorization string // "Bearer …"
	secret        string // of the client, for which it was given
	renewAt       time.Time
	endsAt        time.Time
}

func newTokenSource(c routes.OAuth2) (*tokenSource, error) {
	u, err := url.Parse(c.TokenURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return nil, errors.New("webhook.auth.oauth2.token_url is an http or https URL without credentials")
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(c.Scopes) > 0 {
		form.Set("scope", strings.Join(c.Scopes, " "))
	}
	return &tokenSource{config: c, form: form.Encode(), fetching: make(chan struct{}, 1)}, nil
}

// authorization is the value of the Authorization header; empty: none.
func (s *Sender) authorization(ctx context.Context, sess *session, end time.Time) (string, error) {
	if s.tokens == nil {
		return sess.authorization, nil
	}
	ctx, cancel := context.WithDeadlineCause(ctx, end, errTimeout)
	defer cancel()
	value, err := s.tokens.get(ctx, sess.transport, sess.clientSecret)
	if err != nil {
		return "", fmt.Errorf("get a token for webhook.auth.oauth2: %w", err)
	}
	return value, nil
}

// get returns a token that is good for a while. One caller at a time asks for a new
// one; the others use the old one while it is good, else they wait.
func (t *tokenSource) get(ctx context.Context, rt http.RoundTripper, secret string) (string, error) {
	if value, err, done := t.known(secret, false); done {
		return value, err
	}
	select {
	case t.fetching <- struct{}{}:
	default:
		if value, err, done := t.known(secret, true); done {
			return value, err
		}
		select {
		case t.fetching <- struct{}{}:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	defer func() { <-t.fetching }()
	if value, err, done := t.known(secret, false); done {
		return value, err
	}
	return t.renew(ctx, rt, secret)
}

// known looks at what is there: a token, or a failure so fresh that it counts as this
// caller's too. Due for renewal, a token counts only with dueToo.
func (t *tokenSource) known(secret string, dueToo bool) (value string, err error, done bool) { //nolint:revive // err is the value here
	t.mu.Lock()
	defer t.mu.Unlock()
	now, until := time.Now(), t.token.renewAt
	if dueToo {
		until = t.token.endsAt
	}
	switch {
	case t.token.secret == secret && now.Before(until):
		return t.token.authorization, nil, true
	case t.failure != nil && now.Sub(t.failed) < tokenPause:
		return "", t.failure, true
	default:
		return "", nil, false
	}
}

// renew asks for a token. When that fails, one that is not over yet goes on serving.
func (t *tokenSource) renew(ctx context.Context, rt http.RoundTripper, secret string) (string, error) {
	fresh, err := t.fetch(ctx, rt, secret)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.token, t.failure = fresh, nil
		return fresh.authorization, nil
	case ctx.Err() != nil:
		return "", err // this caller's time is over; that says nothing to others
	}
	t.failure, t.failed = err, time.Now()
	if t.token.secret == secret && t.failed.Before(t.token.endsAt) {
		t.token.renewAt = t.failed.Add(tokenPause)
		return t.token.authorization, nil
	}
	return "", err
}

// forget drops a token that the receiver refused.
func (t *tokenSource) forget(authorization string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token.authorization == authorization {
		t.token = token{}
	}
}

func (t *tokenSource) fetch(ctx context.Context, rt http.RoundTripper, secret string) (token, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.config.TokenURL, strings.NewReader(t.form))
	if err != nil {
		return token{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(t.config.ClientID), url.QueryEscape(secret))
	asked := time.Now()
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return token{}, withoutQuotes(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < http.StatusOK {
		return token{}, fmt.Errorf("the token endpoint answered %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenBytes))
	if err != nil {
		return token{}, fmt.Errorf("read the token endpoint's answer: %w", err)
	}
	return parseToken(resp.StatusCode, body, secret, asked)
}

func parseToken(status int, body []byte, secret string, asked time.Time) (token, error) {
	var answer struct {
		AccessToken string      `json:"access_token"`
		TokenType   string      `json:"token_type"`
		ExpiresIn   json.Number `json:"expires_in"` // some send it in quotes, which Number takes too
		Error       string      `json:"error"`
	}
	err := json.Unmarshal(body, &answer)
	switch {
	case status != http.StatusOK && isErrorCode(answer.Error):
		return token{}, fmt.Errorf("the token endpoint answered %d, %s", status, answer.Error)
	case status != http.StatusOK:
		return token{}, fmt.Errorf("the token endpoint answered %d", status)
	case err != nil:
		return token{}, errors.New("the token endpoint's answer is not the JSON of RFC 6749")
	case answer.AccessToken == "" || !httpguts.ValidHeaderFieldValue(answer.AccessToken):
		return token{}, errors.New("the token endpoint's answer holds no usable access_token")
	case answer.TokenType != "" && !strings.EqualFold(answer.TokenType, "bearer"):
		return token{}, errors.New("the token endpoint gave a token that is not of the type bearer")
	}
	life := tokenLife
	if sec, err := answer.ExpiresIn.Float64(); err == nil && sec > 0 {
		life = time.Duration(min(sec, 365*24*3600) * float64(time.Second))
	}
	end := asked.Add(life)
	return token{
		authorization: "Bearer " + answer.AccessToken,
		secret:        secret,
		renewAt:       end.Add(-min(tokenMargin, life/10)),
		endsAt:        end,
	}, nil
}

// isErrorCode says that a foreign text is one of OAuth's short codes, and so no secret.
func isErrorCode(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}
