package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// recordSuffix marks the files that hold a Record.
const recordSuffix = ".process.json"

// Mark is the environment variable every process of a lab carries. Its value
// is the folder of the process, so that a survivor whose leader is gone can
// still be told from a stranger.
const Mark = "FLEET_HANDSHAKE_LAB"

// Record identifies one started process beyond doubt: a process id can be used
// again by the system, the pair of id and start time cannot.
type Record struct {
	// Name is the process's name, such as kube-apiserver.
	Name string `json:"name"`
	// PID is the process id, the group id and the session id in one.
	PID int `json:"pid"`
	// Started is field 22 of /proc/<pid>/stat: clock ticks since boot.
	Started uint64 `json:"started"`
	// Dir is the folder the process works for.
	Dir string `json:"dir"`
}

// File is where the record is kept.
func (r Record) File() string {
	return filepath.Join(r.Dir, r.Name+recordSuffix)
}

// LogFile is where the process writes its output.
func (r Record) LogFile() string {
	return filepath.Join(r.Dir, r.Name+".log")
}

// Alive reports whether any process of this record still runs. A process that
// ended and was not collected by its parent yet counts as gone.
func (r Record) Alive() bool {
	return len(r.members()) > 0
}

// members lists the live processes of the record's session. It is empty when
// the process id belongs to somebody else by now.
func (r Record) members() []int {
	leader, err := readStat(r.PID)
	if err == nil && leader.start != r.Started {
		return nil
	}

	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := readStat(pid)
		if err != nil || stat.session != r.PID || stat.dead() {
			continue
		}
		// With its leader gone, the session number alone proves nothing.
		if pid != r.PID && !r.marked(pid) {
			continue
		}
		pids = append(pids, pid)
	}
	return pids
}

// marked reports whether the process carries this record's folder in its
// environment.
func (r Record) marked(pid int) bool {
	environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	for _, variable := range strings.Split(string(environ), "\x00") {
		if variable == Mark+"="+r.Dir {
			return true
		}
	}
	return false
}

// save writes the record; a reader never sees half of it.
func (r Record) save() error {
	content, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing the record of %s: %w", r.Name, err)
	}
	temporary := r.File() + ".new"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return fmt.Errorf("writing the record of %s: %w", r.Name, err)
	}
	if err := os.Rename(temporary, r.File()); err != nil {
		return fmt.Errorf("writing the record of %s: %w", r.Name, err)
	}
	return nil
}

// Load reads the record of the process name in dir. A missing record gives an
// error that matches fs.ErrNotExist.
func Load(dir, name string) (Record, error) {
	return load(Record{Name: name, Dir: dir}.File())
}

// load reads one record file.
func load(file string) (Record, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return Record{}, fmt.Errorf("reading the record of a process: %w", err)
	}
	var record Record
	if err := json.Unmarshal(content, &record); err != nil {
		return Record{}, fmt.Errorf("reading the record %s: %w", file, err)
	}
	// A moved folder must not make the record point to its old place.
	record.Dir = filepath.Dir(file)
	return record, nil
}

// Records finds every record below root, in the order of their paths. A root
// that does not exist has none.
func Records(root string) ([]Record, error) {
	var records []Record
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed by its process while this walk went on
		}
		if err != nil {
			return err
		}
		if entry.IsDir() || !strings.HasSuffix(path, recordSuffix) {
			return nil
		}
		record, err := load(path)
		if err != nil {
			return err
		}
		records = append(records, record)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for recorded processes under %s: %w", root, err)
	}
	return records, nil
}

// stat holds the fields of /proc/<pid>/stat that matter here.
type stat struct {
	state   string
	session int
	start   uint64
}

// dead reports whether the process ended and only waits to be collected.
func (s stat) dead() bool {
	return s.state == "Z" || s.state == "X"
}

// readStat reads /proc/<pid>/stat. The command name in it may hold spaces and
// brackets, so the fields are counted from the last closing bracket.
func readStat(pid int) (stat, error) {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, err
	}
	text := string(content)
	fields := strings.Fields(text[strings.LastIndex(text, ")")+1:])
	// fields[0] is field 3 of proc(5).
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("/proc/%d/stat has %d fields after the name, want 20 or more", pid, len(fields))
	}
	session, err := strconv.Atoi(fields[6-3])
	if err != nil {
		return stat{}, fmt.Errorf("reading the session in /proc/%d/stat: %w", pid, err)
	}
	start, err := strconv.ParseUint(fields[22-3], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("reading the start time in /proc/%d/stat: %w", pid, err)
	}
	return stat{state: fields[0], session: session, start: start}, nil
}
