package upstream_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReasonsHaveNoPortsOfThisSideAndNoTime(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"reset":      {connectionReset(t), "connection reset by peer"},
		"name":       {&net.DNSError{Err: "read udp 10.0.0.1:5353->10.0.0.2:53: i/o timeout", Name: "vault", IsTimeout: true}, "the name vault cannot be looked up"},
		"timeout":    {&net.OpError{Op: "dial", Err: context.DeadlineExceeded}, "no answer in time"},
		"expired":    {x509.CertificateInvalidError{Reason: x509.Expired, Detail: "current time 2026-01-01"}, "the certificate of the server has expired or is not valid yet"},
		"other ends": {errors.New("read tcp 10.0.0.1:50312->10.0.0.2:8200: something else"), "read tcp something else"},
	} {
		assert.Equal(t, c.want, upstream.ReasonOf(t.Context(), c.err), name)
	}
}

// connectionReset is the error of a connection that the other side has reset.
func connectionReset(t *testing.T) error {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		connection, err := listener.Accept()
		if err == nil {
			_, _ = connection.Read(make([]byte, 1))
			_ = connection.(*net.TCPConn).SetLinger(0)
			_ = connection.Close()
		}
	}()
	_, err = http.Get("http://" + listener.Addr().String()) //nolint:bodyclose,noctx // there is no answer
	require.ErrorContains(t, err, "->")
	return err
}
