package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/scripts/tools/package/image"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/repo"
)

// rawSBOM is as the generator writes it.
const rawSBOM = `{
  "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
  "metadata": {
    "tools": [{"name": "cyclonedx-gomod", "version": "v1.10.0", "hashes": [{"alg": "MD5", "content": "ac4423f7c4d0df20686f0f1a87d90464"}]}],
    "component": {
      "bom-ref": "pkg:golang/example.org/operator@v0.0.0-20261122160549-987ffc7b53f6?type=module",
      "type": "application", "name": "example.org/operator", "version": "v0.0.0-20261122160549-987ffc7b53f6"
    }
  },
  "components": [{"bom-ref": "pkg:golang/example.org/library@v1.0.0?type=module", "type": "library", "name": "example.org/library", "version": "v1.0.0",
    "hashes": [{"alg": "SHA-256", "content": "5656ca2a735f57c6c9cdeaa86b870e2aa3ba6d8af75a0299c4ef19d7afa1b0e3"}]}],
  "dependencies": [{"ref": "pkg:golang/example.org/operator@v0.0.0-20261122160549-987ffc7b53f6?type=module"}]
}`

const epochOfTests = "1700000000"

// operator makes a tiny program for two platforms, an SBOM and a chart, in a new folder, and returns the flags of them.
func operator(t *testing.T) []string {
	folder := t.TempDir()
	write(t, filepath.Join(folder, "go.mod"), "module example.org/operator\n\ngo 1.26.0\n")
	write(t, filepath.Join(folder, "main.go"), "package main\n\nfunc main() { println(\"hello\") }\n")
	write(t, filepath.Join(folder, "sbom.json"), rawSBOM)
	write(t, filepath.Join(folder, "tiny", "Chart.yaml"), "apiVersion: v2\nname: tiny\nversion: 0.1.0\nappVersion: 0.1.0\nicon: file://tiny/icon.svg\n")
	write(t, filepath.Join(folder, "tiny", "icon.svg"), "<svg/>\n")
	write(t, filepath.Join(folder, "tiny", "values.yaml"), "a: 1\n")
	write(t, filepath.Join(folder, "tiny", "templates", "one.yaml"), "kind: ConfigMap\n")
	args := []string{"--chart", filepath.Join(folder, "tiny"), "--icon", filepath.Join(folder, "tiny", "icon.svg"), "--revision", "e590a6d"}
	for _, arch := range []string{"amd64", "arm64"} {
		binary := filepath.Join(folder, arch)
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", binary, ".")
		build.Dir = folder
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		out, err := build.CombinedOutput()
		require.NoError(t, err, string(out))
		args = append(args, "--binary", "linux/"+arch+"="+binary, "--sbom", "linux/"+arch+"="+filepath.Join(folder, "sbom.json"))
	}
	return args
}

func write(t *testing.T, file, content string) {
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
}

// pack runs the command for one version.
func pack(t *testing.T, output, version, epoch string, args []string) string {
	t.Setenv(epochEnv, epoch)
	var out strings.Builder
	require.NoError(t, releaseCommand(append([]string{"--output", output, "--version", version}, args...), &out))
	return out.String()
}

func readFile(t *testing.T, parts ...string) string {
	content, err := os.ReadFile(filepath.Join(parts...))
	require.NoError(t, err)
	return string(content)
}

// unpack unpacks a tar archive into a new folder, and asks that its entries have the time and owner that all have.
func unpack(t *testing.T, in io.Reader) string {
	folder := t.TempDir()
	archive := tar.NewReader(in)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return folder
		}
		require.NoError(t, err)
		require.Equal(t, epochOfTests, fmt.Sprint(header.ModTime.Unix()), header.Name)
		require.Zero(t, header.Uid+header.Gid, header.Name)
		content, err := io.ReadAll(archive)
		require.NoError(t, err)
		if header.Typeflag == tar.TypeReg {
			write(t, filepath.Join(folder, header.Name), string(content))
		}
	}
}

func TestTwoBuildsOfTheSameSourceGiveTheSameBytes(t *testing.T) {
	one, another := t.TempDir(), t.TempDir()
	firstOut := pack(t, one, "0.1.0", epochOfTests, operator(t))
	secondOut := pack(t, another, "0.1.0", epochOfTests, operator(t))

	names := []string{"SHA256SUMS", "fleet-handshake-0.1.0.cdx.json", "fleet-handshake-0.1.0.oci.tar", "fleet-handshake.svg", "index.yaml", "tiny-0.1.0.tgz"}
	entries, err := os.ReadDir(one)
	require.NoError(t, err)
	var found []string
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	require.Equal(t, names, found)
	for _, name := range names {
		require.True(t, readFile(t, one, name) == readFile(t, another, name), "%s differs", name)
	}
	require.Equal(t, lastLines(firstOut, 6), lastLines(secondOut, 6))
	require.Contains(t, firstOut, readFile(t, one, sumsFile))
	require.Contains(t, readFile(t, one, sumsFile), "  fleet-handshake.svg\n")
}

// A run that is broken off must not leave half a file where the former one was.
func TestWhatIsThereIsReplacedInOneStep(t *testing.T) {
	output, args := t.TempDir(), operator(t)
	pack(t, output, "0.1.0", "1700000000", args)
	files, err := os.ReadDir(output)
	require.NoError(t, err)
	former := map[string]*os.File{}
	want := map[string]string{}
	for _, entry := range files {
		opened, err := os.Open(filepath.Join(output, entry.Name()))
		require.NoError(t, err)
		defer opened.Close()
		former[entry.Name()], want[entry.Name()] = opened, readFile(t, output, entry.Name())
	}
	write(t, filepath.Join(output, "fleet-handshake-0.0.9.oci.tar.unfinished"), "half")
	pack(t, output, "0.1.0", "1800000000", args)
	for name, opened := range former {
		content, err := io.ReadAll(opened)
		require.NoError(t, err)
		require.True(t, want[name] == string(content), "%s was written over", name)
	}
	require.NotContains(t, readFile(t, output, sumsFile), "unfinished", "what a run that was broken off has left")
}

// Rancher resolves the icon of a chart from a web server against the address of the repository.
func TestTheIndexNamesAnIconThatIsThere(t *testing.T) {
	output, args := t.TempDir(), operator(t)
	icon := func() string {
		index, err := repo.LoadIndexFile(filepath.Join(output, "index.yaml"))
		require.NoError(t, err)
		return index.Entries["tiny"][0].Icon
	}
	pack(t, output, "0.1.0", epochOfTests, args)
	require.Equal(t, "fleet-handshake.svg", icon())
	require.Equal(t, "<svg/>\n", readFile(t, output, icon()))
	pack(t, output, "0.1.0", epochOfTests, append([]string{"--url", "https://example.org/charts/"}, args...))
	require.Equal(t, "https://example.org/charts/fleet-handshake.svg", icon())
	t.Setenv(epochEnv, epochOfTests)
	require.ErrorContains(t, releaseCommand(append(args, "--output", output, "--version", "0.1.0", "--icon", ""), io.Discard), "give one with --icon")
}

// TestTheArchivesOfOurChartsHaveWhatTheyNeed also holds what they must not have.
func TestTheArchivesOfOurChartsHaveWhatTheyNeed(t *testing.T) {
	output := t.TempDir()
	args := operator(t)
	charts := filepath.Join("..", "..", "..", "charts")
	args = append(args[2:], "--chart", filepath.Join(charts, "fleet-handshake-crd"), "--chart", filepath.Join(charts, "fleet-handshake"))
	pack(t, output, "1.2.3", epochOfTests, args)
	for name, wanted := range map[string][]string{
		"fleet-handshake": {
			"Chart.yaml", "README.md", "app-readme.md", "questions.yaml", "values.yaml", "values.schema.json", "icon.svg", "rbac/operator.yaml",
			"rbac/workspace.yaml", "rbac/secrets.yaml", "files/alerts.yaml", "files/dashboard.json", "templates/NOTES.txt",
			"templates/validate.yaml", "templates/deployment.yaml",
		},
		"fleet-handshake-crd": {
			"Chart.yaml", "README.md", "templates/admission.yaml", "templates/fleethandshake.io_fleethandshakes.yaml",
			"templates/fleethandshake.io_secretgrants.yaml",
		},
	} {
		loaded, err := loader.LoadFile(filepath.Join(output, name+"-1.2.3.tgz"))
		require.NoError(t, err)
		require.NoError(t, loaded.Validate())
		require.Equal(t, "1.2.3", loaded.Metadata.Version)
		require.Equal(t, "1.2.3", loaded.Metadata.AppVersion)
		var found []string
		for _, inside := range loaded.Raw {
			found = append(found, inside.Name)
			require.NotRegexp(t, `^(tests|ci)/|/__snapshot__|\.gotmpl$|_test\.|\.unfinished$|\.(orig|bak|tmp|swp)$|~$`, inside.Name)
		}
		require.Subset(t, found, wanted)
	}
	index, err := repo.LoadIndexFile(filepath.Join(output, "index.yaml"))
	require.NoError(t, err)
	require.Len(t, index.Entries, 2)
	for name, versions := range index.Entries {
		require.Equal(t, "fleet-handshake.svg", versions[0].Icon, name)
	}
}

func lastLines(text string, n int) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-n:]
}

func TestTheImageHasNamePlatformsUserLabelsAndFiles(t *testing.T) {
	output := t.TempDir()
	out := pack(t, output, "0.1.0-rc.1", epochOfTests, operator(t))

	in, err := os.Open(filepath.Join(output, "fleet-handshake-0.1.0-rc.1.oci.tar"))
	require.NoError(t, err)
	defer in.Close()
	folder := unpack(t, in)
	require.NoError(t, image.Validate(folder))
	top, err := layout.ImageIndexFromPath(folder)
	require.NoError(t, err)
	manifest, err := top.IndexManifest()
	require.NoError(t, err)
	require.Len(t, manifest.Manifests, 1)
	require.Equal(t, map[string]string{
		"io.containerd.image.name":          "docker.io/fleet-handshake/fleet-handshake:v0.1.0-rc.1",
		"org.opencontainers.image.ref.name": "v0.1.0-rc.1",
	}, manifest.Manifests[0].Annotations)
	require.Contains(t, out, "docker.io/fleet-handshake/fleet-handshake:v0.1.0-rc.1@"+manifest.Manifests[0].Digest.String()+"\n")

	index, err := top.ImageIndex(manifest.Manifests[0].Digest)
	require.NoError(t, err)
	platforms, err := index.IndexManifest()
	require.NoError(t, err)
	labels := map[string]string{
		"org.opencontainers.image.title":       "fleet-handshake",
		"org.opencontainers.image.description": "Sends Secrets of the Rancher hub to downstream clusters through Fleet",
		"org.opencontainers.image.version":     "0.1.0-rc.1",
		"org.opencontainers.image.revision":    "e590a6d",
		"org.opencontainers.image.source":      "https://github.com/fleet-handshake/fleet-handshake",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.created":     "2023-11-14T22:13:20Z",
	}
	require.Equal(t, labels, platforms.Annotations)
	require.Len(t, platforms.Manifests, 2)
	for n, want := range []string{"linux/amd64", "linux/arm64"} {
		require.Equal(t, want, platforms.Manifests[n].Platform.String())
		img, err := index.Image(platforms.Manifests[n].Digest)
		require.NoError(t, err)
		config, err := img.ConfigFile()
		require.NoError(t, err)
		require.Equal(t, want, config.Platform().String())
		require.Equal(t, "65534:65534", config.Config.User)
		require.Equal(t, []string{"/fleet-handshake"}, config.Config.Entrypoint)
		require.Equal(t, labels, config.Config.Labels)
		require.Equal(t, epochOfTests, fmt.Sprint(config.Created.Unix()))
		m, err := img.Manifest()
		require.NoError(t, err)
		require.Equal(t, labels, m.Annotations)

		layers, err := img.Layers()
		require.NoError(t, err)
		require.Len(t, layers, 1)
		content, err := layers[0].Uncompressed()
		require.NoError(t, err)
		files := unpack(t, content)
		require.True(t, strings.HasPrefix(readFile(t, files, "fleet-handshake"), "\x7fELF"))
		require.Equal(t, readFile(t, output, "fleet-handshake-0.1.0-rc.1.cdx.json"), readFile(t, files, "fleet-handshake.cdx.json"))
	}
}

func TestTheSBOMHasTheReleasedVersionAndNothingOfTheMachine(t *testing.T) {
	settled, err := settleSBOM([]byte(rawSBOM), "v0.1.0")
	require.NoError(t, err)
	require.Contains(t, string(settled), `"version": "v0.1.0"`)
	require.Equal(t, 2, strings.Count(string(settled), "pkg:golang/example.org/operator@v0.1.0?type=module"))
	require.NotContains(t, string(settled), "987ffc7b53f6")
	require.NotContains(t, string(settled), "ac4423f7c4d0df20686f0f1a87d90464")
	require.Contains(t, string(settled), "5656ca2a735f57c6c9cdeaa86b870e2aa3ba6d8af75a0299c4ef19d7afa1b0e3", "hashes of the components stay")
}

func TestAnotherVersionIsAddedToTheIndex(t *testing.T) {
	output, args := t.TempDir(), operator(t)
	pack(t, output, "0.1.0", "1700000000", args)
	pack(t, output, "0.1.1", "1800000000", append([]string{"--url", "https://example.org/charts"}, args...))

	index, err := repo.LoadIndexFile(filepath.Join(output, "index.yaml"))
	require.NoError(t, err)
	require.Len(t, index.Entries["tiny"], 2)
	for n, want := range []struct {
		version string
		created int64
	}{{"0.1.1", 1800000000}, {"0.1.0", 1700000000}} {
		got := index.Entries["tiny"][n]
		require.Equal(t, want.version, got.Version)
		require.Equal(t, want.version, got.AppVersion)
		require.Equal(t, want.created, got.Created.Unix())
		require.Equal(t, []string{"https://example.org/charts/tiny-" + want.version + ".tgz"}, got.URLs)
		sum := sha256.Sum256([]byte(readFile(t, output, "tiny-"+want.version+".tgz")))
		require.Equal(t, hex.EncodeToString(sum[:]), got.Digest)
	}
	require.Equal(t, int64(1800000000), index.Generated.Unix())
	require.Equal(t, 8, strings.Count(readFile(t, output, sumsFile), "\n"))

	pack(t, output, "0.1.0", "1700000000", args)
	index, err = repo.LoadIndexFile(filepath.Join(output, "index.yaml"))
	require.NoError(t, err)
	require.Equal(t, []string{"tiny-0.1.1.tgz"}, index.Entries["tiny"][0].URLs, "addresses are relative")
}

func TestTheDockerfileSaysWhatTheImageSays(t *testing.T) {
	dockerfile := readFile(t, "..", "..", "..", "Dockerfile")
	for _, want := range []string{
		"USER " + user + "\n",
		`ENTRYPOINT ["` + binaryPath + `"]`,
		"/out" + binaryPath + " " + binaryPath + "\n",
		"/out" + sbomPath + " " + sbomPath + "\n",
	} {
		require.Contains(t, dockerfile, want)
	}
	values := map[string]string{"version": `"${VERSION}"`, "revision": `"${COMMIT}"`, "created": `"${CREATED}"`}
	labels := release{}.labels()
	for label, value := range labels {
		want, varies := values[strings.TrimPrefix(label, "org.opencontainers.image.")]
		if !varies {
			want = `"` + value + `"`
		}
		require.Contains(t, dockerfile, label+"="+want)
	}
	require.Equal(t, len(labels), strings.Count(dockerfile, "org.opencontainers.image."))
}

func TestFlagsThatSayTooLittleAreRefusedWithWhatToDo(t *testing.T) {
	t.Setenv(epochEnv, "")
	binary := "--binary=linux/amd64=" + filepath.Join(t.TempDir(), "missing")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"nothing":         {nil, "usage:"},
		"unknown command": {[]string{"push"}, `there is no "push"`},
		"no version":      {[]string{"release"}, "there is no chart to take the version from"},
		"wrong version":   {[]string{"release", "--version", "v1"}, "write a version of Semantic Versioning 2"},
		"no binary":       {[]string{"release", "--version", "0.1.0"}, "give at least one --binary"},
		"no time":         {[]string{"release", "--version", "0.1.0", binary}, "set SOURCE_DATE_EPOCH"},
		"no output":       {[]string{"image", "--name", "docker.io/a/b:c"}, "give --output"},
		"no pair":         {[]string{"image", "--binary", "/usr/bin/fleet"}, "write it as key=value"},
		"a name without tag": {[]string{"image", "--name", "docker.io/a/b", "--output", "x", binary},
			"is no whole name of an image"},
		"an argument": {[]string{"image", "x"}, `"x" is no flag`},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, run(test.args), test.want)
		})
	}
	t.Setenv(epochEnv, "yesterday")
	require.ErrorContains(t, run([]string{"release", "--version", "0.1.0", binary}), "write the seconds since 1970")
}
