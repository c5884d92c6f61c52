// Package canary looks for secret data where none may be: in etcd outside of Secrets, in logs and in metrics.
package canary

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
)

// Forms are the ways in which a text may stand in a store: plain, and in base64 at each of the three offsets, without
// the characters at both ends that depend on their neighbours.
func Forms(text string) [][]byte {
	out := [][]byte{[]byte(text)}
	for offset := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", offset) + text))
		out = append(out, []byte(encoded[4:len(encoded)-4]))
	}
	return out
}

// Holds says whether a value holds the text in one of its forms, also inside gzip in base64, as Fleet's Contents and
// Helm's releases are, and inside base64 of base64.
func Holds(value []byte, text string) bool {
	for _, form := range Forms(text) {
		if bytes.Contains(value, form) || bytes.Contains(value, Forms(string(form))[1]) {
			return true
		}
	}
	for _, field := range bytes.FieldsFunc(value, func(r rune) bool { return r == '"' || r < ' ' }) {
		for range 2 {
			decoded, err := base64.StdEncoding.DecodeString(string(field))
			if err != nil {
				break
			}
			field = decoded
			if reader, err := gzip.NewReader(bytes.NewReader(decoded)); err == nil {
				plain, _ := io.ReadAll(reader)
				if Holds(plain, text) {
					return true
				}
			}
		}
	}
	return false
}

// WhereIs lists the keys in a cluster's etcd whose values hold the text.
func WhereIs(ctx context.Context, c *lab.Cluster, text string) ([]string, error) {
	var keys []string
	scanned := 0
	err := c.RangeEtcd(ctx, "/", func(key string, value []byte) error {
		scanned++
		if Holds(value, text) {
			keys = append(keys, key)
		}
		return nil
	})
	if err == nil && scanned < 50 {
		err = fmt.Errorf("the scan of %s has seen %d keys only", c.Name, scanned)
	}
	return keys, err
}

// secretsPrefix is where the API server keeps Secrets.
const secretsPrefix = "/registry/secrets/"

// Leaks lists the keys in a cluster's etcd that hold the text and are no Secrets.
func Leaks(ctx context.Context, c *lab.Cluster, text string) ([]string, error) {
	keys, err := WhereIs(ctx, c, text)
	var leaks []string
	for _, key := range keys {
		if !strings.HasPrefix(key, secretsPrefix) {
			leaks = append(leaks, c.Name+": "+key)
		}
	}
	return leaks, err
}
