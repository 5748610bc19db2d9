// Package source holds the words for what can be backed up: a source is one
// logical database (or set of databases). It outlives the container that it
// runs in, so it is known by a name of its own.
package source

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/schedule"
)

// MaxNameLength bounds a source's name, in bytes. It leaves room in the path
// limits of file systems and object stores.
const MaxNameLength = 128

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?$`)

// CheckName says whether name can identify a source: one or two segments of
// letters, digits, '_', '.' and '-', joined by a slash, each beginning with a
// letter or digit, at most MaxNameLength bytes.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name is empty")
	case len(name) > MaxNameLength:
		return fmt.Errorf("the name is longer than %d bytes", MaxNameLength)
	case !namePattern.MatchString(name):
		return fmt.Errorf("the name may hold letters, digits, '_', '.', '-' and one '/' between two parts, each of which begins with a letter or digit")
	}
	return nil
}

var containerPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]+$`)

// maxContainer leaves room for what is put behind the name while it is being made.
const maxContainer = 100

// CheckContainer says whether a container that is made may have that name.
func CheckContainer(name string) error {
	if len(name) > maxContainer || !containerPattern.MatchString(name) {
		return fmt.Errorf("the name of a container has letters, digits, '_', '.' and '-', begins with a letter or digit, and is of 2 to %d", maxContainer)
	}
	return nil
}

// PathKey is the source's name as one component of an object's name: the slash
// becomes '~', which no name contains, so different names never meet.
func PathKey(name string) string { return strings.ReplaceAll(name, "/", "~") }

// NameFromPathKey is the inverse of PathKey.
func NameFromPathKey(key string) string { return strings.ReplaceAll(key, "~", "/") }

// Name gives the identity of a source from what its container carries: the
// label baktainer.name, else the Swarm service, else the Compose project and
// service, else the container's name.
func Name(label string, containerLabels map[string]string, containerName string) string {
	if label != "" {
		return label
	}
	if s := containerLabels["com.docker.swarm.service.name"]; s != "" {
		return s
	}
	project, service := containerLabels["com.docker.compose.project"], containerLabels["com.docker.compose.service"]
	if project != "" && service != "" {
		return project + "/" + service
	}
	return strings.TrimPrefix(containerName, "/")
}

// Secret is a string that never shows itself: not in logs, formats, JSON or YAML.
type Secret string

const hidden = "[hidden]"

// String hides the value from fmt.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the value from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the value from JSON, YAML and everything else that encodes text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal gives the value, for handing to the tool that needs it.
func (s Secret) Reveal() string { return string(s) }

// Compression is how hard new data is compressed before it is sealed.
type Compression string

// The choices of baktainer.compress.
const (
	CompressDefault Compression = "default"
	CompressOff     Compression = "off"
	CompressFast    Compression = "fast"
	CompressBetter  Compression = "better"
)

// Spec is what the labels of one container ask for. A zero field was not given
// and is to be detected from the container.
type Spec struct {
	Name         string
	Engine       string // canonical name of an engine
	Database     string // for sqlite: the file's path in the container
	AllDatabases bool
	User         string
	Password     Secret
	PasswordFile string // absolute path in the container
	PasswordEnv  string // name of a variable of the container
	// Command and RestoreCommand are for the custom engine: argv, never a shell line.
	Command        []string
	RestoreCommand []string
	// Retention is a policy, or the name of one; empty: what the controller says.
	Retention string
	Compress  Compression
	// Schedules are those of this source, by name; none: the usual one.
	Schedules []schedule.Spec
	// DependsOn names sources whose backups of the same fire time come first, and
	// OnUpstreamFailure what becomes of this one's when one of theirs did not
	// succeed: UpstreamRun or UpstreamSkip.
	DependsOn         []string
	OnUpstreamFailure string
	// Priority is one of schedule.Priorities.
	Priority string
	// Attempts is how often a scheduled backup is tried in all, and TimeLimit how
	// long one attempt may take; 0: as the controllers have it.
	Attempts  int
	TimeLimit time.Duration
	Hooks     Hooks
	Companion Companion
	Drill     Drill
	Tools     Tools
	Dump      Dump
}

// Tools says where the programs that dump and restore are taken from.
type Tools struct {
	// Image has them; empty: they are the container's own.
	Image string
	// Memory is how much they may use there, in bytes; 0: DefaultToolsMemory.
	Memory int64
}

// DefaultToolsMemory bounds what tools of another image may use, in bytes.
const DefaultToolsMemory = 1 << 30

// Drill says how the source's snapshots are restored to see that it works.
type Drill struct {
	// Cron is when; empty: as the controllers have it.
	Cron string
	// Image is what the container is made from instead of the source's own.
	Image string
	// Memory is how much it may use, in bytes; 0: DefaultDrillMemory.
	Memory int64
	// Assertions are what has to hold of the restored data, by name.
	Assertions []Assertion
}

// Assertion is one thing that has to hold.
type Assertion struct {
	Name string
	// Database is where the query is asked; empty: in the source's own.
	Database string
	Query    string
	// Want is the answer; empty: that it is true.
	Want string
}

// Holds says whether an answer is as it has to be. Blanks of all kinds, and any
// number of them, are one.
func (a Assertion) Holds(answer string) bool {
	answer = strings.Join(strings.Fields(answer), " ")
	if a.Want != "" {
		return answer == strings.Join(strings.Fields(a.Want), " ")
	}
	return answer == "1" || strings.EqualFold(answer, "t") || strings.EqualFold(answer, "true")
}

// DefaultDrillMemory and MinDrillMemory bound what a drill may use, in bytes.
const (
	DefaultDrillMemory = 1 << 30
	MinDrillMemory     = 64 << 20
)

// MaxAssertions is how many assertions a source may have.
const MaxAssertions = 50

// Hooks are what is done before and after a backup: a program in the container
// that carries the labels, a request to a URL.
type Hooks struct {
	Before, After []string // argv, never a shell line
	// BeforeURL and AfterURL may hold a token.
	BeforeURL, AfterURL Secret
	// Timeout is how long each may take; 0: DefaultHookTimeout.
	Timeout time.Duration
	// IgnoreFailure lets the backup go on when what is done before it fails.
	IgnoreFailure bool
}

// DefaultHookTimeout and MaxHookTimeout bound how long a hook may take.
const (
	DefaultHookTimeout = time.Minute
	MaxHookTimeout     = time.Hour
)

// Companion says that a container takes part in the backups of sources that are
// elsewhere: its hooks are carried out, and it is paused or stopped meanwhile.
type Companion struct {
	Of     []string
	Action string // ActionPause or ActionStop; empty: it goes on
}

// What is done with a companion while a dump is made.
const (
	ActionPause = "pause"
	ActionStop  = "stop"
)

// What becomes of a backup when one that it depends on did not succeed.
const (
	UpstreamRun  = "run"
	UpstreamSkip = "skip"
)
