package label

import (
	"strings"

	"github.com/baktainer/baktainer/internal/source"
)

// Kind says what a label's value looks like. How each is checked is in check.go.
type Kind string

// The kinds.
const (
	Bool     Kind = "true or false"
	Name     Kind = "name of a source"
	Engine   Kind = "name of an engine"
	Database Kind = "name or path of a database"
	User     Kind = "name of a user"
	Password Kind = "password"
	Path     Kind = "absolute path"
	Variable Kind = "name of a variable"
	Command  Kind = "command"
	Choice   Kind = "one of the values allowed"
	Number   Kind = "whole number from 0 on"
	Internal Kind = "set by Baktainer itself"
)

// Label describes one label. The table of them is the only place that knows
// which there are.
type Label struct {
	Key  string
	Kind Kind
	// Allowed are the values of a Choice; Also maps older spellings to them.
	Allowed []string
	Also    map[string]string
	// Secret values are never shown.
	Secret bool
	// Default is what holds without the label, Doc a sentence on what it does.
	Default, Doc, Example string
	// Legacy: the earlier Baktainer had it.
	Legacy bool
	// NoEffect, when set, says what holds instead: the label is accepted with a
	// warning, and so that its value is wrong is no more than a warning either.
	NoEffect string

	set func(*source.Spec, value)
}

// value is a checked value, in the form that its kind gives it.
type value struct {
	text string
	yes  bool
	argv []string
}

// Keys that the code names.
const (
	keyBackup       = Prefix + "backup"
	keyName         = Prefix + "name"
	keyEngine       = Prefix + "db.engine"
	keyPassword     = Prefix + "db.password"
	keyPasswordFile = Prefix + "db.password_file"
	keyPasswordEnv  = Prefix + "db.password_env"
	keyCommand      = Prefix + "command"
	keyRestore      = Prefix + "restore_command"

	// KeyHelper marks containers that Baktainer itself made: never sources.
	KeyHelper = Prefix + "helper"
)

// HelperImage is the repository name of the image that such containers are made
// from: an agent's own program.
const HelperImage = "baktainer-helper"

const later = "it takes effect with a later version; until then every snapshot is kept"

var schema = []Label{
	{
		Key: keyBackup, Kind: Bool, Legacy: true, Default: "false", Example: "true",
		Doc: "Backs this container up. The one label that is needed.",
		set: func(*source.Spec, value) {},
	},
	{
		Key: keyName, Kind: Name, Legacy: true, Default: "Swarm service, else Compose project/service, else the container's name", Example: "shop/orders",
		Doc: "The name under which snapshots are kept. It must be unique, and outlives the container.",
		set: func(s *source.Spec, v value) { s.Name = v.text },
	},
	{
		Key: keyEngine, Kind: Engine, Legacy: true, Default: "detected from the image", Example: "postgres",
		Doc: "The kind of database.",
		set: func(s *source.Spec, v value) { s.Engine = v.text },
	},
	{
		Key: Prefix + "db.name", Kind: Database, Legacy: true, Default: "what the image's variables name, else all", Example: "shop",
		Doc: "The database; for SQLite the absolute path of the file in the container.",
		set: func(s *source.Spec, v value) { s.Database = v.text },
	},
	{
		Key: Prefix + "db.all", Kind: Bool, Legacy: true, Default: "false", Example: "true",
		Doc: "Backs up all databases of the server, with roles where the engine has them. Overrides `baktainer.db.name`.",
		set: func(s *source.Spec, v value) { s.AllDatabases = v.yes },
	},
	{
		Key: Prefix + "db.user", Kind: User, Legacy: true, Default: "the image's variables", Example: "postgres",
		Doc: "The user to dump and restore as.",
		set: func(s *source.Spec, v value) { s.User = v.text },
	},
	{
		Key: keyPassword, Kind: Password, Secret: true, Legacy: true, Default: "the image's variables", Example: "s3cret",
		Doc: "The password itself. Whoever may inspect the container can read it: prefer one of the next two.",
		set: func(s *source.Spec, v value) { s.Password = source.Secret(v.text) },
	},
	{
		Key: keyPasswordFile, Kind: Path, Example: "/run/secrets/db_password",
		Doc: "A file in the container that holds the password.",
		set: func(s *source.Spec, v value) { s.PasswordFile = v.text },
	},
	{
		Key: keyPasswordEnv, Kind: Variable, Example: "APP_DB_PASSWORD",
		Doc: "A variable of the container that holds the password.",
		set: func(s *source.Spec, v value) { s.PasswordEnv = v.text },
	},
	{
		Key: keyCommand, Kind: Command, Legacy: true, Example: "slapcat -n 1",
		Doc: "For the engine `custom`: the program that writes the dump to its standard output, with its arguments. No shell is involved.",
		set: func(s *source.Spec, v value) { s.Command = v.argv },
	},
	{
		Key: keyRestore, Kind: Command, Example: "slapadd -n 1",
		Doc: "For the engine `custom`: the program that reads a dump from its standard input and restores it.",
		set: func(s *source.Spec, v value) { s.RestoreCommand = v.argv },
	},
	{
		Key: Prefix + "compress", Kind: Choice, Legacy: true, Default: "default", Example: "better",
		Allowed: []string{"off", "fast", "default", "better"}, Also: map[string]string{"true": "default", "false": "off"},
		Doc: "How hard new data is compressed. `true` and `false` mean `default` and `off`.",
		set: func(s *source.Spec, v value) { s.Compress = source.Compression(v.text) },
	},
	{
		Key: Prefix + "backup.compress", Kind: Bool, Legacy: true, Example: "true",
		Doc:      "Never had an effect.",
		NoEffect: "use baktainer.compress",
	},
	{
		Key: Prefix + "backup.encrypt", Kind: Bool, Legacy: true, Example: "true",
		Doc:      "Never had an effect.",
		NoEffect: "encryption is always on",
	},
	{
		Key: Prefix + "backup.retention.days", Kind: Number, Legacy: true, Example: "30",
		Doc: "Never had an effect.", NoEffect: later,
	},
	{
		Key: Prefix + "backup.retention.count", Kind: Number, Legacy: true, Example: "7",
		Doc: "Never had an effect.", NoEffect: later,
	},
	{
		Key: Prefix + "backup.priority", Kind: Choice, Allowed: []string{"low", "normal", "high", "critical"}, Legacy: true, Example: "high",
		Doc:      "Never had an effect.",
		NoEffect: "it takes effect with a later version; until then all sources are equal",
	},
	{
		Key: KeyHelper, Kind: Internal, Example: "1",
		Doc: "Marks the short-lived containers that Baktainer makes. A container that carries it is never backed up.",
		set: func(*source.Spec, value) {},
	},
}

// misspelt engines that a published example taught people to write.
var misspelt = map[string]string{"posgres": "postgres"}

// Labels lists every label that there is.
func Labels() []Label { return append([]Label(nil), schema...) }

func lookUp(key string) (Label, bool) {
	for _, l := range schema {
		if l.Key == key {
			return l, true
		}
	}
	return Label{}, false
}

// short is a key without the prefix that all share.
func short(key string) string { return strings.TrimPrefix(key, Prefix) }
