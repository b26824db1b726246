package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"
)

const postTimeout = 15 * time.Second // relay's default

// newHTTPPost posts with net/http and its usual care: a timeout, connections kept, the
// answer read to its end. more are headers of every request, which is then signed too;
// nil: none.
func newHTTPPost(j job, more http.Header) func([]byte) error {
	client := &http.Client{Timeout: postTimeout, Transport: &http.Transport{MaxIdleConns: 0, MaxIdleConnsPerHost: j.Routes * j.InFlight}}
	return func(body []byte) error {
		req, err := http.NewRequest(http.MethodPost, j.Hook, bytes.NewReader(body)) //nolint:noctx // the client has a timeout
		if err != nil {
			return err
		}
		if more != nil {
			req.Header = more.Clone()
			mac := hmac.New(sha256.New, []byte(benchKey))
			mac.Write([]byte(more.Get("webhook-id") + "." + more.Get("webhook-timestamp") + "."))
			mac.Write(body)
			req.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode >= http.StatusMultipleChoices {
			return fmt.Errorf("the receiver answered %s", resp.Status)
		}
		return nil
	}
}

// benchKey signs what is signed in the race.
const benchKey = "012012012012012012012012012012012"

// headersOfRelay are as many bytes of headers as relay sends beside the signature, the
// same in every request: what they cost on the wire, without what it costs to make them.
func headersOfRelay() http.Header {
	h := http.Header{}
	for _, f := range [][2]string{
		{"User-Agent", "relay/dev"}, {"Accept-Encoding", "identity"}, {"relay-route", "r0"},
		{"webhook-id", "msg_abcdefghijklmnopqrstuvwxyz"}, {"webhook-timestamp", "1772366400"},
		{"relay-attempt", "1"}, {"relay-subject", "bench.0"}, {"relay-stream", streamName},
		{"relay-stream-sequence", "12345"}, {"relay-event-time", "2026-03-01T12:00:00.123456789Z"},
	} {
		h.Set(f[0], f[1])
	}
	return h
}

// newFastHTTPPost posts with fasthttp, which trades net/http's generality for speed.
func newFastHTTPPost(j job) func([]byte) error {
	client := &fasthttp.Client{MaxConnsPerHost: j.Routes * j.InFlight}
	return func(body []byte) error {
		req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		defer fasthttp.ReleaseRequest(req)
		defer fasthttp.ReleaseResponse(resp)
		req.SetRequestURI(j.Hook)
		req.Header.SetMethod(fasthttp.MethodPost)
		req.Header.SetContentType("application/json")
		req.SetBodyRaw(body)
		if err := client.DoTimeout(req, resp, postTimeout); err != nil {
			return err
		}
		if resp.StatusCode() >= fasthttp.StatusMultipleChoices {
			return fmt.Errorf("the receiver answered %d", resp.StatusCode())
		}
		return nil
	}
}
