// Package history records what clients of a cluster asked for and what they were
// told, and checks it against a model of leases and commits: whether there is an
// order of all operations, within the times at which they were under way, in
// which one machine would have given the same answers.
package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/baktainer/baktainer/internal/clock"
)

// Kind is what was asked for.
type Kind string

// The kinds of operations.
const (
	// Grant: a lease of the run was given to the agent.
	Grant Kind = "grant"
	// Commit: the agent asked for its snapshot to be committed.
	Commit Kind = "commit"
	// Finish: the agent told that the run had failed.
	Finish Kind = "finish"
	// Renew: the agent asked for its lease to be renewed.
	Renew Kind = "renew"
	// Read: what is known of the run in the end.
	Read Kind = "read"
)

// Outcome is what came of it.
type Outcome string

// The outcomes. Unknown is that of a call without an answer: it may have been
// heard, or may yet be.
const (
	Done    Outcome = "done"
	Refused Outcome = "refused"
	Unknown Outcome = "unknown"
)

// Op is one operation.
type Op struct {
	Client  int     `json:"client"`
	Kind    Kind    `json:"kind"`
	Run     string  `json:"run"`
	Epoch   uint64  `json:"epoch,omitempty"`
	Agent   string  `json:"agent,omitempty"`
	Outcome Outcome `json:"outcome"`
	// Snapshot is the one to be committed, or the one that was found.
	Snapshot string `json:"snapshot,omitempty"`
	// Forged says that the agent knew it had no right to it.
	Forged bool `json:"forged,omitempty"`
	// Call and Return are when it was asked for and answered, in nanoseconds of
	// the machine's clock.
	Call   int64 `json:"call"`
	Return int64 `json:"return"`
}

// Recorder writes operations, one a line. It is safe for concurrent use.
type Recorder struct {
	clock clock.Clock

	mu  sync.Mutex
	out *json.Encoder
	err error
}

// NewRecorder returns one that writes to w.
func NewRecorder(w io.Writer, c clock.Clock) *Recorder {
	return &Recorder{clock: c, out: json.NewEncoder(w)}
}

// Now is the time to give to Op.Call.
func (r *Recorder) Now() int64 { return r.clock.Now().UnixNano() }

// Record notes an operation that has just been answered, or never will be.
func (r *Recorder) Record(o Op) {
	o.Return = r.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.out.Encode(o); err != nil && r.err == nil {
		r.err = fmt.Errorf("record an operation: %w", err)
	}
}

// Err is the first failure to write.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Load reads recorded operations. A last line that was cut off, as by a kill,
// was an operation without an answer at most: it is left out.
func Load(path string) ([]Op, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read a history: %w", err)
	}
	defer f.Close()
	var ops []Op
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	var broken error
	for lines.Scan() {
		if broken != nil {
			return nil, broken
		}
		var o Op
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			broken = fmt.Errorf("read line %d of a history: %w", len(ops)+1, err)
			continue
		}
		ops = append(ops, o)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read a history: %w", err)
	}
	return ops, nil
}
