package chart

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
)

type helmChart = chart.Chart

// Version returns the version to package: wanted, or when that is empty, the one that all charts have as version and as
// appVersion.
func Version(wanted string, folders ...string) (string, error) {
	if wanted != "" {
		if err := check(wanted); err != nil {
			return "", fmt.Errorf("VERSION is %q: %w", wanted, err)
		}
		return wanted, nil
	}
	if len(folders) == 0 {
		return "", errors.New("there is no chart to take the version from; name one or set VERSION")
	}
	var version, first string
	for _, folder := range folders {
		file := filepath.Join(folder, chartutil.ChartfileName)
		metadata, err := chartutil.LoadChartfile(file)
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", file, err)
		}
		if err := check(metadata.Version); err != nil {
			return "", fmt.Errorf("version in %s is %q: %w", file, metadata.Version, err)
		}
		if metadata.AppVersion != metadata.Version {
			return "", fmt.Errorf("%s has version %q and appVersion %q; write the same in both, or set VERSION", file, metadata.Version, metadata.AppVersion)
		}
		if version != "" && metadata.Version != version {
			return "", fmt.Errorf("%s has version %q and %s has %q; write the same in both, or set VERSION", first, version, file, metadata.Version)
		}
		version, first = metadata.Version, file
	}
	return version, nil
}

// check says why something is no version that charts and images can have.
func check(version string) error {
	parsed, err := semver.StrictNewVersion(version)
	if err != nil {
		return errors.New("write a version of Semantic Versioning 2 without a v, such as 0.1.1 or 0.2.0-rc.1")
	}
	if parsed.Metadata() != "" {
		return errors.New("leave out the plus sign and what follows it, because the tag of an image cannot hold it; write a version such as 0.1.1 or 0.2.0-rc.1")
	}
	return nil
}
