package proc

import (
	"os"
	"testing"
	"time"
)

func TestPauseStopsTheProgramAndNotItsTimeLimit(t *testing.T) {
	process := shell(t, t.TempDir(), "clock", "while true; do echo tick; sleep 0.01; done", func(s *Spec) { s.Lifetime = 2 * time.Second })
	size := func() int64 {
		info, err := os.Stat(process.LogFile())
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	eventually(t, "the first tick", func() bool { return size() > 0 })

	if err := process.Pause(); err != nil {
		t.Fatal(err)
	}
	paused := size()
	time.Sleep(100 * time.Millisecond)
	if now := size(); now != paused {
		t.Errorf("a paused process wrote %d bytes", now-paused)
	}
	if err := process.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next tick", func() bool { return size() > paused })

	if err := process.Pause(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the time limit to end a paused process", func() bool { return !process.Alive() })
	if process.Pause() == nil || process.Resume() == nil {
		t.Error("a process that is gone was paused")
	}
}
