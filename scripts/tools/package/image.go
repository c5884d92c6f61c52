package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/fleet-handshake/fleet-handshake/scripts/tools/package/image"
)

// imageCommand writes an image archive of any static binaries, for one platform.
func imageCommand(args []string, out io.Writer) error {
	var name, output string
	var content image.Image
	var binaries pairs
	var entrypoint list
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&name, "name", "", "whole name of the image, such as docker.io/rancher/fleet:v0.16.0")
	flags.StringVar(&output, "output", "", "file to write")
	flags.StringVar(&content.Platform, "platform", "linux/amd64", "platform of the binaries")
	flags.StringVar(&content.User, "user", "", "user, or user:group, that runs the program; empty: root")
	flags.BoolVar(&content.Tmp, "tmp", false, "add /tmp, which every user may write to")
	flags.Var(&binaries, "binary", "program, as path in the image=file; may be given more than once")
	flags.Var(&entrypoint, "entrypoint", "one word of the entrypoint; may be given more than once")
	if err := parse(flags, args); err != nil {
		return err
	}
	if output == "" || len(binaries) == 0 {
		return errors.New("give --output and at least one --binary; see package image -help")
	}
	created, err := epoch(time.Unix(0, 0).UTC())
	if err != nil {
		return err
	}
	content.Entrypoint = entrypoint
	for _, pair := range binaries {
		content.Files = append(content.Files, image.File{Path: pair[0], Source: pair[1], Mode: image.Executable})
	}

	digest, err := image.Archive{Name: name, Created: created, Images: []image.Image{content}}.Write(output)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, name+"@"+digest)
	return err
}
