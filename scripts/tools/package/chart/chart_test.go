package chart_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/scripts/tools/package/chart"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
)

// files writes files to a new folder.
func files(t *testing.T, content map[string]string) string {
	folder := t.TempDir()
	for name, text := range content {
		file := filepath.Join(folder, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	return folder
}

func tiny(t *testing.T) string {
	return files(t, map[string]string{
		"Chart.yaml":           "apiVersion: v2\nname: tiny\nversion: 0.1.0\nappVersion: 0.1.0\nannotations: {catalog.cattle.io/upstream-version: 0.1.0}\n",
		"values.yaml":          "a: 1 # the comment stays\n",
		"values.schema.json":   `{"type": "object"}`,
		"README.md":            "a chart\n",
		"templates/b.yaml":     "kind: B\n",
		"templates/a.yaml":     "kind: A\n",
		"tests/a_test.yaml":    "suite: a\n",
		"notes.bak":            "not for others\n",
		"files/dashboard.json": "{}",
		".helmignore":          "# not released\n/tests/\n*.bak\n",
	})
}

// entries returns the names and contents in an archive, and the names in their order.
func entries(t *testing.T, file string, check func(*tar.Header)) (map[string]string, []string) {
	in, err := os.Open(file)
	require.NoError(t, err)
	defer in.Close()
	zipped, err := gzip.NewReader(in)
	require.NoError(t, err)
	found, order := map[string]string{}, []string{}
	for archive := tar.NewReader(zipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found, order
		}
		require.NoError(t, err)
		check(header)
		content, err := io.ReadAll(archive)
		require.NoError(t, err)
		found[header.Name] = string(content)
		order = append(order, header.Name)
	}
}

func TestAnArchiveHasWhatHelmPacksInAFixedOrder(t *testing.T) {
	folder, modified := tiny(t), time.Unix(1700000000, 0)
	file, err := chart.Archive(folder, "0.2.0-rc.1", t.TempDir(), modified)
	require.NoError(t, err)
	require.Equal(t, "tiny-0.2.0-rc.1.tgz", filepath.Base(file))
	got, order := entries(t, file, func(header *tar.Header) {
		require.Equal(t, modified.Unix(), header.ModTime.Unix(), header.Name)
		require.Zero(t, header.Uid+header.Gid, header.Name)
		require.Equal(t, int64(0o644), header.Mode, header.Name)
	})
	require.Equal(t, []string{
		"tiny/.helmignore", "tiny/Chart.yaml", "tiny/README.md", "tiny/files/dashboard.json",
		"tiny/templates/a.yaml", "tiny/templates/b.yaml", "tiny/values.schema.json", "tiny/values.yaml",
	}, order, "what .helmignore names is left out")

	loaded, err := loader.LoadDir(folder)
	require.NoError(t, err)
	loaded.Metadata.Version, loaded.Metadata.AppVersion = "0.2.0-rc.1", "0.2.0-rc.1"
	loaded.Metadata.Annotations["catalog.cattle.io/upstream-version"] = "0.2.0-rc.1"
	saved, err := chartutil.Save(loaded, t.TempDir())
	require.NoError(t, err)
	want, _ := entries(t, saved, func(*tar.Header) {})
	require.Equal(t, want, got)
}

func TestAChartWithoutItsDependencyIsRefused(t *testing.T) {
	folder := files(t, map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: tiny\nversion: 0.1.0\ndependencies: [{name: other, version: 1.0.0, repository: https://example.org}]\n",
	})
	output := t.TempDir()
	_, err := chart.Archive(folder, "0.1.0", output, time.Unix(0, 0))
	require.ErrorContains(t, err, "depends on chart other")
}

func TestAnIndexIsNotMadeOfABrokenArchive(t *testing.T) {
	folder := files(t, map[string]string{"a-1.0.0.tgz": "not an archive"})
	require.ErrorContains(t, chart.WriteIndex(folder, "", ""), "a-1.0.0.tgz")
	require.NoFileExists(t, filepath.Join(folder, chart.IndexFile))
}

func TestTheVersionIsTheOneOfAllCharts(t *testing.T) {
	const head = "apiVersion: v2\nname: tiny\n"
	for name, test := range map[string]struct {
		wanted, one, another string
		want, problem        string
	}{
		"all the same":          {one: "version: 0.1.0\nappVersion: 0.1.0", another: "version: 0.1.0\nappVersion: 0.1.0", want: "0.1.0"},
		"VERSION decides":       {wanted: "0.1.1", one: "version: 0.1.0\nappVersion: 7", another: "version: 0.2.0", want: "0.1.1"},
		"a release candidate":   {wanted: "0.2.0-rc.1", want: "0.2.0-rc.1"},
		"appVersion differs":    {one: "version: 0.1.0\nappVersion: 0.1.1", problem: `has version "0.1.0" and appVersion "0.1.1"; write the same in both, or set VERSION`},
		"appVersion is missing": {one: "version: 0.1.0", problem: `and appVersion ""; write the same`},
		"charts differ":         {one: "version: 0.1.0\nappVersion: 0.1.0", another: "version: 0.2.0\nappVersion: 0.2.0", problem: `has version "0.1.0" and`},
		"a chart has a v":       {one: "version: v0.1.0\nappVersion: v0.1.0", problem: "Semantic Versioning 2"},
		"VERSION has a v":       {wanted: "v0.1.1", problem: `VERSION is "v0.1.1": write a version of Semantic Versioning 2 without a v, such as 0.1.1 or 0.2.0-rc.1`},
		"VERSION has two parts": {wanted: "0.1", problem: "Semantic Versioning 2"},
		"VERSION has a zero":    {wanted: "0.01.0", problem: "Semantic Versioning 2"},
		"VERSION is a word":     {wanted: "latest", problem: "Semantic Versioning 2"},
		"VERSION has a space":   {wanted: "0.1.0 ", problem: "Semantic Versioning 2"},
		"VERSION has metadata":  {wanted: "0.1.0+build.1", problem: "the tag of an image cannot hold it"},
	} {
		t.Run(name, func(t *testing.T) {
			var folders []string
			for _, text := range []string{test.one, test.another} {
				if text != "" {
					folders = append(folders, files(t, map[string]string{"Chart.yaml": head + text}))
				}
			}
			got, err := chart.Version(test.wanted, folders...)
			if test.problem != "" {
				require.ErrorContains(t, err, test.problem)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}
