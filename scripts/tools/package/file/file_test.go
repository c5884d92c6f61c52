package file_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/scripts/tools/package/file"
	"github.com/stretchr/testify/require"
)

func TestWhoReadsGetsTheFormerContentOrTheNewOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	require.NoError(t, file.Replace(path, []byte("former")))
	reader, err := os.Open(path)
	require.NoError(t, err)
	defer reader.Close()

	require.NoError(t, file.ReplaceWith(path, func(out io.Writer) error {
		_, err := out.Write([]byte("half of the "))
		require.NoError(t, err)
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "former", string(content))
		_, err = out.Write([]byte("new"))
		return err
	}))
	content, err := io.ReadAll(reader)
	require.NoError(t, err)
	require.Equal(t, "former", string(content))
	content, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "half of the new", string(content))
}

func TestAFileThatCannotBeWrittenStaysAsItIs(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "a")
	require.NoError(t, file.Replace(path, []byte("former")))
	require.ErrorContains(t, file.ReplaceWith(path, func(out io.Writer) error {
		_, err := out.Write([]byte("half"))
		return errors.Join(err, errors.New("no more"))
	}), "no more")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "former", string(content))
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.ErrorContains(t, file.Replace(filepath.Join(folder, "missing", "a"), nil), "writing "+folder)
}
