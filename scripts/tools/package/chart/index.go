package chart

import (
	"fmt"
	"path/filepath"
	"time"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/provenance"
	"helm.sh/helm/v3/pkg/repo"
	"sigs.k8s.io/yaml"
)

// IndexFile is the name of the index of a Helm repository.
const IndexFile = "index.yaml"

// WriteIndex writes the index of all chart archives in a folder. The addresses in it are relative to the index when url
// is empty. An archive counts as created when its newest entry was, and the index when its newest archive was: an
// archive that is added changes nothing about the others.
func WriteIndex(folder, url string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.tgz"))
	if err != nil {
		return fmt.Errorf("looking for archives in %s: %w", folder, err)
	}
	index := repo.NewIndexFile()
	index.Generated = time.Time{}
	for _, file := range files {
		created, err := addArchive(index, file, url)
		if err != nil {
			return fmt.Errorf("adding %s to the index: %w", file, err)
		}
		if created.After(index.Generated) {
			index.Generated = created
		}
	}
	index.SortEntries()
	content, err := yaml.Marshal(index)
	if err != nil {
		return fmt.Errorf("writing the index of %s: %w", folder, err)
	}
	return replace(filepath.Join(folder, IndexFile), content)
}

// addArchive adds an archive to the index and returns when it was created.
func addArchive(index *repo.IndexFile, file, url string) (time.Time, error) {
	loaded, err := loader.LoadFile(file)
	if err != nil {
		return time.Time{}, err
	}
	digest, err := provenance.DigestFile(file)
	if err != nil {
		return time.Time{}, err
	}
	created, err := newestEntry(file)
	if err != nil {
		return time.Time{}, err
	}
	if err := index.MustAdd(loaded.Metadata, filepath.Base(file), url, digest); err != nil {
		return time.Time{}, err
	}
	versions := index.Entries[loaded.Name()]
	versions[len(versions)-1].Created = created
	return created, nil
}

// newestEntry returns the newest time in an archive.
func newestEntry(file string) (time.Time, error) {
	archive, err := read(file)
	if err != nil {
		return time.Time{}, err
	}
	var newest time.Time
	for _, e := range archive.entries {
		if e.header.ModTime.After(newest) {
			newest = e.header.ModTime
		}
	}
	return newest.UTC(), nil
}
