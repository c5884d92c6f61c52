package image

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/scripts/tools/package/file"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// Annotations that say how the image in an archive is called.
const (
	// annotationImageName holds the whole name. containerd and Podman read it.
	annotationImageName = "io.containerd.image.name"
	// annotationRefName holds the tag, as the OCI image layout has it. Skopeo reads it.
	annotationRefName = "org.opencontainers.image.ref.name"
)

// Archive is an image for one or more platforms, as a tar file of an OCI image layout.
type Archive struct {
	// Name is the whole name of the image, such as docker.io/rancher/fleet:v0.16.0.
	Name string
	// Created is the time of the image and of everything in it.
	Created time.Time
	// Annotations are on each manifest and on the index.
	Annotations map[string]string
	// Images has one image for each platform. When there is one only, the archive has no index of platforms.
	Images []Image
}

// Write writes the archive to a file, reads the layout again, and returns the digest that the image has in a registry.
func (a Archive) Write(path string) (digest string, err error) {
	tag, err := name.NewTag(a.Name, name.StrictValidation)
	if err != nil {
		return "", fmt.Errorf("%q is no whole name of an image; write one such as docker.io/rancher/fleet:v0.16.0: %w", a.Name, err)
	}
	if len(a.Images) == 0 {
		return "", errors.New("the image has no platform; give it at least one")
	}
	folder, err := os.MkdirTemp("", "image-")
	if err != nil {
		return "", fmt.Errorf("making a folder for the layout: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()

	if digest, err = a.writeLayout(folder, tag.TagStr()); err != nil {
		return "", fmt.Errorf("writing the layout of %s: %w", a.Name, err)
	}
	if err := Validate(folder); err != nil {
		return "", err
	}
	if err := file.ReplaceWith(path, func(out io.Writer) error { return pack(folder, out, a.Created) }); err != nil {
		return "", err
	}
	return digest, nil
}

// writeLayout writes the OCI image layout to a folder.
func (a Archive) writeLayout(folder, tag string) (string, error) {
	target, err := layout.Write(folder, empty.Index)
	if err != nil {
		return "", err
	}
	names := layout.WithAnnotations(map[string]string{annotationImageName: a.Name, annotationRefName: tag})

	index := v1.ImageIndex(empty.Index)
	for _, i := range a.Images {
		img, platform, err := i.build(a.Created)
		if err != nil {
			return "", err
		}
		if len(a.Annotations) > 0 {
			img = mutate.Annotations(img, a.Annotations).(v1.Image)
		}
		if len(a.Images) == 1 {
			if err := target.AppendImage(img, names, layout.WithPlatform(*platform)); err != nil {
				return "", err
			}
			return digestOf(img)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: platform}})
	}
	if len(a.Annotations) > 0 {
		index = mutate.Annotations(index, a.Annotations).(v1.ImageIndex)
	}
	if err := target.AppendIndex(index, names); err != nil {
		return "", err
	}
	return digestOf(index)
}

func digestOf(object interface{ Digest() (v1.Hash, error) }) (string, error) {
	hash, err := object.Digest()
	if err != nil {
		return "", fmt.Errorf("computing the digest: %w", err)
	}
	return hash.String(), nil
}

// Validate reads an OCI image layout in a folder, follows all references in it, and compares each blob with its digest.
func Validate(folder string) error {
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return fmt.Errorf("reading the layout: %w", err)
	}
	if err := validate.Index(index); err != nil {
		return fmt.Errorf("the layout is not valid: %w", err)
	}
	// The validation above does not notice what follows the end of a manifest.
	blobs, err := files(filepath.Join(folder, "blobs", "sha256"))
	if err != nil {
		return fmt.Errorf("reading the layout: %w", err)
	}
	for _, blob := range blobs {
		content, err := os.ReadFile(blob)
		if err != nil {
			return fmt.Errorf("reading the layout: %w", err)
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != filepath.Base(blob) {
			return fmt.Errorf("the layout is not valid: the content of %s is not what its name says", filepath.Base(blob))
		}
	}
	return nil
}

// pack writes a tar archive of the layout: oci-layout, index.json and the blobs in the order of their names.
func pack(folder string, out io.Writer, modified time.Time) error {
	blobs, err := files(filepath.Join(folder, "blobs"))
	if err != nil {
		return err
	}
	archive := tar.NewWriter(out)
	for _, source := range append([]string{filepath.Join(folder, "oci-layout"), filepath.Join(folder, "index.json")}, blobs...) {
		inside, err := filepath.Rel(folder, source)
		if err != nil {
			return err
		}
		if err := copyInto(archive, filepath.ToSlash(inside), source, modified); err != nil {
			return err
		}
	}
	return archive.Close()
}

// files returns the files below a folder, sorted.
func files(folder string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			found = append(found, path)
		}
		return err
	})
	slices.SortFunc(found, strings.Compare)
	return found, err
}

func copyInto(archive *tar.Writer, inside, source string, modified time.Time) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	stat, err := in.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: inside, Mode: Readable, Size: stat.Size(), ModTime: modified, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = io.Copy(archive, in)
	return err
}
