package config

import (
	"cmp"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/run"
	"github.com/baktainer/baktainer/internal/source"
)

// Setting is one thing that can be set: by the flag --Name, by the variable that
// Variable names, by the key Name of the YAML file.
type Setting struct {
	Name string
	// Kind is the kind of value in one word, for help: "path".
	Kind string
	// Default is the value when none is given, empty when it depends: then DefaultText says on what.
	Default, DefaultText string
	// Doc is one or more sentences for the user.
	Doc string
	// Legacy says which variables of the earlier Baktainer mean the same.
	Legacy string
	// Hidden keeps it out of help and documentation.
	Hidden bool
	// Commands are those that use it, empty for all. Required says that they
	// cannot do without: it has to be given.
	Commands []string
	Required bool
	// Asking is set when commands that ask a controller use it, too: what their
	// help says of it.
	Asking string

	// where computes a default that depends on the machine, or on the command.
	where func(circumstances) string
	// set checks the text and puts it into the Config. Its errors say what is
	// allowed, and never repeat the text.
	set func(*Config, string) error
	get func(*Config) string
	// secret says that the text must not be shown.
	secret func(text string) bool
}

// Settings lists all settings, in the order in which help and documentation show them.
func Settings() []*Setting { return settings }

// Variable is the name of the setting's variable: BAKTAINER_DATA_DIR.
func (s *Setting) Variable() string {
	return "BAKTAINER_" + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

// Value is what c holds for the setting, as text; secrets are hidden.
func (s *Setting) Value(c Config) string {
	text := s.get(&c)
	if s.secret != nil && s.secret(text) {
		return source.Secret(text).String()
	}
	return text
}

// UsedBy says whether the command uses the setting.
func (s *Setting) UsedBy(command string) bool {
	return len(s.Commands) == 0 || slices.Contains(s.Commands, command)
}

// circumstances are what defaults depend on.
type circumstances struct {
	env     map[string]string
	root    bool
	command string
}

func (s *Setting) defaultValue(c circumstances) string {
	if s.where != nil {
		return s.where(c)
	}
	return s.Default
}

// The commands that run the two halves.
var (
	remembers = []string{"up", "controller"}
	works     = []string{"up", "agent"}
	apart     = []string{"controller", "agent"}
)

var settings = slices.Concat(ownSettings, retentionSettings, notifySettings, wireSettings)

// ownSettings are about one process and its work.
var ownSettings = []*Setting{
	{
		Name: "data-dir", Kind: "path", where: stateDir, Legacy: "BT_BACKUP_DIR",
		DefaultText: "/var/lib/baktainer for root, else $XDG_STATE_HOME/baktainer or ~/.local/state/baktainer",
		Doc:         "Folder of the program's own state: schedules, runs, the ledger. Keep it on a disk that survives the container.",
		set:         path(func(c *Config) *string { return &c.DataDir }),
		get:         func(c *Config) string { return c.DataDir },
	},
	{
		Name: "socket", Kind: "path", DefaultText: "baktainer.sock in data-dir",
		Doc: "Unix socket between the command line and the controller. At most 100 bytes long.",
		set: path(func(c *Config) *string { return &c.Socket }),
		get: func(c *Config) string { return c.Socket },
	},
	{
		Name: "store", Kind: "path", Commands: remembers, DefaultText: "store in data-dir",
		Doc: "Folder in which snapshots are kept, encrypted. It and the key file are all that a rescue needs.",
		set: path(func(c *Config) *string { return &c.Store }),
		get: func(c *Config) string { return c.Store },
	},
	{
		Name: "key-file", Kind: "path", Commands: remembers, DefaultText: "repository.key in data-dir",
		Doc: "The key that snapshots are encrypted with, made at the first start. Without it nothing can be restored: keep a copy elsewhere.",
		set: path(func(c *Config) *string { return &c.KeyFile }),
		get: func(c *Config) string { return c.KeyFile },
	},
	{
		Name: "passphrase-file", Kind: "path", Commands: remembers, DefaultText: "none",
		Doc: "File with the passphrase that opens the store, instead of a key file; the variable " + PassphraseVariable + " may hold the passphrase itself. " +
			"When a store is made at the first start, it is made for this passphrase.",
		set: path(func(c *Config) *string { return &c.PassphraseFile }),
		get: func(c *Config) string { return c.PassphraseFile },
	},
	{
		Name: "identity-file", Kind: "path", Commands: remembers, DefaultText: "none",
		Doc: "File with the age identity (age-keygen makes one) that opens the store, instead of a key file.",
		set: path(func(c *Config) *string { return &c.IdentityFile }),
		get: func(c *Config) string { return c.IdentityFile },
	},
	{
		Name: "schedule", Kind: "cron", Commands: remembers, Default: "0 0 * * *", Legacy: "BT_CRON",
		Doc: "When sources are backed up: minute, hour, day of month, month, day of week; or off.",
		set: cron(func(c *Config) *string { return &c.Schedule }),
		get: func(c *Config) string { return cmp.Or(c.Schedule, "off") },
	},
	{
		Name: "drill-schedule", Kind: "cron", Commands: remembers, Default: "@weekly",
		Doc: "When the newest snapshot of each source is restored into a throwaway container to see that it can be, up to a day later, at another time for each source; or off.",
		set: cron(func(c *Config) *string { return &c.DrillSchedule }),
		get: func(c *Config) string { return cmp.Or(c.DrillSchedule, "off") },
	},
	{
		Name: "verify-age", Kind: "duration", Commands: remembers, Default: "30d",
		Doc: "How old it may be what is known of a snapshot: then all of it is read again, and compared with the ledger, in the background. Of a source of which nothing is known yet, the newest snapshot is read soon. Or off.",
		set: days(func(c *Config, d time.Duration) { c.VerifyAge = d }, "off"),
		get: func(c *Config) string { return daysText(c.VerifyAge, "off") },
	},
	{
		Name: "verify-bandwidth", Kind: "size", Commands: remembers, Default: "off",
		Doc: "How much of the store is read for that in a second, such as 20MiB, from 256KiB on, or off for as much as there is.",
		set: size(leastBandwidth, 0, func(c *Config, n int64) { c.VerifyBandwidth = n }),
		get: func(c *Config) string { return sizeText(c.VerifyBandwidth, 0) },
	},
	{
		Name: "timezone", Kind: "zone", Commands: remembers, Default: "Local",
		Doc: "Time zone of the schedule, such as Europe/Vienna. Local is that of the machine, or of the variable TZ.",
		set: setZone,
		get: func(c *Config) string { return c.Zone.String() },
	},
	{
		Name: "concurrency", Kind: "number", Commands: works, Default: "4", Legacy: "BT_THREADS",
		Doc: "How many backups and restores run at once, from 1 to 50.",
		set: number(1, 50, func(c *Config) *int { return &c.Concurrency }),
		get: func(c *Config) string { return strconv.Itoa(c.Concurrency) },
	},
	{
		Name: "attempts", Kind: "number", Commands: remembers, Default: "3",
		Doc: "How often a scheduled backup is tried in all when it fails for a reason that may pass, from 1 to 20; the pauses between grow from half a minute to a quarter of an hour. " +
			"Sources whose label baktainer.backup.attempts says otherwise have that. What was asked for by hand is tried once.",
		set: number(1, run.MaxAttempts, func(c *Config) *int { return &c.Attempts }),
		get: func(c *Config) string { return strconv.Itoa(c.Attempts) },
	},
	{
		Name: "time-limit", Kind: "duration", Commands: remembers, Default: "off",
		Doc: "How long one attempt of a backup may take, such as 90m or 6h, or off. Sources whose label baktainer.backup.time_limit says otherwise have that.",
		set: setTimeLimit,
		get: getTimeLimit,
	},
	{
		Name: "bandwidth", Kind: "size", Commands: works, Default: "off",
		Doc: "How much an agent sends in a second, over all of its backups: such as 10MiB, from 256KiB on, or off. What it holds back, the dump tools feel, and wait.",
		set: size(leastBandwidth, 0, func(c *Config, n int64) { c.Bandwidth = n }),
		get: func(c *Config) string { return sizeText(c.Bandwidth, 0) },
	},
	{
		Name: "cpus", Kind: "number", Commands: []string{"up", "controller", "agent"}, Default: "all",
		Doc: "How many processors this process uses at once, or all. Dump tools are in their own containers, and have those containers' limits.",
		set: setCPUs,
		get: getCPUs,
	},
	{
		Name: "compress", Kind: "choice", Commands: works, Default: string(source.CompressDefault), Legacy: "BT_COMPRESS (true: default, false: off)",
		Doc: "Compression for sources whose label baktainer.compress says nothing: default, off, fast or better.",
		set: choice(func(c *Config, v string) { c.Compress = source.Compression(v) },
			string(source.CompressDefault), string(source.CompressOff), string(source.CompressFast), string(source.CompressBetter)),
		get: func(c *Config) string { return string(c.Compress) },
	},
	{
		Name: "cache", Kind: "size", Commands: works, Default: "1GiB",
		Doc: "Room on the agent's disk, in the folder agent/cache of its data folder, for packs that it has sent, sealed as they are in the store: such as 1GiB, or off. " +
			"New data is compressed against what it replaces, as far as that is there: a day of scattered changes then takes a small part of the room in the store. " +
			"Give it about the size that the stored databases of this host have in the store; what was used longest ago goes first. " +
			"Where agent and store share a disk, as with `up`, it comes on top of the store's size.",
		set: size(leastSize, 0, func(c *Config, n int64) { c.Cache = n }),
		get: func(c *Config) string { return sizeText(c.Cache, 0) },
	},
	{
		Name: "log-level", Kind: "choice", Default: "info", Legacy: "BT_LOG_LEVEL",
		Doc: "The least important lines that are logged: debug, info, warn or error.",
		set: setLogLevel,
		get: func(c *Config) string { return strings.ToLower(c.LogLevel.String()) },
	},
	{
		Name: "log-format", Kind: "choice", Default: "auto",
		Doc: "text, json, or auto: text on a terminal and json elsewhere.",
		set: choice(func(c *Config, v string) { c.LogFormat = v }, "auto", "text", "json"),
		get: func(c *Config) string { return c.LogFormat },
	},
	{
		Name: "http-listen", Kind: "address", Commands: remembers, Default: "127.0.0.1:8080",
		Legacy: "BT_HEALTH_SERVER_ENABLED, BT_HEALTH_BIND, BT_HEALTH_PORT",
		Doc: "Where health, metrics and status pages are served, HOST:PORT, or off. They ask for no login: open them to others with care. " +
			"When the address is taken, a warning says so and backups go on without the pages.",
		set: address(func(c *Config) *string { return &c.HTTPListen }, "127.0.0.1:8080", "off"),
		get: func(c *Config) string { return cmp.Or(c.HTTPListen, "off") },
	},
	{
		Name: "docker-host", Kind: "url", Commands: works, Default: "unix:///var/run/docker.sock", where: dockerHost,
		DefaultText: "$DOCKER_HOST, else unix:///var/run/docker.sock", Legacy: "BT_DOCKER_URL",
		Doc: "The Docker Engine: a URL with unix, tcp, http or https.",
		set: setDockerHost,
		get: func(c *Config) string { return c.Docker.Host },
	},
	{
		Name: "docker-ca", Kind: "pem", Commands: works, where: dockerCert("ca.pem"), DefaultText: "$DOCKER_CERT_PATH/ca.pem with DOCKER_TLS_VERIFY",
		Legacy: "BT_CA (with BT_SSL=true)",
		Doc:    "Certificate authority of the Docker Engine: the path of a PEM file, or the PEM itself.",
		set:    pem(func(c *Config, v string) { c.Docker.CA = v }),
		get:    func(c *Config) string { return c.Docker.CA },
	},
	{
		Name: "docker-cert", Kind: "pem", Commands: works, where: dockerCert("cert.pem"), DefaultText: "$DOCKER_CERT_PATH/cert.pem with DOCKER_TLS_VERIFY",
		Legacy: "BT_CERT (with BT_SSL=true)",
		Doc:    "Certificate shown to the Docker Engine: the path of a PEM file, or the PEM itself.",
		set:    pem(func(c *Config, v string) { c.Docker.Cert = v }),
		get:    func(c *Config) string { return c.Docker.Cert },
	},
	{
		Name: "docker-key", Kind: "pem", Commands: works, where: dockerCert("key.pem"), DefaultText: "$DOCKER_CERT_PATH/key.pem with DOCKER_TLS_VERIFY",
		Legacy: "BT_KEY (with BT_SSL=true)",
		Doc:    "Key of that certificate: the path of a PEM file, or the PEM itself.",
		set:    pem(func(c *Config, v string) { c.Docker.Key = source.Secret(v) }),
		get:    func(c *Config) string { return c.Docker.Key.Reveal() },
		secret: isPEM,
	},
	{
		Name: "only-labelled", Kind: "labels", Commands: works, DefaultText: "all containers",
		Doc: "Looks only at containers with this label, KEY or KEY=VALUE; with several, separated by commas, all of them have to be there. " +
			"For two Baktainers on one Docker Engine, or for one Compose project: com.docker.compose.project=shop. " +
			"What does not have it is not seen at all: `coverage` does not miss it either.",
		set: setOnlyLabelled,
		get: func(c *Config) string { return strings.Join(c.OnlyLabelled, ",") },
	},
	{
		Name: "engine-plugins", Kind: "path", Commands: works, DefaultText: "none",
		Doc: "Folder with engines that are programs of their own, baktainer-engine-NAME: see docs/plugins.md. " +
			"They run with the agent's rights, so only root and the agent's user may be able to write there. They are looked for at the start.",
		set: path(func(c *Config) *string { return &c.EnginePlugins }),
		get: func(c *Config) string { return c.EnginePlugins },
	},
	{
		Name: "agent-id", Kind: "name", Commands: works, DefaultText: "the name in its certificate; when it gets one, the host's name; with `up`, one made at the first start and kept in data-dir",
		Doc: "Name of this agent: letters, digits, '_', '.' and '-'. An agent with a token gets a certificate for this name; " +
			"one that has a certificate can only have the name in it.",
		set: name(func(c *Config) *string { return &c.AgentID }),
		get: func(c *Config) string { return c.AgentID },
	},
	{
		Name: "memory", Kind: "size", DefaultText: "96MiB for `controller` and for `agent`, 192MiB for `up`",
		Doc: "Memory that the program tries to stay under, such as 96MiB or 1GiB, or off. Near it, memory is freed sooner, for some CPU; " +
			"no work is ever refused for it. It counts what the program allocates; its own code, some 20 MiB, comes on top. " +
			"The variable GOMEMLIMIT, when set, holds instead.",
		set: size(leastSize, NoLimit, func(c *Config, n int64) { c.Memory = n }),
		get: getMemory,
	},
	{
		Name: "lease-duration", Kind: "duration", Commands: remembers, Default: "1m", Hidden: true,
		Doc: "How long an agent may go unheard before its runs are given to another, from 5s to 1h.",
		set: setLeaseDuration,
		get: func(c *Config) string { return c.LeaseDuration.String() },
	},
}

// stateDir is where the program keeps state unless told otherwise; empty when it cannot be told.
func stateDir(c circumstances) string {
	if c.root {
		return "/var/lib/baktainer"
	}
	return userDir(c.env, "XDG_STATE_HOME", ".local/state")
}

// userDir is the user's own folder for the program; empty when it cannot be told.
func userDir(env map[string]string, variable, inHome string) string {
	switch {
	case filepath.IsAbs(env[variable]):
		return filepath.Join(env[variable], "baktainer")
	case filepath.IsAbs(env["HOME"]):
		return filepath.Join(env["HOME"], inHome, "baktainer")
	}
	return ""
}

func dockerHost(c circumstances) string {
	return cmp.Or(c.env["DOCKER_HOST"], "unix:///var/run/docker.sock")
}

// dockerCert follows the variables of Docker's own command line.
func dockerCert(name string) func(circumstances) string {
	return func(c circumstances) string {
		if c.env["DOCKER_TLS_VERIFY"] == "" || c.env["DOCKER_CERT_PATH"] == "" {
			return ""
		}
		return filepath.Join(c.env["DOCKER_CERT_PATH"], name)
	}
}
