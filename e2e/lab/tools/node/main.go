// Command node is a Kubernetes node for a lab: containerd and a kubelet in
// namespaces of their own, so that ending this one process ends every
// container and takes every mount and network interface with it.
//
// Pods reach what listens on the machine's loopback only through the addresses
// that are forwarded.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// inside tells the second process that it is in the namespaces.
const inside = "LAB_NODE_INSIDE"

// options are the same for both processes.
type options struct {
	// dir holds the configuration files, and gets all data
	dir string
	// cgroup is the name of the control group of all pods
	cgroup string
	// address is the node's own
	address string
	// containerd and kubelet are the command lines of the two
	containerd, kubelet string
	// forwards lists what pods can reach
	forwards forwards
}

// forward is one address in the node that leads to one on the machine.
type forward struct {
	from, to string
}

// forwards is a flag that can be given several times.
type forwards []forward

func (f *forwards) String() string { return fmt.Sprint(*f) }

// Set reads from=to.
func (f *forwards) Set(text string) error {
	from, to, ok := strings.Cut(text, "=")
	if !ok {
		return errors.New("write address:port=address:port")
	}
	*f = append(*f, forward{from, to})
	return nil
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "folder with the configuration, for all data")
	flag.StringVar(&o.cgroup, "cgroup", "", "name of the control group of all pods")
	flag.StringVar(&o.address, "address", "", "the node's address")
	flag.StringVar(&o.containerd, "containerd", "", "command line of containerd")
	flag.StringVar(&o.kubelet, "kubelet", "", "command line of the kubelet")
	flag.Var(&o.forwards, "forward", "address:port in the node = address:port on the machine's loopback")
	flag.Parse()

	run := outside
	if os.Getenv(inside) != "" {
		run = node
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

// outside starts the node in new namespaces, and forwards its addresses. It
// ends with the node, and the node with it.
func outside(o options) error {
	cgroups, err := makeCgroups(o.cgroup)
	if err != nil {
		return err
	}
	defer removeCgroups(cgroups)

	ready, tell, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	// The parent-death signal follows the thread that starts the process.
	runtime.LockOSThread()
	process, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Dir:   o.dir,
		Env:   append(os.Environ(), inside+"=1"),
		Files: []*os.File{nil, os.Stdout, os.Stderr, tell},
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
			Pdeathsig:  syscall.SIGKILL,
		},
	})
	if err != nil {
		return fmt.Errorf("starting the node in namespaces of its own, which only root may: %w", err)
	}
	_ = tell.Close()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		_ = process.Kill()
	}()

	// The pipe is closed without a byte when the node has failed.
	if _, err := ready.Read(make([]byte, 1)); err == nil {
		for _, f := range o.forwards {
			if err := f.serve(process.Pid); err != nil {
				_ = process.Kill()
				_, _ = process.Wait()
				return err
			}
		}
	}
	state, err := process.Wait()
	if err != nil {
		return fmt.Errorf("waiting for the node: %w", err)
	}
	return fmt.Errorf("the node has ended: %s", state)
}

// serve listens in the network of a process, and connects whoever comes with
// the machine's own network.
func (f forward) serve(pid int) error {
	listener, err := listenIn(pid, f.from)
	if err != nil {
		return fmt.Errorf("listening on %s in the node: %w", f.from, err)
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go connect(client, f.to)
		}
	}()
	return nil
}

// listenIn makes a listener that belongs to the network namespace of a
// process. The thread that enters it is not used for anything else.
func listenIn(pid int, address string) (net.Listener, error) {
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	type result struct {
		listener net.Listener
		err      error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this function
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{err: err}
			return
		}
		listener, err := net.Listen("tcp", address)
		done <- result{listener, err}
	}()
	r := <-done
	return r.listener, r.err
}

// connect copies both ways until both are done.
func connect(client net.Conn, address string) {
	defer client.Close()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return // the client sees a connection that is closed
	}
	defer server.Close()
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite()
		close(done)
	}()
	_, _ = io.Copy(client, server)
	_ = client.(*net.TCPConn).CloseWrite()
	<-done
}

// cgroupRoot is where the controllers of version 1, or the one tree of version
// 2, are mounted.
const cgroupRoot = "/sys/fs/cgroup"

// makeCgroups makes the group in every tree; the kubelet wants it to exist.
func makeCgroups(name string) ([]string, error) {
	trees := []string{cgroupRoot}
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err != nil {
		trees, err = filepath.Glob(filepath.Join(cgroupRoot, "*"))
		if err != nil {
			return nil, err
		}
	}
	var made []string
	for _, tree := range trees {
		folder := filepath.Join(tree, name)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, fmt.Errorf("making a control group: %w", err)
		}
		made = append(made, folder)
	}
	return made, nil
}

// removeCgroups removes the groups and those in them. They are empty: their
// processes ended with the node.
func removeCgroups(folders []string) {
	for _, folder := range folders {
		var inner []string
		_ = filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				inner = append(inner, path)
			}
			return nil
		})
		for i := len(inner) - 1; i >= 0; i-- {
			_ = os.Remove(inner[i]) // one that stays is empty, and does no harm
		}
	}
}
