package image_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/scripts/tools/package/image"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/stretchr/testify/require"
)

func file(t *testing.T, content string) string {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

// unpack returns the folder that an archive is unpacked into.
func unpack(t *testing.T, archive string) string {
	folder := t.TempDir()
	in, err := os.Open(archive)
	require.NoError(t, err)
	defer in.Close()
	for entries := tar.NewReader(in); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return folder
		}
		require.NoError(t, err)
		target := filepath.Join(folder, header.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(target), 0o755))
		content, err := io.ReadAll(entries)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(target, content, 0o644))
	}
}

func TestAnImageOfOnePlatformIsNamedAndHasItsFiles(t *testing.T) {
	created := time.Unix(1700000000, 0).UTC()
	output := filepath.Join(t.TempDir(), "x.tar")
	digest, err := image.Archive{
		Name:    "docker.io/rancher/fleet:v0.16.0",
		Created: created,
		Images: []image.Image{{
			Platform:   "linux/amd64",
			User:       "1000",
			Tmp:        true,
			Entrypoint: []string{"fleet", "serve"},
			Files: []image.File{
				{Path: "/usr/bin/fleet", Source: file(t, "program"), Mode: image.Executable},
				{Path: "/etc/ssl/certs/ca-certificates.crt", Source: file(t, "roots"), Mode: image.Readable},
			},
		}},
	}.Write(output)
	require.NoError(t, err)

	folder := unpack(t, output)
	require.NoError(t, image.Validate(folder))
	index, err := layout.ImageIndexFromPath(folder)
	require.NoError(t, err)
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	require.Len(t, manifest.Manifests, 1)
	found := manifest.Manifests[0]
	require.True(t, found.MediaType.IsImage(), "one platform needs no index of platforms")
	require.Equal(t, digest, found.Digest.String())
	require.Equal(t, "docker.io/rancher/fleet:v0.16.0", found.Annotations["io.containerd.image.name"])
	require.Equal(t, "v0.16.0", found.Annotations["org.opencontainers.image.ref.name"])

	img, err := index.Image(found.Digest)
	require.NoError(t, err)
	config, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, "1000", config.Config.User)
	require.Equal(t, []string{"fleet", "serve"}, config.Config.Entrypoint)
	layers, err := img.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
	content, err := layers[0].Uncompressed()
	require.NoError(t, err)
	var entries []string
	for archive := tar.NewReader(content); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.Equal(t, created, header.ModTime.UTC())
		entries = append(entries, fmt.Sprintf("%04o %d:%d %s", header.Mode, header.Uid, header.Gid, header.Name))
	}
	require.Equal(t, []string{
		"0755 0:0 etc/",
		"0755 0:0 etc/ssl/",
		"0755 0:0 etc/ssl/certs/",
		"0644 0:0 etc/ssl/certs/ca-certificates.crt",
		"1777 0:0 tmp/",
		"0755 0:0 usr/",
		"0755 0:0 usr/bin/",
		"0755 0:0 usr/bin/fleet",
	}, entries)
}

func TestALayoutThatIsDamagedIsNotValid(t *testing.T) {
	output := filepath.Join(t.TempDir(), "x.tar")
	_, err := image.Archive{
		Name:   "docker.io/rancher/fleet:v0.16.0",
		Images: []image.Image{{Platform: "linux/amd64", Files: []image.File{{Path: "/a", Source: file(t, "a"), Mode: image.Readable}}}},
	}.Write(output)
	require.NoError(t, err)
	folder := unpack(t, output)
	blobs, err := filepath.Glob(filepath.Join(folder, "blobs", "sha256", "*"))
	require.NoError(t, err)
	require.Len(t, blobs, 3)
	for _, blob := range blobs {
		content, err := os.ReadFile(blob)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(blob, append(content, ' '), 0o644))
		require.Error(t, image.Validate(folder))
		require.NoError(t, os.WriteFile(blob, content, 0o644))
	}
	require.NoError(t, image.Validate(folder))
}

func TestAnImageThatIsNotCompleteIsRefused(t *testing.T) {
	a := image.File{Path: "/a", Source: file(t, "a"), Mode: image.Readable}
	for name, test := range map[string]struct {
		archive image.Archive
		want    string
	}{
		"no tag":          {image.Archive{Name: "docker.io/rancher/fleet"}, "is no whole name of an image"},
		"no registry":     {image.Archive{Name: "rancher/fleet:v1"}, "is no whole name of an image"},
		"no image":        {image.Archive{}, "has no platform"},
		"no platform":     {image.Archive{Images: []image.Image{{}}}, "is no platform"},
		"half a platform": {image.Archive{Images: []image.Image{{Platform: "linux"}}}, "is no platform"},
		"a missing file":  {one(image.File{Path: "/a", Source: filepath.Join(t.TempDir(), "b")}), "reading what becomes /a"},
		"the same twice":  {one(a, image.File{Path: "//a", Source: a.Source}), "/a is in the image twice"},
		"a relative path": {one(image.File{Path: "a", Source: a.Source}), "is no path in an image"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.archive.Name == "" {
				test.archive.Name = "docker.io/rancher/fleet:v0.16.0"
			}
			output := filepath.Join(t.TempDir(), "x.tar")
			_, err := test.archive.Write(output)
			require.ErrorContains(t, err, test.want)
			require.NoFileExists(t, output)
		})
	}
}

func one(files ...image.File) image.Archive {
	return image.Archive{Images: []image.Image{{Platform: "linux/amd64", Files: files}}}
}
