package chart

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/scripts/tools/package/file"
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
//
// Charts whose icon is a file of the Git repository (file://) get icon, the name of a file in the folder: Rancher finds
// theirs in the Git repository only. The archives keep it, because helm lint refuses a relative address.
func WriteIndex(folder, url, icon string) error {
	archives, err := filepath.Glob(filepath.Join(folder, "*.tgz"))
	if err != nil {
		return fmt.Errorf("looking for archives in %s: %w", folder, err)
	}
	index := repo.NewIndexFile()
	index.Generated = time.Time{}
	for _, archive := range archives {
		created, err := addArchive(index, archive, url, icon)
		if err != nil {
			return fmt.Errorf("adding %s to the index: %w", archive, err)
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
	return file.Replace(filepath.Join(folder, IndexFile), content)
}

// addArchive adds an archive to the index and returns when it was created.
func addArchive(index *repo.IndexFile, archive, url, icon string) (time.Time, error) {
	loaded, err := loader.LoadFile(archive)
	if err != nil {
		return time.Time{}, err
	}
	digest, err := provenance.DigestFile(archive)
	if err != nil {
		return time.Time{}, err
	}
	created, err := newestEntry(archive)
	if err != nil {
		return time.Time{}, err
	}
	if strings.HasPrefix(loaded.Metadata.Icon, "file://") {
		if icon == "" {
			return time.Time{}, fmt.Errorf("its icon %s is a file of the Git repository; give one with --icon", loaded.Metadata.Icon)
		}
		loaded.Metadata.Icon = icon
		if url != "" {
			loaded.Metadata.Icon = strings.TrimSuffix(url, "/") + "/" + icon
		}
	}
	if err := index.MustAdd(loaded.Metadata, filepath.Base(archive), url, digest); err != nil {
		return time.Time{}, err
	}
	versions := index.Entries[loaded.Name()]
	versions[len(versions)-1].Created = created
	return created, nil
}

// newestEntry returns the newest time in an archive.
func newestEntry(path string) (time.Time, error) {
	archive, err := read(path)
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
