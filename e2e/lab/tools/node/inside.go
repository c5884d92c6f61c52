package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// readyFD is the pipe that the other process waits at.
const readyFD = 3

// node is the first process in the namespaces: when it ends, the kernel ends
// all others in them.
func node(o options) error {
	ready := os.NewFile(readyFD, "ready")
	unix.CloseOnExec(readyFD)
	if err := mounts(o); err != nil {
		return err
	}
	if err := network(o); err != nil {
		return err
	}
	if _, err := ready.Write([]byte{1}); err != nil {
		return fmt.Errorf("reporting that the network is there: %w", err)
	}
	_ = ready.Close()

	own := map[int]string{}
	for _, line := range o.Programs {
		process, err := os.StartProcess(line[0], line, &os.ProcAttr{
			Dir: o.Dir, Env: os.Environ(), Files: []*os.File{nil, os.Stdout, os.Stderr},
		})
		if err != nil {
			return fmt.Errorf("starting %s: %w", line[0], err)
		}
		own[process.Pid] = line[0]
	}
	// Whatever loses its parent becomes a child of this process, and has to be
	// collected.
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for processes: %w", err)
		}
		if name := own[pid]; name != "" {
			return fmt.Errorf("%s has ended with status %d", name, status.ExitStatus())
		}
	}
}

// mounts gives the node its own view of processes, and empty folders where
// containerd, its network plugins and the kubelet keep things that no setting
// moves.
func mounts(o options) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	keep := []string{o.Keep}
	for _, line := range o.Programs {
		keep = append(keep, filepath.Dir(line[0]))
	}
	for _, folder := range []string{"/run", "/var/lib", "/var/log"} {
		if err := hide(folder, keep); err != nil {
			return fmt.Errorf("hiding %s: %w", folder, err)
		}
	}
	return nil
}

// hide puts an empty folder in the place of one, in which only what is to be
// kept is seen.
func hide(folder string, keep []string) error {
	keep = slices.DeleteFunc(slices.Clone(keep), func(k string) bool { return !strings.HasPrefix(k, folder+"/") })
	var open []*os.File
	for _, k := range keep {
		f, err := os.Open(k)
		if err != nil {
			return err
		}
		defer f.Close()
		open = append(open, f)
	}
	if err := unix.Mount("tmpfs", folder, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for i, k := range keep {
		if err := os.MkdirAll(k, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", open[i].Fd()), k, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("keeping %s: %w", k, err)
		}
	}
	return nil
}

// network gives the node its addresses.
func network(o options) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the interface lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("starting the interface lo: %w", err)
	}
	addresses := map[string]bool{o.Address: true}
	for _, f := range o.Forwards {
		host, _, err := net.SplitHostPort(f.From)
		if err != nil {
			return fmt.Errorf("reading the address %s: %w", f.From, err)
		}
		addresses[host] = true
	}
	for address := range addresses {
		parsed, err := netlink.ParseAddr(address + "/32")
		if err != nil {
			return fmt.Errorf("reading the address %s: %w", address, err)
		}
		if err := netlink.AddrAdd(lo, parsed); err != nil {
			return fmt.Errorf("adding the address %s: %w", address, err)
		}
	}
	return nil
}
