package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// ErrRefused is what the server says to a wrong password, and to a user that
// it does not know or that may not log in.
var ErrRefused = errors.New("PostgreSQL refused the login")

// Login logs in, and out again. The error matches ErrRefused when the server
// answers and does not want the user.
func (s *Server) Login(ctx context.Context, user, password string) error {
	_, err := s.Query(ctx, user, password, "SELECT 1")
	return err
}

// Exec carries out statements as the superuser, and returns the rows as Query
// does.
func (s *Server) Exec(ctx context.Context, statements string) (string, error) {
	return s.Query(ctx, Superuser, s.Password, statements)
}

// Query carries out statements as a user and returns the rows, one a line, with
// | between the columns. The error matches ErrRefused as that of Login does.
// Passwords and statements are on no command line.
func (s *Server) Query(ctx context.Context, user, password, statements string) (string, error) {
	cmd := exec.CommandContext(ctx, s.programs.psql, "--no-psqlrc", "--no-align", "--tuples-only", "--no-password", "--quiet",
		"--set=ON_ERROR_STOP=1", "--set=VERBOSITY=terse",
		"--host="+s.Host, "--port="+strconv.Itoa(s.Port), "--username="+user, "--dbname=postgres")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir, "LC_ALL=C", "PGCONNECT_TIMEOUT=10", "PGPASSWORD=" + password}
	cmd.Stdin = strings.NewReader(statements)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	said := strings.TrimSpace(errs.String())
	if strings.Contains(said, "password authentication failed") || strings.Contains(said, "is not permitted to log in") {
		err = ErrRefused
	}
	if err != nil {
		return "", fmt.Errorf("as the database user %s: %w: %s", user, err, said)
	}
	return strings.TrimSpace(out.String()), nil
}
