// Package chart makes Helm chart archives and the index of a Helm repository. The same chart gives the same bytes.
package chart

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/scripts/tools/package/file"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
)

// upstreamVersion is the annotation that Rancher shows beside the version of a chart.
const upstreamVersion = "catalog.cattle.io/upstream-version"

// Archive writes what "helm package" makes of the chart in folder to output, and returns the name of the file. The chart
// gets version as its version, its appVersion and its upstream version, when it has that. The entries are sorted, belong
// to root, and have the time modified.
func Archive(folder, version, output string, modified time.Time) (archive string, err error) {
	loaded, err := loader.LoadDir(folder)
	if err != nil {
		return "", fmt.Errorf("reading the chart in %s: %w", folder, err)
	}
	loaded.Metadata.Version = version
	loaded.Metadata.AppVersion = version
	if _, found := loaded.Metadata.Annotations[upstreamVersion]; found {
		loaded.Metadata.Annotations[upstreamVersion] = version
	}
	for _, wanted := range loaded.Metadata.Dependencies {
		if !slices.ContainsFunc(loaded.Dependencies(), func(c *helmChart) bool { return c.Name() == wanted.Name }) {
			return "", fmt.Errorf("%s depends on chart %s, which is not in its folder charts; put it there", folder, wanted.Name)
		}
	}

	work, err := os.MkdirTemp("", "chart-")
	if err != nil {
		return "", fmt.Errorf("making a folder for the archive: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	saved, err := chartutil.Save(loaded, work)
	if err != nil {
		return "", fmt.Errorf("packing the chart in %s: %w", folder, err)
	}
	content, err := normalize(saved, modified)
	if err != nil {
		return "", fmt.Errorf("packing the chart in %s: %w", folder, err)
	}
	archive = filepath.Join(output, filepath.Base(saved))
	if err := file.Replace(archive, content); err != nil {
		return "", err
	}
	return archive, nil
}

// normalize returns an archive of Helm with its entries sorted, and with fixed times and owners.
func normalize(saved string, modified time.Time) ([]byte, error) {
	unpacked, err := read(saved)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(unpacked.entries, func(a, b entry) int { return strings.Compare(a.header.Name, b.header.Name) })

	var buffer bytes.Buffer
	zipper := gzip.NewWriter(&buffer)
	// Helm marks its archives with these.
	zipper.Extra, zipper.Comment = unpacked.gzip.Extra, unpacked.gzip.Comment
	archive := tar.NewWriter(zipper)
	for _, e := range unpacked.entries {
		header := &tar.Header{Name: e.header.Name, Mode: e.header.Mode, Size: int64(len(e.content)), ModTime: modified, Typeflag: tar.TypeReg}
		if err := archive.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("adding %s: %w", e.header.Name, err)
		}
		if _, err := archive.Write(e.content); err != nil {
			return nil, fmt.Errorf("adding %s: %w", e.header.Name, err)
		}
	}
	if err := errors.Join(archive.Close(), zipper.Close()); err != nil {
		return nil, fmt.Errorf("closing the archive: %w", err)
	}
	return buffer.Bytes(), nil
}

// entry is one file of an archive.
type entry struct {
	header  *tar.Header
	content []byte
}

// unpacked is the content of an archive.
type unpacked struct {
	gzip    gzip.Header
	entries []entry
}

// read returns what is in an archive.
func read(path string) (unpacked, error) {
	in, err := os.Open(path)
	if err != nil {
		return unpacked{}, err
	}
	defer in.Close()
	zipped, err := gzip.NewReader(in)
	if err != nil {
		return unpacked{}, fmt.Errorf("reading %s: %w", path, err)
	}
	result := unpacked{gzip: zipped.Header}
	archive := tar.NewReader(zipped)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return result, nil
		}
		if err != nil {
			return unpacked{}, fmt.Errorf("reading %s: %w", path, err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return unpacked{}, fmt.Errorf("reading %s of %s: %w", header.Name, path, err)
		}
		result.entries = append(result.entries, entry{header, content})
	}
}
