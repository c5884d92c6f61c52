package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"regexp"
	"strings"
	"syscall"
)

// maxReason bounds what is taken of the words of others.
const maxReason = 200

// ends are the two ends of a connection, as in "read tcp 10.0.0.1:50312->10.0.0.2:8200: ".
var ends = regexp.MustCompile(`\S+->\S+:?\s*`)

// ReasonOf says in our own words why there was no answer. It ends up in conditions: while the cause stays the same, so does
// the text. The words of the library have the whole URL, ports of this side, and the time.
func ReasonOf(ctx context.Context, err error) string {
	var timeout net.Error
	var name *net.DNSError
	var errno syscall.Errno
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	var failed *url.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return "it was not waited for"
	case err == nil:
		return "no answer"
	case errors.As(err, &name):
		return "the name " + name.Name + " cannot be looked up"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate of the server has expired or is not valid yet"
	case errors.As(err, &alert):
		return alert.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed"
	case errors.As(err, &failed):
		err = failed.Err
	}
	return Shorten(ends.ReplaceAllString(err.Error(), ""))
}

// Shorten bounds words of others that end up in a condition.
func Shorten(text string) string {
	if len(text) > maxReason {
		return strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}
