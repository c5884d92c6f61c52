// Command package makes what is released: chart archives, the index of a Helm repository, an archive of the operator's
// image and checksums. It also makes image archives of other static binaries, for tests.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const usage = `usage:
  package version --chart FOLDER…   write the version to package
  package release …                 write what is released to a folder
  package image …                   write an image archive of static binaries
Add -help to one of them to see its flags.`

// epochEnv names the variable that holds the time of everything that is made, in seconds since 1970.
const epochEnv = "SOURCE_DATE_EPOCH"

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "package:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	switch args[0] {
	case "version":
		return versionCommand(args[1:], os.Stdout)
	case "release":
		return releaseCommand(args[1:], os.Stdout)
	case "image":
		return imageCommand(args[1:], os.Stdout)
	}
	return fmt.Errorf("there is no %q\n%s", args[0], usage)
}

// list is a flag that may be given more than once.
type list []string

// String is for the flag package.
func (l *list) String() string { return strings.Join(*l, " ") }

// Set adds one value.
func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// pairs is a flag of the form key=value that may be given more than once. The order is kept.
type pairs [][2]string

// String is for the flag package.
func (p *pairs) String() string {
	var all list
	for _, pair := range *p {
		all = append(all, pair[0]+"="+pair[1])
	}
	return all.String()
}

// Set adds one pair.
func (p *pairs) Set(value string) error {
	key, rest, found := strings.Cut(value, "=")
	if !found || key == "" || rest == "" {
		return errors.New("write it as key=value")
	}
	*p = append(*p, [2]string{key, rest})
	return nil
}

// get returns the value of a key.
func (p *pairs) get(key string) (string, bool) {
	for _, pair := range *p {
		if pair[0] == key {
			return pair[1], true
		}
	}
	return "", false
}

// parse reads the flags of a command that takes nothing else.
func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is no flag; see package %s -help", flags.Arg(0), flags.Name())
	}
	return nil
}

// epoch returns the time that everything gets. Without the variable it is missing.
func epoch(missing time.Time) (time.Time, error) {
	value := os.Getenv(epochEnv)
	if value == "" {
		return missing, nil
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("%s is %q; write the seconds since 1970", epochEnv, value)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
