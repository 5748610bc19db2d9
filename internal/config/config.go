// Package config knows every setting of the program. One list of settings, as
// data, is where loading, checking, flags, help and documentation come from.
//
// A value comes from a flag, else a variable BAKTAINER_…, else a variable BT_… of
// the Baktainer before this one, else the YAML file, else the default. Every
// value that is given is checked, also one that another overrides, and all
// that is wrong is told at once, each with the place where it was found.
package config

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/schedule"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/transport"
)

// DefaultFile is read when no other file is named, if it is there.
const DefaultFile = "/etc/baktainer/baktainer.yaml"

// Config is what all settings together say.
type Config struct {
	// DataDir is where the program keeps its own state. The next three are in it by default.
	DataDir string
	Socket  string
	KeyFile string
	Store   string
	// PassphraseFile, Passphrase or IdentityFile open the store when one of them is
	// set, instead of KeyFile.
	PassphraseFile string
	Passphrase     source.Secret
	IdentityFile   string

	// Schedule is a cron expression, empty when nothing is backed up by itself.
	Schedule string
	// DrillSchedule is one for drills, empty when none are held by themselves.
	DrillSchedule string
	// VerifyAge is how old it may be what is known of a snapshot, 0: as old as it gets;
	// VerifyBandwidth how many bytes a second are read to find out again, 0: all there is.
	VerifyAge       time.Duration
	VerifyBandwidth int64
	// Schedules are those of the settings file, of several sources each.
	Schedules   []schedule.Several
	Zone        *time.Location
	Concurrency int
	// Compress is for sources whose labels do not say.
	Compress source.Compression
	// Cache is how many bytes of packs the agent keeps on its disk, 0 for none.
	Cache int64

	Retention Retention

	LogLevel slog.Level
	// LogFormat is auto, text or json.
	LogFormat string
	// HTTPListen is host:port, empty when nothing is served.
	HTTPListen string

	Docker Docker
	// OnlyLabelled are labels, KEY or KEY=VALUE, without all of which a container is
	// not looked at.
	OnlyLabelled []string
	// EnginePlugins is a folder of programs that are engines, empty for none.
	EnginePlugins string
	// AgentID is empty when the certificate names the agent, or the one kept in the data folder is to be used.
	AgentID string

	// Listen is where a controller waits for others, empty for nowhere, Advertise
	// where they reach it, and Name what it is called: both empty when it has to tell by itself.
	Listen, Advertise, Name string
	// Join are the controllers whose cluster a controller joins, Expect how many
	// make a new one together. Only a controller alone may heed them.
	Join      []string
	JoinToken Token
	Expect    int
	// Controllers are those that an agent or an operator asks.
	Controllers []string
	Token       Token
	// TLS is set for an authority of the user's own.
	TLS TLS
	// LoginDir is where the operator's certificate from a login is, empty when there is no home folder.
	LoginDir string
	// Memory is Go's soft limit, in bytes: 0 when the command chooses, NoLimit for none.
	Memory int64
	// Attempts is how often a scheduled backup is tried, TimeLimit how long one
	// attempt may take; 0: as long as it wants.
	Attempts  int
	TimeLimit time.Duration
	// Bandwidth is what an agent sends at most, in bytes a second, and CPUs how many
	// processors the process uses; 0: as many as there are.
	Bandwidth int64
	CPUs      int
	// LeaseDuration is how long an agent may go unheard before its runs are given to another.
	LeaseDuration time.Duration

	// Notify says who is told what.
	Notify Notify

	// File is the file that was read, empty when there was none.
	File string
	// Origins says of each setting, by name, where its value was found: a flag, a
	// variable, "FILE:LINE", or "default".
	Origins map[string]string
}

// Docker says how to reach the Docker Engine.
type Docker struct {
	// Host is a URL: unix, tcp, http or https.
	Host string
	// CA and Cert are each the path of a PEM file or the PEM itself, as is Key.
	CA, Cert string
	Key      source.Secret
}

// TLS is what controllers, agents and operators show each other when they have an
// authority of their own: all of it, or nothing.
type TLS struct {
	// CA and Cert are each the path of a PEM file or the PEM itself, as is Key.
	CA, Cert string
	Key      source.Secret
}

// Given says whether there is an authority of the user's own.
func (t TLS) Given() bool { return t != TLS{} }

// NoLimit is a Memory without a limit.
const NoLimit = math.MaxInt64

// LoadOptions say where to look for settings.
type LoadOptions struct {
	// Command is the command that the settings are for, empty for any: what it
	// cannot do without has to be set.
	Command string
	// Flags holds the flags that were given, by the name of their setting: see Given.
	Flags map[string]string
	// File is the file that --config named, empty when it was not given.
	File string
	// Environ is the environment as os.Environ gives it.
	Environ []string
	// Root says that the program runs as root, which decides where state goes.
	Root bool
}

// Here returns the options for this process, without flags.
func Here() LoadOptions {
	return LoadOptions{Environ: os.Environ(), Root: os.Geteuid() == 0}
}

// given is one value that a user gave, and where.
type given struct {
	setting *Setting
	text    string
	origin  string
}

// Load reads and checks all settings. Warnings are sentences about settings
// that have no effect. The error is one problem (InvalidInput) with a line for each thing
// that is wrong.
func Load(o LoadOptions) (Config, []string, error) {
	l := loader{env: environ(o.Environ), defaultFile: DefaultFile}
	return l.load(o)
}

// loader gathers what goes wrong on the way.
type loader struct {
	env         map[string]string
	defaultFile string
	wrong       []string
	warnings    []string
	// fileSchedules wait until the policies are known that they name.
	fileSchedules []fileSchedule
}

func (l *loader) load(o LoadOptions) (Config, []string, error) {
	c := Config{Origins: map[string]string{}}
	variables, legacy := l.variables(), l.legacy(&c)
	for _, s := range settings {
		l.apply(&c, given{s, s.defaultValue(circumstances{l.env, o.Root, o.Command}), "default"})
	}
	for _, values := range [][]given{l.file(&c, o.File), legacy, variables, flagValues(o.Flags)} {
		for _, v := range values {
			l.apply(&c, v)
		}
	}
	l.complete(&c)
	l.retention(&c)
	l.schedules(&c)
	l.wire(&c, o.Command)
	l.required(c, o.Command)
	if len(l.wrong) > 0 {
		things := "1 setting is wrong"
		if n := len(l.wrong); n > 1 {
			things = fmt.Sprintf("%d settings are wrong", n)
		}
		return Config{}, l.warnings, problem.New(problem.InvalidInput, "%s", things).WithReason("bad-settings").
			WithDetails(l.wrong...).WithHint("`baktainer config show --help` lists all settings.")
	}
	return c, l.warnings, nil
}

// apply gives the setting its value unless the value is wrong.
func (l *loader) apply(c *Config, v given) {
	if v.origin == "default" && v.text == "" {
		c.Origins[v.setting.Name] = v.origin
		return
	}
	if err := v.setting.set(c, v.text); err != nil {
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %s: %v", v.origin, v.setting.shown(v.text), err))
		return
	}
	c.Origins[v.setting.Name] = v.origin
}

// required says what the command cannot do without and nobody has set.
func (l *loader) required(c Config, command string) {
	for _, s := range settings {
		if s.Required && s.UsedBy(command) && c.Origins[s.Name] == "default" && s.get(&c) == "" {
			l.wrong = append(l.wrong, fmt.Sprintf("%s: is not set, and `baktainer %s` needs it: set --%s or %s", s.Name, command, s.Name, s.Variable()))
		}
	}
}

// oneKey refuses to guess which of several keys is meant.
func (l *loader) oneKey(c *Config) {
	var keys []string
	for _, name := range []string{"key-file", "passphrase-file", "identity-file"} {
		if c.Origins[name] != "default" {
			keys = append(keys, fmt.Sprintf("%s (%s)", name, c.Origins[name]))
		}
	}
	if c.Passphrase != "" {
		keys = append(keys, PassphraseVariable)
	}
	if len(keys) > 1 {
		l.wrong = append(l.wrong, strings.Join(keys, ", ")+": only one of them can open the store: leave the others out")
	}
}

// AgentSocket is where an agent that is a process of its own is asked how it is.
func (c Config) AgentSocket() string { return filepath.Join(c.DataDir, "agent", "agent.sock") }

// complete derives what depends on other settings and checks what only makes
// sense together.
func (l *loader) complete(c *Config) {
	if c.DataDir == "" {
		if len(l.wrong) == 0 {
			l.wrong = append(l.wrong, "data-dir: there is no home folder to put it in: set --data-dir or BAKTAINER_DATA_DIR")
		}
		return
	}
	c.Passphrase = source.Secret(l.env[PassphraseVariable])
	if dir := userDir(l.env, "XDG_CONFIG_HOME", ".config"); dir != "" {
		c.LoginDir = filepath.Join(dir, "login")
	}
	l.oneKey(c)
	l.notify(c)
	for path, name := range map[*string]string{&c.Socket: "baktainer.sock", &c.KeyFile: "repository.key", &c.Store: "store"} {
		if *path == "" {
			*path = filepath.Join(c.DataDir, name)
		}
	}
	if err := transport.CheckSocketPath(c.Socket); err != nil {
		where := c.Origins["socket"]
		if where == "default" {
			where = "socket (in the data-dir that " + c.Origins["data-dir"] + " gives)"
		}
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %q: %v: set a shorter one with --socket", where, c.Socket, err))
	}
	if (c.Docker.Cert == "") != (c.Docker.Key == "") {
		l.wrong = append(l.wrong, "docker-cert and docker-key belong together: only one of them is set")
	}
	if tls := c.Docker.CA + c.Docker.Cert + c.Docker.Key.Reveal(); tls != "" && isUnix(c.Docker.Host) {
		l.warnings = append(l.warnings, fmt.Sprintf("docker-ca, docker-cert, docker-key: have no effect with %s", c.Docker.Host))
	}
}
