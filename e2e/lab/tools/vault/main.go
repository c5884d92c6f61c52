// Command vault-lab is a Vault server for a lab: initialized, unsealed, and
// with those engines and auth methods only that the lab uses. It ends on
// SIGTERM.
//
// The root token is read from the environment, so that no list of processes
// shows it.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/vault"
)

// tokenEnv names the environment variable with the root token.
const tokenEnv = "VAULT_LAB_ROOT_TOKEN"

// patience bounds the requests that are under way when the server ends.
const patience = 2 * time.Second

type options struct {
	// listen is the address, host:port
	listen string
	// data is the folder that everything is kept in; none keeps it in memory
	data string
	// cert and key are PEM files; none serves without TLS
	cert, key string
	// audit is the file of the audit log; none writes none
	audit string
	// token is the root token
	token string
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "", "address:port to listen on")
	flag.StringVar(&o.data, "data", "", "folder for all data; without it they are kept in memory")
	flag.StringVar(&o.cert, "tls-cert", "", "PEM file with the server's certificate; without it there is no TLS")
	flag.StringVar(&o.key, "tls-key", "", "PEM file with the certificate's key")
	flag.StringVar(&o.audit, "audit-log", "", "file for the audit log; without it there is none")
	flag.Parse()
	o.token = os.Getenv(tokenEnv)
	_ = os.Unsetenv(tokenEnv)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "vault-lab:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, o options) error {
	if o.token == "" {
		return fmt.Errorf("there is no root token; set %s", tokenEnv)
	}
	listener, err := listen(o)
	if err != nil {
		return err
	}
	logger := hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Warn})
	core, err := open(ctx, o, logger)
	if err != nil {
		return errors.Join(err, listener.Close())
	}

	server := &http.Server{
		Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core:           core,
			ListenerConfig: &configutil.Listener{},
		}),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          logger.StandardLogger(nil),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err = <-served:
	case <-ctx.Done():
		last, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = server.Shutdown(last) // what is still under way is cut off
	}
	if err := errors.Join(err, core.Shutdown()); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "vault-lab: stopped")
	return nil
}

// listen opens the port. Clients may show a certificate; the cert auth method
// judges it.
func listen(o options) (net.Listener, error) {
	listener, err := net.Listen("tcp", o.listen)
	if err != nil || o.cert == "" {
		return listener, err
	}
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return tls.NewListener(listener, &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequestClientCert,
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
	}), nil
}
