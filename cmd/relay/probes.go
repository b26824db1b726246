package main

import (
	"fmt"
	"net"
	"net/http"
	"time"
)

// answerProbes answers on the admin address while relay waits for NATS: it is alive, and
// nothing else can be had of it. Started gives the address back.
func answerProbes(ln net.Listener) (started func()) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return func() {}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `{"status":"ok"}`)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "relay waits for NATS; its log says why", http.StatusServiceUnavailable)
	})
	srv := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lent{tcp}) }()
	return func() {
		_ = srv.Close()                  // nobody waits for more than a line
		<-served                         //nolint:errcheck // http.ErrServerClosed
		_ = tcp.SetDeadline(time.Time{}) // it is open, and Accept waits again
	}
}

// lent is a listener that stays open when it is closed; Accept ends all the same.
type lent struct{ *net.TCPListener }

func (l lent) Close() error { return l.SetDeadline(time.Unix(1, 0)) }
