package plugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// The bounds of answers, beside their length.
const (
	maxStreams = 1000
	maxList    = 100       // of sentences, words of a description, commands
	maxWords   = 1000      // of a command
	maxCommand = 128 << 10 // bytes of all words of a command
	maxName    = 200       // bytes of a stream's name
	maxShort   = 255       // bytes of a kind, a format, a user
	maxText    = 4096      // bytes of any other text
	maxKept    = 32 << 10
)

var (
	variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,255}$`)
	streamPattern   = regexp.MustCompile(`^[A-Za-z0-9_%~@+][A-Za-z0-9_%~@+.-]*$`)
)

// reasons are those that a plugin may give.
var reasons = map[problem.Reason]problem.Code{
	engine.ReasonWrongPassword: problem.Denied,
	engine.ReasonNoCredentials: problem.InvalidInput,
	engine.ReasonNoDatabase:    problem.NotFound,
	engine.ReasonNoConnection:  problem.Unavailable,
	engine.ReasonToolMissing:   problem.Failed,
	engine.ReasonToolFailed:    problem.Failed,
	engine.ReasonEmpty:         problem.Failed,
	engine.ReasonTruncated:     problem.Failed,
	engine.ReasonMalformed:     problem.Failed,
	engine.ReasonUnsupported:   problem.InvalidInput,
	engine.ReasonPluginFailed:  problem.Failed,
}

// description is the answer to describe.
type description struct {
	Protocol  int
	Aliases   []string
	Images    []string
	Requests  []string
	Variables struct{ User, Password, Database []string }
	Blank     struct {
		Args    []string
		Env     map[string]string
		Volumes []string
	}
	Failures []failure
}

// failure tells what the stderr of a tool means.
type failure struct {
	Any    []string
	Reason problem.Reason
	Hint   string
}

func (d description) answers(verb string) bool { return slices.Contains(d.Requests, verb) }

func (d description) variables() engine.Variables {
	return engine.Variables{User: d.Variables.User, Password: d.Variables.Password, Database: d.Variables.Database}
}

func (d description) patterns() []engine.Pattern {
	var list []engine.Pattern
	for _, f := range d.Failures {
		list = append(list, engine.Pattern{Any: f.Any, Reason: f.Reason, Code: reasons[f.Reason], Hint: f.Hint})
	}
	return list
}

// answer is the answer to any other question.
type answer struct {
	// Problem says in a phrase why there is none, or that a dump is not whole.
	Problem string
	Reason  problem.Reason
	Hint    string
	// Look is a program whose output the plugin wants to see before it answers, and
	// Keep what it wants to be told again then.
	Look *command
	Keep string

	// To streams.
	Server  string
	Streams []stream

	// To inspect.
	Complete bool
	Objects  []object
	Notes    []string

	// To restore and ask.
	Run *command
	// To restore. Replaces is nil when it cannot be told what is there.
	Ready           []command
	Steps, Replaces []string
}

// command is a program to run in the container.
type command struct {
	Argv        []string
	Env         map[string]string
	User        string
	PasswordEnv string `json:"password_env"`
	MayFail     bool   `json:"may_fail"`
}

type stream struct {
	Name, Kind, Database, Format string
	Dump                         command
}

type object struct {
	Kind, Name string
	Rows       *int64
}

// complaints are all that is wrong with an answer.
type complaints []string

// maxComplaints is how many are told: an answer may hold thousands of faults.
const maxComplaints = 20

func (c complaints) Error() string { return strings.Join(c, "; ") }

func (c *complaints) add(format string, args ...any) {
	switch len(*c) {
	case maxComplaints:
		*c = append(*c, "and more")
	case maxComplaints + 1:
	default:
		*c = append(*c, fmt.Sprintf(format, args...))
	}
}

func (c complaints) err() error {
	if len(c) == 0 {
		return nil
	}
	return c
}

// decode reads one JSON object. Fields that are not known are passed over.
func decode(data []byte, into any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return complaints{"it said nothing"}
	}
	if err := json.Unmarshal(data, into); err != nil {
		return complaints{fmt.Sprintf("it is not the JSON that was expected: %v", err), fmt.Sprintf("it begins with %.60q", data[:min(len(data), 60)])}
	}
	return nil
}

func parseDescription(data []byte) (description, error) {
	// The version comes first: of another one nothing else is known.
	var version struct{ Protocol int }
	if err := decode(data, &version); err != nil {
		return description{}, err
	}
	if version.Protocol != protocol {
		return description{}, complaints{fmt.Sprintf("protocol: it speaks version %d, and this agent only %d", version.Protocol, protocol)}
	}
	var d description
	if err := decode(data, &d); err != nil {
		return description{}, err
	}
	return d, d.check().err()
}

func (d description) check() (c complaints) {
	for what, list := range map[string][]string{
		"aliases": d.Aliases, "images": d.Images, "requests": d.Requests, "variables.user": d.Variables.User,
		"variables.password": d.Variables.Password, "variables.database": d.Variables.Database, "blank.volumes": d.Blank.Volumes,
	} {
		if len(list) > maxList {
			c.add("%s: there are %d, at most %d may be", what, len(list), maxList)
		}
		for _, text := range list {
			c.text(what, text, maxShort)
		}
	}
	for _, alias := range d.Aliases {
		if !namePattern.MatchString(alias) {
			c.add("aliases: %.60q is no name for an engine", alias)
		}
	}
	for _, pattern := range d.Images {
		if _, err := path.Match(pattern, ""); err != nil {
			c.add("images: %.60q is no pattern", pattern)
		}
	}
	for _, name := range slices.Concat(d.Variables.User, d.Variables.Password, d.Variables.Database) {
		if !variablePattern.MatchString(name) {
			c.add("variables: %.60q is no name of a variable", name)
		}
	}
	for _, volume := range d.Blank.Volumes {
		if !path.IsAbs(volume) || path.Clean(volume) != volume || volume == "/" {
			c.add("blank.volumes: %.60q is no folder's plain path", volume)
		}
	}
	if len(d.Blank.Args) > 0 {
		c.command("blank", command{Argv: d.Blank.Args, Env: d.Blank.Env})
	} else {
		c.env("blank", d.Blank.Env)
	}
	if len(d.Failures) > maxList {
		c.add("failures: there are %d, at most %d may be", len(d.Failures), maxList)
	}
	for _, f := range d.Failures {
		if len(f.Any) == 0 || len(f.Any) > maxList || slices.Contains(f.Any, "") {
			c.add("failures: any: from 1 to %d pieces of stderr are wanted, none of them empty", maxList)
		}
		if _, known := reasons[f.Reason]; !known {
			c.add("failures: reason: there is no %.60q", f.Reason)
		}
		c.text("failures: hint", f.Hint, maxText)
	}
	slices.Sort(c) // it was gathered from a map
	return c
}

func parseAnswer(verb string, data []byte) (answer, error) {
	var a answer
	if err := decode(data, &a); err != nil {
		return answer{}, err
	}
	if err := a.check(verb).err(); err != nil {
		return answer{}, err
	}
	return a, nil
}

func (a answer) check(verb string) (c complaints) {
	c.text("problem", a.Problem, maxText)
	c.text("hint", a.Hint, maxText)
	if _, known := reasons[a.Reason]; a.Reason != "" && !known {
		c.add("reason: there is no %.60q", a.Reason)
	}
	if len(a.Keep) > maxKept || strings.ContainsRune(a.Keep, 0) {
		c.add("keep: it is longer than %d bytes, or holds a zero byte", maxKept)
	}
	switch {
	case verb == "inspect":
		a.checkInspect(&c)
	case a.Problem != "":
	case a.Look != nil:
		c.command("look", *a.Look)
	case verb == "streams":
		a.checkStreams(&c)
	default:
		if a.Run == nil {
			c.add("run: it is missing, and so are look and problem")
		} else {
			c.command("run", *a.Run)
		}
		if len(a.Ready) > maxList {
			c.add("ready: there are %d, at most %d may be", len(a.Ready), maxList)
		}
		for _, ready := range a.Ready {
			c.command("ready", ready)
		}
		c.texts("steps", a.Steps)
		c.texts("replaces", a.Replaces)
	}
	return c
}

func (a answer) checkStreams(c *complaints) {
	c.text("server", a.Server, maxShort)
	if len(a.Streams) == 0 || len(a.Streams) > maxStreams {
		c.add("streams: there are %d; from 1 to %d are wanted, or look, or problem", len(a.Streams), maxStreams)
	}
	names := map[string]bool{}
	for _, s := range a.Streams {
		if !streamPattern.MatchString(s.Name) || len(s.Name) > maxName {
			c.add("streams: name: %.60q is none: letters, digits and _ %% ~ @ + . -, %d at most, and no . or - first", s.Name, maxName)
		}
		if names[s.Name] {
			c.add("streams: name: there are two of the name %.60q", s.Name)
		}
		names[s.Name] = true
		if s.Kind == "" || s.Format == "" {
			c.add("streams: %.60q: kind or format is missing", s.Name)
		}
		c.text("streams: kind", s.Kind, maxShort)
		c.text("streams: format", s.Format, maxShort)
		c.text("streams: database", s.Database, maxText)
		c.command("streams: dump", s.Dump)
	}
}

func (a answer) checkInspect(c *complaints) {
	if a.Complete && a.Problem != "" {
		c.add("complete: it is true, and yet there is a problem")
	}
	if len(a.Objects) > engine.MaxObjects {
		c.add("objects: there are %d, at most %d may be", len(a.Objects), engine.MaxObjects)
	}
	for _, o := range a.Objects {
		if o.Kind == "" || len(o.Kind) > maxShort || len(o.Name) > maxText {
			c.add("objects: %.60q: its kind is missing, or longer than %d bytes, or its name than %d", o.Name, maxShort, maxText)
		}
		c.text("objects: kind", o.Kind, maxShort)
		if o.Rows != nil && *o.Rows < 0 {
			c.add("objects: %.60q: rows: %d; leave it out when it cannot be told", o.Name, *o.Rows)
		}
	}
	c.texts("notes", a.Notes)
}

// contents is what an inspector found.
func (a answer) contents() engine.Contents {
	seen := engine.Contents{Notes: a.Notes}
	for _, o := range a.Objects {
		rows := int64(-1)
		if o.Rows != nil {
			rows = *o.Rows
		}
		seen.Objects = append(seen.Objects, engine.Object{Kind: o.Kind, Name: o.Name, Rows: rows})
	}
	return seen
}

// text holds what people are shown to a length, and to characters that show.
func (c *complaints) text(what, s string, limit int) {
	if len(s) > limit || strings.ContainsFunc(s, unicode.IsControl) {
		c.add("%s: %.60q is longer than %d bytes, or holds a control character", what, s, limit)
	}
}

func (c *complaints) texts(what string, list []string) {
	if len(list) > maxList {
		c.add("%s: there are %d, at most %d may be", what, len(list), maxList)
	}
	for _, s := range list {
		c.text(what, s, maxText)
	}
}

func (c *complaints) command(what string, cmd command) {
	size := 0
	for _, word := range cmd.Argv {
		size += len(word) + 1
	}
	switch {
	case len(cmd.Argv) == 0 || cmd.Argv[0] == "":
		c.add("%s: argv: the program is missing", what)
	case len(cmd.Argv) > maxWords || size > maxCommand:
		c.add("%s: argv: it has more than %d words or %d bytes", what, maxWords, maxCommand)
	case strings.ContainsRune(strings.Join(cmd.Argv, " "), 0):
		c.add("%s: argv: a word holds a zero byte", what)
	}
	c.env(what, cmd.Env)
	c.text(what+": user", cmd.User, maxShort)
	if cmd.PasswordEnv != "" && !variablePattern.MatchString(cmd.PasswordEnv) {
		c.add("%s: password_env: %.60q is no name of a variable", what, cmd.PasswordEnv)
	}
}

func (c *complaints) env(what string, env map[string]string) {
	if len(env) > maxList {
		c.add("%s: env: there are %d, at most %d may be", what, len(env), maxList)
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !variablePattern.MatchString(name) || len(env[name]) > maxVariable || strings.ContainsRune(env[name], 0) {
			c.add("%s: env: %.60q is no name of a variable, or its value is longer than %d bytes or holds a zero byte", what, name, maxVariable)
		}
	}
}
