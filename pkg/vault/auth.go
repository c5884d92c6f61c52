package vault

import (
	"context"
	"crypto/tls"
	"strings"
)

// Auth is how one identity logs in.
type Auth interface {
	// ID is the same for the same identity. It holds no secret byte.
	ID() string
	// Credentials are read anew for each login.
	Credentials(ctx context.Context) (Credentials, error)
}

// Credentials are what one login needs: a Token, or a Path with what the method asks for.
type Credentials struct {
	// Token is used as it is, and never given back.
	Token string
	// Path is that of the login, such as auth/kubernetes/login.
	Path string
	// Body is what is sent there.
	Body map[string]any
	// Certificate is shown to the server, for the method cert.
	Certificate *tls.Certificate
}

// LoginPath is the path of a login for an auth mount: with or without auth/, /login and slashes around it.
func LoginPath(mount string) string {
	mount = strings.TrimSuffix(strings.Trim(mount, "/"), "/login")
	return "auth/" + strings.TrimPrefix(mount, "auth/") + "/login"
}
