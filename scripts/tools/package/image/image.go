// Package image makes OCI image archives of static binaries, without a container runtime. The same content gives the
// same bytes.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Modes of the files in an image.
const (
	// Executable is the mode of a program.
	Executable = 0o755
	// Readable is the mode of a file that is read only.
	Readable = 0o644
)

// File is one file of an image. Root owns it.
type File struct {
	// Path is where it is in the image, such as /usr/bin/fleet.
	Path string
	// Source is the file on this machine.
	Source string
	// Mode is Executable or Readable.
	Mode int64
}

// Image is what one platform gets: one layer and its configuration.
type Image struct {
	// Platform is such as linux/amd64.
	Platform string
	// Files are the content of the layer.
	Files []File
	// Tmp adds /tmp, which every user may write to.
	Tmp bool
	// User is the user, or user:group, that runs the program. Empty: root.
	User string
	// Entrypoint is what a container runs.
	Entrypoint []string
	// Labels are in the configuration.
	Labels map[string]string
}

// build returns the image. All its times are created.
func (i Image) build(created time.Time) (v1.Image, *v1.Platform, error) {
	platform, err := v1.ParsePlatform(i.Platform)
	if err != nil || platform.OS == "" || platform.Architecture == "" {
		return nil, nil, fmt.Errorf("%q is no platform; write one such as linux/amd64", i.Platform)
	}
	content, err := i.layer(created)
	if err != nil {
		return nil, nil, err
	}
	layer, err := tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressionLevel(gzip.DefaultCompression),
		tarball.WithCompressedCaching,
	)
	if err != nil {
		return nil, nil, fmt.Errorf("making the layer of %s: %w", i.Platform, err)
	}

	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(base, &v1.ConfigFile{
		Created:      v1.Time{Time: created},
		OS:           platform.OS,
		Architecture: platform.Architecture,
		Variant:      platform.Variant,
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:       i.User,
			Entrypoint: i.Entrypoint,
			Labels:     i.Labels,
			Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			WorkingDir: "/",
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("making the configuration of %s: %w", i.Platform, err)
	}
	img, err = mutate.Append(img, mutate.Addendum{
		Layer:     layer,
		MediaType: types.OCILayer,
		History:   v1.History{Created: v1.Time{Time: created}, CreatedBy: "files of " + i.Platform},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("adding the layer of %s: %w", i.Platform, err)
	}
	return img, platform, nil
}

// layer returns the tar archive of the files, in the order of their paths, with the folders that they are in.
func (i Image) layer(modified time.Time) ([]byte, error) {
	files := slices.Clone(i.Files)
	folders := map[string]int64{}
	if i.Tmp {
		folders["tmp/"] = 0o1777
	}
	for n, file := range files {
		clean := strings.TrimPrefix(path.Clean(file.Path), "/")
		if !path.IsAbs(file.Path) || clean == "" {
			return nil, fmt.Errorf("%q is no path in an image; write it with a slash in front", file.Path)
		}
		files[n].Path = clean
		for folder := path.Dir(clean); folder != "."; folder = path.Dir(folder) {
			if _, ok := folders[folder+"/"]; !ok {
				folders[folder+"/"] = 0o755
			}
		}
	}
	for folder, mode := range folders {
		files = append(files, File{Path: folder, Mode: mode})
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })

	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	for n, file := range files {
		if n > 0 && file.Path == files[n-1].Path {
			return nil, fmt.Errorf("/%s is in the image twice; name it once", file.Path)
		}
		if err := add(archive, file, modified); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("closing the layer: %w", err)
	}
	return buffer.Bytes(), nil
}

// add writes a file, or a folder when its path ends with a slash.
func add(archive *tar.Writer, file File, modified time.Time) error {
	header := &tar.Header{Name: file.Path, Mode: file.Mode, ModTime: modified, Typeflag: tar.TypeDir}
	var content []byte
	if !strings.HasSuffix(file.Path, "/") {
		var err error
		if content, err = os.ReadFile(file.Source); err != nil {
			return fmt.Errorf("reading what becomes /%s: %w", file.Path, err)
		}
		header.Typeflag = tar.TypeReg
		header.Size = int64(len(content))
	}
	if err := archive.WriteHeader(header); err != nil {
		return fmt.Errorf("adding /%s: %w", file.Path, err)
	}
	if _, err := archive.Write(content); err != nil {
		return fmt.Errorf("adding /%s: %w", file.Path, err)
	}
	return nil
}
