// Command node is a Kubernetes node for a lab: containerd and a kubelet in
// namespaces of their own, so that ending this one process ends every
// container and takes every mount and network interface with it.
//
// Pods reach what listens on the machine's loopback only through the addresses
// that are forwarded.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// inside tells the second process that it is in the namespaces.
const inside = "LAB_NODE_INSIDE"

// options are the content of the configuration file.
type options struct {
	// Dir gets all data.
	Dir string `json:"dir"`
	// Keep is a folder that the node sees wherever it is. Dir is in it.
	Keep string `json:"keep"`
	// Cgroup is the name of the control group of all pods.
	Cgroup string `json:"cgroup"`
	// Address is the node's own.
	Address string `json:"address"`
	// Programs are the command lines of containerd and of the kubelet.
	Programs [][]string `json:"programs"`
	// Forwards lists what pods can reach.
	Forwards []forward `json:"forwards"`
}

// forward is an address in the node, host:port, that leads to one on the
// machine's loopback.
type forward struct {
	From string `json:"from"`
	To   string `json:"to"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: node FILE, a JSON file with the configuration")
	}
	content, err := os.ReadFile(args[0])
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	var o options
	if err := json.Unmarshal(content, &o); err != nil {
		return fmt.Errorf("reading the configuration %s: %w", args[0], err)
	}
	if os.Getenv(inside) != "" {
		return node(o)
	}
	return outside(o)
}

// outside starts the node in new namespaces, and forwards its addresses. It
// ends with the node, and the node with it.
func outside(o options) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if err := makeCgroups(o.Cgroup); err != nil {
		return err
	}
	ready, tell, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	// The parent-death signal follows the thread that starts the process.
	runtime.LockOSThread()
	process, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Dir:   o.Dir,
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
	var asked atomic.Bool
	go func() {
		<-stop
		asked.Store(true)
		_ = process.Kill()
	}()

	// The pipe is closed without a byte when the node has failed.
	if _, err := ready.Read(make([]byte, 1)); err == nil {
		for _, f := range o.Forwards {
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
	if asked.Load() {
		return nil
	}
	return fmt.Errorf("the node has ended: %s", state)
}

// serve listens in the network of a process, and connects whoever comes with
// the machine's own network.
func (f forward) serve(pid int) error {
	listener, err := listenIn(pid, f.From)
	if err != nil {
		return fmt.Errorf("listening on %s in the node: %w", f.From, err)
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go connect(client, f.To)
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

// makeCgroups makes the group in every tree; the kubelet wants it to exist. Who
// starts the node removes it.
func makeCgroups(name string) error {
	trees := []string{cgroupRoot}
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err != nil {
		trees, err = filepath.Glob(filepath.Join(cgroupRoot, "*"))
		if err != nil {
			return err
		}
	}
	for _, tree := range trees {
		if err := os.MkdirAll(filepath.Join(tree, name), 0o755); err != nil {
			return fmt.Errorf("making a control group: %w", err)
		}
	}
	return nil
}
