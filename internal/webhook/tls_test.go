package webhook_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"relay/internal/webhook"
	"relay/routes"
)

// authority is a certificate authority of one test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate as PEM
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "ca.pem")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	writeFile(t, a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

// issue makes a certificate for the host, good until notAfter, and its PEM files.
func (a *authority) issue(host string, notAfter time.Time) (pair tls.Certificate, certFile, keyFile string) {
	a.t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: notAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.DNSNames, template.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, _ := x509.MarshalPKCS8PrivateKey(key)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	dir := a.t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeFile(a.t, certFile, certPEM)
	writeFile(a.t, keyFile, keyPEM)
	pair, err = tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		a.t.Fatal(err)
	}
	return pair, certFile, keyFile
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// tlsReceiver answers 200 with the protocol that was spoken.
func tlsReceiver(t *testing.T, config *tls.Config, http2 bool) (url string) {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.Proto))
	}))
	srv.TLS, srv.EnableHTTP2 = config, http2
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestSendTLS(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	later := time.Now().Add(time.Hour)
	good, certFile, keyFile := ca.issue("127.0.0.1", later)
	expired, _, _ := ca.issue("127.0.0.1", time.Now().Add(-time.Hour))
	otherHost, _, _ := ca.issue("receiver.example", later)
	foreign, foreignCert, foreignKey := stranger.issue("127.0.0.1", later)
	clients := x509.NewCertPool()
	clients.AddCert(ca.cert)
	mutual := &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}

	tests := []struct {
		name   string
		server *tls.Config
		http2  bool
		tls    routes.TLS
		class  webhook.Class
		want   string // body, or part of the error
	}{
		{"HTTP/1.1", &tls.Config{Certificates: []tls.Certificate{good}}, false, routes.TLS{CAFile: ca.file}, "", "HTTP/1.1"},
		{"HTTP/2", &tls.Config{Certificates: []tls.Certificate{good}}, true, routes.TLS{CAFile: ca.file}, "", "HTTP/2.0"},
		{"client certificate", mutual, false, routes.TLS{CAFile: ca.file, CertFile: certFile, KeyFile: keyFile}, "", "HTTP/1.1"},
		{"client certificate over HTTP/2", mutual, true, routes.TLS{CAFile: ca.file, CertFile: certFile, KeyFile: keyFile}, "", "HTTP/2.0"},
		{"no client certificate", mutual, false, routes.TLS{CAFile: ca.file}, webhook.ClassTLS, "certificate required"},
		{"a stranger's client certificate", mutual, false, routes.TLS{CAFile: ca.file, CertFile: foreignCert, KeyFile: foreignKey}, webhook.ClassTLS, "certificate"},
		{"unknown authority", &tls.Config{Certificates: []tls.Certificate{foreign}}, false, routes.TLS{CAFile: ca.file}, webhook.ClassTLS, "unknown authority"},
		{"system roots only", &tls.Config{Certificates: []tls.Certificate{good}}, false, routes.TLS{}, webhook.ClassTLS, "unknown authority"},
		{"expired", &tls.Config{Certificates: []tls.Certificate{expired}}, false, routes.TLS{CAFile: ca.file}, webhook.ClassTLS, "expired"},
		{"another host's", &tls.Config{Certificates: []tls.Certificate{otherHost}}, false, routes.TLS{CAFile: ca.file}, webhook.ClassTLS, "127.0.0.1"},
		{"too old a version", &tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false, routes.TLS{CAFile: ca.file}, webhook.ClassTLS, "protocol version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := route(tlsReceiver(t, tt.server, tt.http2))
			r.Webhook.TLS = tt.tls
			answer := newSender(t, r).Send(context.Background(), message())
			if tt.class == "" {
				if answer.Status != 200 || string(answer.Body) != tt.want {
					t.Fatalf("answer = %d %q, %v; want %q", answer.Status, answer.Body, answer.Err, tt.want)
				}
				return
			}
			wantClass(t, answer, tt.class)
			if !strings.Contains(answer.Err.Error(), tt.want) {
				t.Errorf("err = %v, want %q", answer.Err, tt.want)
			}
		})
	}
}

// A receiver that speaks TLS where it should not, does not where it should, or stops.
func TestSendTLSMismatch(t *testing.T) {
	ca := newAuthority(t)
	good, _, _ := ca.issue("127.0.0.1", time.Now().Add(time.Hour))
	tests := []struct {
		name  string
		url   string
		class webhook.Class
	}{
		{"HTTP where TLS is due", "https" + strings.TrimPrefix(rawReceiver(t, func(p peer) { p.say("HTTP/1.0 400 Bad Request\r\n\r\n"); p.hang() }), "http"), webhook.ClassTLS},
		{"garbage where TLS is due", "https" + strings.TrimPrefix(rawReceiver(t, func(p peer) { p.say("\x00\x01\x02\x03\x04\x05\x06\x07"); p.hang() }), "http"), webhook.ClassTLS},
		{"closes in the handshake", "https" + strings.TrimPrefix(rawReceiver(t, func(p peer) { _, _ = p.r.ReadByte() }), "http"), webhook.ClassReset},
		{"silent in the handshake", "https" + strings.TrimPrefix(rawReceiver(t, peer.hang), "http"), webhook.ClassTimeoutTLS},
		{"TLS where HTTP is due", "http" + strings.TrimPrefix(tlsReceiver(t, &tls.Config{Certificates: []tls.Certificate{good}}, false), "https"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := route(tt.url)
			r.Webhook.Timeout = short
			answer := newSender(t, r).Send(context.Background(), message())
			if tt.class == "" {
				if answer.Status != 400 {
					t.Fatalf("answer = %d, %v; want Go's plain 400", answer.Status, answer.Err)
				}
				return
			}
			wantClass(t, answer, tt.class)
		})
	}
}

// Over HTTP/2 too: an attempt without a body, a silent receiver, headers too large.
func TestSendHTTP2(t *testing.T) {
	ca := newAuthority(t)
	pair, _, _ := ca.issue("127.0.0.1", time.Now().Add(time.Hour))
	release := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/silent":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "/huge":
			w.Header().Set("A", strings.Repeat("a", 100<<10))
		case "/many":
			for i := range 490 { // a little more than 64 KiB: far more breaks the connection
				w.Header().Set(fmt.Sprint("A", i), strings.Repeat("a", 100))
			}
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/endless":
			for chunk := bytes.Repeat([]byte("x"), 1000); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}
	}))
	srv.TLS, srv.EnableHTTP2 = &tls.Config{Certificates: []tls.Certificate{pair}}, true
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(release) })
	tests := []struct {
		path   string
		status int
		class  webhook.Class
	}{
		{"/", 200, ""},
		{"/endless", 200, ""},
		{"/silent", 0, webhook.ClassTimeoutHeaders},
		{"/huge", 0, webhook.ClassMalformed},
		{"/many", 0, webhook.ClassHeaderTooLarge},
		{"/abort", 0, webhook.ClassReset},
	}
	for _, tt := range tests {
		for _, body := range []string{`{"a":1}`, ""} {
			t.Run(tt.path+" "+body, func(t *testing.T) {
				r := route(srv.URL + tt.path)
				r.Webhook.TLS.CAFile = ca.file
				if tt.class == webhook.ClassTimeoutHeaders {
					r.Webhook.Timeout = short
				}
				m := message()
				m.Body = []byte(body)
				answer := sendInTime(context.Background(), t, r, m)
				if tt.class != "" {
					wantClass(t, answer, tt.class)
				} else if answer.Status != tt.status {
					t.Errorf("answer = %d, %v; want %d", answer.Status, answer.Err, tt.status)
				}
			})
		}
	}
}

func tlsConfig(pair tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}
