package main

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"relay/internal/natsconn"
)

// natsFlags adds the flags by which every command that needs NATS finds it.
func natsFlags(cmd *cobra.Command) *natsconn.Options {
	o := &natsconn.Options{Name: "relay " + cmd.Name()}
	f := cmd.Flags()
	f.StringVar(&o.URL, "nats", "", "NATS server URL, or several separated by commas [RELAY_NATS_URL] (default nats://127.0.0.1:4222)")
	f.StringVar(&o.Context, "nats-context", "", "context of the nats CLI to connect with")
	f.StringVar(&o.Creds, "nats-creds", "", "credentials file")
	f.StringVar(&o.NKey, "nats-nkey", "", "file with an nkey seed")
	f.StringVar(&o.TLSCA, "nats-tls-ca", "", "PEM file of the authorities to trust")
	f.StringVar(&o.TLSCert, "nats-tls-cert", "", "client certificate, PEM")
	f.StringVar(&o.TLSKey, "nats-tls-key", "", "key of the client certificate, PEM")
	return o
}

// natsGiven is the first flag of natsFlags that was given; empty: none was.
func natsGiven(cmd *cobra.Command) (flag string) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if flag == "" && (f.Name == "nats" || strings.HasPrefix(f.Name, "nats-")) && f.Name != "nats-port" {
			flag = "--" + f.Name
		}
	})
	return flag
}

// askJetStream connects to a server that answers now; one that does not is an error. The
// caller closes the connection.
func askJetStream(cmd *cobra.Command, o *natsconn.Options) (jetstream.JetStream, error) {
	conn, err := natsconn.Connect(cmd.Context(), *o)
	if err != nil {
		return nil, unusable(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, unusable(fmt.Errorf("use JetStream: %w", err))
	}
	return js, nil
}
