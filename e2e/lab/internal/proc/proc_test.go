package proc

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of these tests.
const patience = 10 * time.Second

// shell starts a shell script for a test and sees to its end.
func shell(t *testing.T, dir, name, script string, change ...func(*Spec)) *Process {
	t.Helper()
	spec := Spec{
		Name:     name,
		Dir:      dir,
		Path:     "/bin/sh",
		Args:     []string{"-c", script},
		Env:      []string{"PATH=" + os.Getenv("PATH")},
		Lifetime: time.Minute,
	}
	for _, c := range change {
		c(&spec)
	}
	process, err := Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = End(0, process.Record) })
	return process
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("waited %s in vain for: %s", patience, what)
}

func TestEndStopsExactlyTheRecordedProcesses(t *testing.T) {
	dir := t.TempDir()
	one := shell(t, dir, "one", "sleep 60")
	two := shell(t, dir, "two", "sleep 60")
	other := shell(t, t.TempDir(), "other", "sleep 60")

	records, err := Records(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 2 || records[0] != one.Record || records[1] != two.Record {
		t.Fatalf("found the records %v, want those of %v and %v", records, one.Record, two.Record)
	}
	ended, err := End(patience, records...)
	if err != nil {
		t.Fatal(err)
	}
	if len(ended) != 2 {
		t.Errorf("ended %v, want both", ended)
	}
	if one.Alive() || two.Alive() {
		t.Error("a recorded process is alive after End")
	}
	if !other.Alive() {
		t.Error("a process of another folder was ended")
	}
	if _, err := Load(dir, "one"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("loading the record after End gave %v, want that it does not exist", err)
	}
}

func TestEndInsistsWhenAProcessIgnoresTheRequest(t *testing.T) {
	dir := t.TempDir()
	process := shell(t, dir, "stubborn", `trap "" TERM; echo ready; while true; do sleep 60; done`)
	eventually(t, "the process to be ready", func() bool {
		return Tail(process.LogFile(), 1) == "ready"
	})

	if _, err := End(100*time.Millisecond, process.Record); err != nil {
		t.Fatal(err)
	}
	if process.Alive() {
		t.Error("the process is alive after End")
	}
}

func TestEndReachesChildrenWhoseLeaderIsGone(t *testing.T) {
	dir := t.TempDir()
	process := shell(t, dir, "parent", "sleep 60 & echo ready; wait")
	eventually(t, "the process to be ready", func() bool {
		return Tail(process.LogFile(), 1) == "ready"
	})
	if err := syscall.Kill(process.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-process.Exited()
	if !process.Alive() {
		t.Fatal("no child is left to end; the test shows nothing")
	}

	if _, err := End(patience, process.Record); err != nil {
		t.Fatal(err)
	}
	if process.Alive() {
		t.Error("a child is alive after End")
	}
}

func TestEndLeavesAReusedProcessIDAlone(t *testing.T) {
	stranger := shell(t, t.TempDir(), "stranger", "sleep 60")
	old := stranger.Record
	old.Dir = t.TempDir()
	old.Started-- // a process that had this id before
	if err := old.save(); err != nil {
		t.Fatal(err)
	}

	if old.Alive() {
		t.Error("the old record counts as alive")
	}
	ended, err := End(0, old)
	if err != nil {
		t.Fatal(err)
	}
	if len(ended) != 0 {
		t.Errorf("ended %v, want nothing", ended)
	}
	if !stranger.Alive() {
		t.Error("a process was ended that only has the same id")
	}
	if _, err := os.Stat(old.File()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the record of a process that is gone was kept: %v", err)
	}
}

func TestLifetimeEndsAForgottenProcess(t *testing.T) {
	process := shell(t, t.TempDir(), "forgotten", "sleep 60", func(s *Spec) { s.Lifetime = 200 * time.Millisecond })
	eventually(t, "the time limit to end the process", func() bool { return !process.Alive() })
}

func TestFailureTellsTheEndOfTheLog(t *testing.T) {
	process := shell(t, t.TempDir(), "broken", "echo one; echo two; exit 3")
	<-process.Exited()

	err := process.Failure()
	if err == nil {
		t.Fatal("a process that ended has no failure")
	}
	for _, want := range []string{"broken", "exit status 3", "one\ntwo", process.LogFile()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the failure %q does not mention %q", err, want)
		}
	}
}

func TestFailureIsNilWhileTheProcessRuns(t *testing.T) {
	process := shell(t, t.TempDir(), "healthy", "sleep 60")
	if err := process.Failure(); err != nil {
		t.Errorf("a running process failed: %v", err)
	}
}

func TestRecordsOfAMissingFolder(t *testing.T) {
	records, err := Records(filepath.Join(t.TempDir(), "missing"))
	if err != nil || len(records) != 0 {
		t.Errorf("got %v and %v, want nothing", records, err)
	}
}

// starterEnv makes TestStarter, run by another test, start a process there.
const starterEnv = "PROC_TEST_STARTER_DIR"

// TestStarter is a starter for the tests below to kill.
func TestStarter(t *testing.T) {
	dir := os.Getenv(starterEnv)
	if dir == "" {
		t.Skip("runs only as a child of the other tests")
	}
	detached, err := strconv.ParseBool(os.Getenv(starterEnv + "_DETACHED"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Spec{
		Name: "child", Dir: dir, Path: "/bin/sleep", Args: []string{"60"}, Lifetime: time.Minute, Detached: detached,
	}); err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdout.WriteString("started\n")
	select {} // until killed
}

// killedStarter starts a process from another program, kills that program and
// returns the process.
func killedStarter(t *testing.T, detached bool) Record {
	t.Helper()
	dir := t.TempDir()
	starter := exec.Command(os.Args[0], "-test.run=^TestStarter$")
	starter.Env = append(os.Environ(), starterEnv+"="+dir, starterEnv+"_DETACHED="+strconv.FormatBool(detached))
	out, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	killErr := starter.Process.Kill()
	_ = starter.Wait()
	if err != nil || line != "started\n" || killErr != nil {
		t.Fatalf("the starter said %q: %v, %v", line, err, killErr)
	}
	record, err := Load(dir, "child")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = End(0, record) })
	return record
}

func TestProcessEndsWithAKilledStarter(t *testing.T) {
	record := killedStarter(t, false)
	eventually(t, "the process to end with its starter", func() bool { return !record.Alive() })
}

func TestDetachedProcessOutlivesAKilledStarter(t *testing.T) {
	record := killedStarter(t, true)
	if !record.Alive() {
		t.Fatal("the process ended with its starter")
	}
	ended, err := End(patience, record)
	if err != nil || len(ended) != 1 || record.Alive() {
		t.Errorf("ended %v with %v, want the one process", ended, err)
	}
}
