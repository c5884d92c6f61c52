package main

import (
	"fmt"
	"net"
	"os"
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
	if err := mounts(); err != nil {
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
	for _, line := range []string{o.containerd, o.kubelet} {
		fields := strings.Fields(line)
		process, err := os.StartProcess(fields[0], fields, &os.ProcAttr{
			Dir: o.dir, Env: os.Environ(), Files: []*os.File{nil, os.Stdout, os.Stderr},
		})
		if err != nil {
			return fmt.Errorf("starting %s: %w", fields[0], err)
		}
		own[process.Pid] = fields[0]
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

// mounts gives the node its own view of processes, and a place for what
// containerd and its network plugins keep outside of their folders.
func mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mounting /run: %w", err)
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
	addresses := map[string]bool{o.address: true}
	for _, f := range o.forwards {
		host, _, err := net.SplitHostPort(f.from)
		if err != nil {
			return fmt.Errorf("reading the address %s: %w", f.from, err)
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
