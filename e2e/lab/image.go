package lab

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/tools"
)

// image is a container image made of static programs.
type image struct {
	name string
	// programs by their path in the image
	programs map[string]string
	// entrypoint may be empty: then the pod names the command
	entrypoint string
	user       string
}

// writeImage makes the archive of the image, in the way in which this project's own
// image is made.
func (r runner) writeImage(ctx context.Context, i image, archive string) error {
	args := []string{"image", "--name=" + i.name, "--output=" + archive, "--user=" + i.user, "--platform=linux/" + runtime.GOARCH, "--tmp"}
	for path, program := range i.programs {
		args = append(args, "--binary="+path+"="+program)
	}
	if i.entrypoint != "" {
		args = append(args, "--entrypoint="+i.entrypoint)
	}
	output, err := exec.CommandContext(ctx, r.programs[tools.Package], args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("making the image %s: %w\n%s", i.name, err, output)
	}
	return nil
}
