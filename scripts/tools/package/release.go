package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fleet-handshake/fleet-handshake/scripts/tools/package/chart"
	"github.com/fleet-handshake/fleet-handshake/scripts/tools/package/file"
	"github.com/fleet-handshake/fleet-handshake/scripts/tools/package/image"
)

// What the operator's image is called and says of itself. The Dockerfile has the same.
const (
	imageRepository = "docker.io/fleet-handshake/fleet-handshake"
	title           = "fleet-handshake"
	description     = "Sends Secrets of the Rancher hub to downstream clusters through Fleet"
	source          = "https://github.com/fleet-handshake/fleet-handshake"
	licenses        = "Apache-2.0"
	user            = "65534:65534"
	binaryPath      = "/fleet-handshake"
	sbomPath        = "/fleet-handshake.cdx.json"
	// iconName is what the icon of the charts is called beside the index.
	iconName = "fleet-handshake.svg"
)

// versionCommand writes the version to package.
func versionCommand(args []string, out io.Writer) error {
	var charts list
	flags := flag.NewFlagSet("version", flag.ContinueOnError)
	flags.Var(&charts, "chart", "folder of a chart; may be given more than once")
	if err := parse(flags, args); err != nil {
		return err
	}
	version, err := chart.Version(os.Getenv("VERSION"), charts...)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, version)
	return err
}

// release is one version of everything.
type release struct {
	version  string
	revision string
	created  time.Time
	output   string
	url      string
	icon     string
	charts   list
	// binaries and sboms have a file for each platform. The first platform's SBOM is also beside the image.
	binaries, sboms pairs
}

// releaseCommand writes what is released to a folder, beside what is there of other versions.
func releaseCommand(args []string, out io.Writer) error {
	var r release
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.StringVar(&r.version, "version", "", "version, as package version writes it")
	flags.StringVar(&r.revision, "revision", "unknown", "commit that the binaries are built of")
	flags.StringVar(&r.output, "output", "dist", "folder to write to")
	flags.StringVar(&r.url, "url", os.Getenv("REPOSITORY_URL"), "address of the folder once it is published, for the index; empty: addresses are relative [$REPOSITORY_URL]")
	flags.StringVar(&r.icon, "icon", "", "icon of the charts, an SVG, for those whose own is a file of the Git repository")
	flags.Var(&r.charts, "chart", "folder of a chart; may be given more than once")
	flags.Var(&r.binaries, "binary", "operator, as platform=file; may be given more than once")
	flags.Var(&r.sboms, "sbom", "CycloneDX SBOM of the operator, as platform=file; one for each binary")
	if err := parse(flags, args); err != nil {
		return err
	}
	if _, err := chart.Version(r.version); err != nil {
		return err
	}
	if len(r.binaries) == 0 {
		return errors.New("give at least one --binary; see package release -help")
	}
	var err error
	if r.created, err = epoch(time.Time{}); err != nil {
		return err
	}
	if r.created.IsZero() {
		return fmt.Errorf("set %s to the time of the commit", epochEnv)
	}
	return r.write(out)
}

// write writes everything, and says so with one line a step.
func (r release) write(out io.Writer) (err error) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	if err := os.MkdirAll(r.output, 0o755); err != nil {
		return fmt.Errorf("making the folder to write to: %w", err)
	}
	work, err := os.MkdirTemp("", "release-")
	if err != nil {
		return fmt.Errorf("making a folder for the SBOMs: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	for _, folder := range r.charts {
		say("packing chart %s %s", folder, r.version)
		if _, err := chart.Archive(folder, r.version, r.output, r.created); err != nil {
			return err
		}
	}
	say("writing the index of the charts")
	if err := r.index(); err != nil {
		return err
	}

	archive := image.Archive{
		Name:        imageRepository + ":v" + r.version,
		Created:     r.created,
		Annotations: r.labels(),
	}
	for n, pair := range r.binaries {
		platform, binary := pair[0], pair[1]
		content, err := r.sbom(platform)
		if err != nil {
			return err
		}
		sbom := filepath.Join(work, fmt.Sprintf("%d.cdx.json", n))
		if err := file.Replace(sbom, content); err != nil {
			return err
		}
		if n == 0 {
			if err := file.Replace(filepath.Join(r.output, title+"-"+r.version+".cdx.json"), content); err != nil {
				return err
			}
		}
		archive.Images = append(archive.Images, image.Image{
			Platform:   platform,
			User:       user,
			Entrypoint: []string{binaryPath},
			Labels:     r.labels(),
			Files: []image.File{
				{Path: binaryPath, Source: binary, Mode: image.Executable},
				{Path: sbomPath, Source: sbom, Mode: image.Readable},
			},
		})
	}
	say("writing image %s", archive.Name)
	digest, err := archive.Write(filepath.Join(r.output, title+"-"+r.version+".oci.tar"))
	if err != nil {
		return err
	}
	sums, err := writeSums(r.output)
	if err != nil {
		return err
	}
	say("%s@%s\n%s", archive.Name, digest, sums)
	return nil
}

// index writes the index of the charts, and the icon beside it.
func (r release) index() error {
	if r.icon == "" {
		return chart.WriteIndex(r.output, r.url, "")
	}
	content, err := os.ReadFile(r.icon)
	if err != nil {
		return fmt.Errorf("reading the icon: %w", err)
	}
	if err := file.Replace(filepath.Join(r.output, iconName), content); err != nil {
		return err
	}
	return chart.WriteIndex(r.output, r.url, iconName)
}

// labels say what the image is, in the words of the OCI image specification.
func (r release) labels() map[string]string {
	const prefix = "org.opencontainers.image."
	return map[string]string{
		prefix + "title":       title,
		prefix + "description": description,
		prefix + "version":     r.version,
		prefix + "revision":    cmp.Or(r.revision, "unknown"),
		prefix + "source":      source,
		prefix + "licenses":    licenses,
		prefix + "created":     r.created.Format(time.RFC3339),
	}
}

// sbom is the SBOM of a platform, with what is the same on each machine only.
func (r release) sbom(platform string) ([]byte, error) {
	source, found := r.sboms.get(platform)
	if !found {
		return nil, fmt.Errorf("there is no SBOM of %s; give one with --sbom %s=FILE", platform, platform)
	}
	content, err := os.ReadFile(source)
	if err != nil {
		return nil, fmt.Errorf("reading the SBOM of %s: %w", platform, err)
	}
	if content, err = settleSBOM(content, "v"+r.version); err != nil {
		return nil, fmt.Errorf("reading the SBOM of %s: %w", platform, err)
	}
	return content, nil
}
