package canary

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/assert"
)

const marker = "CANARY-4242-do-not-leak"

func TestTheScanFindsWhatItLooksFor(t *testing.T) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte(`{"data":"` + base64.StdEncoding.EncodeToString([]byte("x"+marker+"y")) + `"}`))
	_ = w.Close()
	encoded := base64.StdEncoding.EncodeToString(zipped.Bytes())
	for title, value := range map[string]string{
		"plain": "a " + marker, "base64": base64.StdEncoding.EncodeToString([]byte("ab" + marker + "c")),
		"gzip in base64": `{"content":"` + encoded + `"}`, "gzip in base64 twice": `{"release":"` + base64.StdEncoding.EncodeToString([]byte(encoded)) + `"}`,
	} {
		assert.True(t, Holds([]byte(value), marker), title)
	}
	assert.False(t, Holds([]byte(`{"content":"CANARY"}`), marker))
}
