// Package procs starts, kills, stops and continues the processes of a fault
// rig, and follows what they log, so that a fault strikes at the moment that it
// is meant for.
package procs

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Entry is one line of a process's log.
type Entry struct {
	// Seq counts the lines of all processes in the order in which they were read.
	Seq int
	// At is when the line was read.
	At      time.Time
	Process string
	// Level is in lower case: debug, info, warn, error.
	Level   string
	Message string
	// Attrs are the line's other fields, as text.
	Attrs map[string]string
}

// String is the entry for people.
func (e Entry) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s", e.At.Format("15:04:05.000"), e.Process, e.Message)
	for _, name := range sortedKeys(e.Attrs) {
		fmt.Fprintf(&b, " %s=%s", name, e.Attrs[name])
	}
	return b.String()
}

// parse reads a line of a log in JSON. A line that is none, such as a panic's,
// is all message.
func parse(line string) Entry {
	var fields map[string]any
	if json.Unmarshal([]byte(line), &fields) != nil || fields["msg"] == nil {
		return Entry{Message: line}
	}
	e := Entry{Attrs: map[string]string{}}
	for name, value := range fields {
		switch name {
		case "msg":
			e.Message = text(value)
		case "level":
			e.Level = strings.ToLower(text(value))
		case "time":
		default:
			e.Attrs[name] = text(value)
		}
	}
	return e
}

func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case float64:
		return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.6f", v), "0"), ".")
	}
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(b)
}
