package label

import (
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/schedule"
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
	Policy   Kind = "policy, or the name of one"
	Internal Kind = "set by Baktainer itself"

	Cron      Kind = "cron expression"
	Zone      Kind = "name of a time zone"
	Splay     Kind = "length of time"
	Deadline  Kind = "length of time, at least 1m"
	Windows   Kind = "windows of the week"
	CatchUp   Kind = "`latest`, `none`, `all` or `all:N`"
	Retention Kind = "retention policy"
	Sources   Kind = "names of sources, with commas between"
	Attempts  Kind = "whole number from 1 to 20"
	Duration  Kind = "length of time, at least 1s"
	Timeout   Kind = "length of time, at most 1h"
	URL       Kind = "URL"
	Image     Kind = "name of an image"
	Size      Kind = "size, at least 64MiB"
	Assertion Kind = "query, and the answer after ` => `"
	Patterns  Kind = "names or patterns, with commas between"
	Arguments Kind = "arguments of the dump tool"
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
	// put is set instead of set when the label is of one of the source's schedules:
	// baktainer.schedule.KEY is of that without a name, baktainer.schedule.NAME.KEY
	// of another.
	put func(*schedule.Spec, value)
}

// value is a checked value, in the form that its kind gives it.
type value struct {
	text string
	yes  bool
	argv []string
	list []string
	// patterns are those of Patterns.
	patterns []source.Pattern
	// length is that of a length of time, size that of a size in bytes.
	length time.Duration
	size   int64
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
	keySchedule     = Prefix + "schedule"

	// KeyCompanion is on containers that take part in the backups of others.
	KeyCompanion = Prefix + "companion_of"
	keyRetention = Prefix + "retention"
	keyDays      = Prefix + "backup.retention.days"
	keyCount     = Prefix + "backup.retention.count"

	// keyAssert begins the keys of assertions; a name follows.
	keyAssert = Prefix + "drill.assert."

	// KeyHelper marks containers that Baktainer itself made: never sources.
	KeyHelper = Prefix + "helper"
)

// DrillMark begins the value of KeyHelper on a throwaway container for a drill;
// its maker's id and the run follow.
const DrillMark = "drill "

// ToolsMark is the value of KeyHelper on a side-car, which has the tools of an image
// of the user's.
const ToolsMark = "tools"

// KeepMark begins that of a container that a restore makes to stay; its maker's id
// and the run follow. The label stays on it, as labels cannot be changed: it is
// one of ours for as long as it has the name of one that is being made.
const (
	KeepMark   = "restore "
	Unfinished = ".baktainer-restore"
)

// Of gives the labels that count of the container with that name: one that we made
// to stay, and that has its name, is no helper any more.
func Of(labels map[string]string, name string) map[string]string {
	if !strings.HasPrefix(labels[KeyHelper], KeepMark) || strings.HasSuffix(name, Unfinished) {
		return labels
	}
	labels = maps.Clone(labels)
	delete(labels, KeyHelper)
	return labels
}

// HelperImage is the repository name of the image that such containers are made
// from: an agent's own program.
const HelperImage = "baktainer-helper"

// addRule adds a rule to the policy of a source; the number 0 says nothing.
func addRule(s *source.Spec, rule, number, unit string) {
	if strings.Trim(number, "0") != "" {
		s.Retention = strings.TrimSpace(s.Retention + " " + rule + number + unit)
	}
}

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
		Key: keyCommand, Kind: Command, Legacy: true, Example: "couchbackup --db app",
		Doc: "For the engine `custom`: the program that writes the dump to its standard output, with its arguments. No shell is involved.",
		set: func(s *source.Spec, v value) { s.Command = v.argv },
	},
	{
		Key: keyRestore, Kind: Command, Example: "couchrestore --db app",
		Doc: "For the engine `custom`: the program that reads a dump from its standard input and restores it.",
		set: func(s *source.Spec, v value) { s.RestoreCommand = v.argv },
	},
	{
		Key: Prefix + "dump.include_databases", Kind: Patterns, Default: "all", Example: "shop,crm_*",
		Doc: "With `baktainer.db.all`: only these databases. See [leaving things out](selection.md), also for all below.",
		set: func(s *source.Spec, v value) { s.Dump.Databases.Include = v.patterns },
	},
	{
		Key: Prefix + "dump.exclude_databases", Kind: Patterns, Default: "none", Example: "test_*",
		Doc: "With `baktainer.db.all`: not these databases.",
		set: func(s *source.Spec, v value) { s.Dump.Databases.Exclude = v.patterns },
	},
	{
		Key: Prefix + "dump.include_schemas", Kind: Patterns, Default: "all", Example: "public,app",
		Doc: "PostgreSQL: only these schemas.",
		set: func(s *source.Spec, v value) { s.Dump.Schemas.Include = v.patterns },
	},
	{
		Key: Prefix + "dump.exclude_schemas", Kind: Patterns, Default: "none", Example: "staging",
		Doc: "PostgreSQL: not these schemas.",
		set: func(s *source.Spec, v value) { s.Dump.Schemas.Exclude = v.patterns },
	},
	{
		Key: Prefix + "dump.include_tables", Kind: Patterns, Default: "all", Example: "customers,orders*",
		Doc: "Only these tables, views or collections. Each pattern has to match one, or the backup fails.",
		set: func(s *source.Spec, v value) { s.Dump.Tables.Include = v.patterns },
	},
	{
		Key: Prefix + "dump.exclude_tables", Kind: Patterns, Default: "none", Example: "cache_*,public.sessions",
		Doc: "Not these tables, views or collections.",
		set: func(s *source.Spec, v value) { s.Dump.Tables.Exclude = v.patterns },
	},
	{
		Key: Prefix + "dump.exclude_data", Kind: Patterns, Default: "none", Example: "sessions,*_log",
		Doc: "The definitions of these tables, and none of their rows.",
		set: func(s *source.Spec, v value) { s.Dump.NoData = v.patterns },
	},
	{
		Key: Prefix + "dump.args", Kind: Arguments, Example: "--no-comments --no-owner",
		Doc: "Further arguments for the dump tool, of those that [are allowed](selection.md#further-arguments).",
		set: func(s *source.Spec, v value) { s.Dump.Args = v.argv },
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
		Key: keyDays, Kind: Number, Legacy: true, Example: "30",
		Doc: "Keeps snapshots for so many days: `within=30d` in the words of `baktainer.retention`; 0 says nothing. With the next label, what either keeps is kept.",
		set: func(s *source.Spec, v value) { addRule(s, "within=", v.text, "d") },
	},
	{
		Key: keyCount, Kind: Number, Legacy: true, Example: "7",
		Doc: "Keeps so many of the newest snapshots: `last=7` in the words of `baktainer.retention`; 0 says nothing.",
		set: func(s *source.Spec, v value) { addRule(s, "last=", v.text, "") },
	},
	{ // after the two that it overrides
		Key: keyRetention, Kind: Policy, Default: "the setting `retention`", Example: "daily=7 weekly=4 monthly=12",
		Doc: "What is kept of this source: see [retention](retention.md). `off` keeps everything. While it cannot be read, everything is kept.",
		set: func(s *source.Spec, v value) { s.Retention = v.text },
	},
	{
		Key: Prefix + "backup.priority", Kind: Choice, Allowed: schedule.Priorities, Legacy: true, Default: "normal", Example: "high",
		Doc: "Of backups that wait, which come first.",
		set: func(s *source.Spec, v value) { s.Priority = v.text },
	},
	{
		Key: keySchedule, Kind: Cron, Default: "the default schedule", Example: "0 3 * * *",
		Doc: "When it is backed up, instead of by the default schedule: [schedules](schedules.md). `off`: never by itself. " +
			"More schedules have names: `baktainer.schedule.NAME.cron`, and `.timezone` and all below likewise.",
		put: func(s *schedule.Spec, v value) { s.Cron = v.text },
	},
	{
		Key: keySchedule + ".timezone", Kind: Zone, Default: "the setting `timezone`", Example: "Europe/Vienna",
		Doc: "The time zone of that schedule.",
		put: func(s *schedule.Spec, v value) { s.Timezone = v.text },
	},
	{
		Key: keySchedule + ".splay", Kind: Splay, Example: "30m",
		Doc: "Begins up to so much later, spread by source and fire time.",
		put: func(s *schedule.Spec, v value) { s.Splay = v.text },
	},
	{
		Key: keySchedule + ".blackout", Kind: Windows, Example: "Mon-Fri 08:00-18:00; Sat 22:00-02:00",
		Doc: "When no backup begins: it waits for the end of the window.",
		put: func(s *schedule.Spec, v value) { s.Blackout = v.text },
	},
	{
		Key: keySchedule + ".starting_deadline", Kind: Deadline, Default: "none", Example: "2h",
		Doc: "How late a backup may begin; later it is given up.",
		put: func(s *schedule.Spec, v value) { s.Deadline = v.text },
	},
	{
		Key: keySchedule + ".catch_up", Kind: CatchUp, Default: "latest", Example: "all:3",
		Doc: "Which of the fire times are caught up that passed while no controller was there.",
		put: func(s *schedule.Spec, v value) { s.CatchUp = v.text },
	},
	{
		Key: keySchedule + ".concurrency", Kind: Choice, Allowed: schedule.Policies, Default: "forbid", Example: "queue",
		Doc: "What happens when it fires while a backup of the source is queued or at work.",
		put: func(s *schedule.Spec, v value) { s.Concurrency = v.text },
	},
	{
		Key: keySchedule + ".priority", Kind: Choice, Allowed: schedule.Priorities, Default: "`baktainer.backup.priority`", Example: "low",
		Doc: "The priority of that schedule's backups.",
		put: func(s *schedule.Spec, v value) { s.Priority = v.text },
	},
	{
		Key: keySchedule + ".retention", Kind: Retention, Example: "daily=7 weekly=4",
		Doc: "The retention policy of the snapshots that this schedule makes.",
		put: func(s *schedule.Spec, v value) { s.Retention = v.text },
	},
	{
		Key: Prefix + "depends_on", Kind: Sources, Example: "shop/queue,shop/files",
		Doc: "Of one fire time, its backup waits until those of these sources have ended.",
		set: func(s *source.Spec, v value) { s.DependsOn = v.list },
	},
	{
		Key: Prefix + "depends_on.on_failure", Kind: Choice, Allowed: []string{source.UpstreamRun, source.UpstreamSkip}, Default: source.UpstreamRun, Example: source.UpstreamSkip,
		Doc: "What becomes of its backup when one of those did not succeed.",
		set: func(s *source.Spec, v value) { s.OnUpstreamFailure = v.text },
	},
	{
		Key: Prefix + "backup.attempts", Kind: Attempts, Default: "the setting `attempts`", Example: "5",
		Doc: "How often a scheduled backup is tried in all, when it fails for a reason that may pass.",
		set: func(s *source.Spec, v value) { s.Attempts, _ = strconv.Atoi(v.text) }, // it was checked
	},
	{
		Key: Prefix + "backup.time_limit", Kind: Duration, Default: "the setting `time-limit`", Example: "2h",
		Doc: "How long one attempt may take; then it is ended, and has failed.",
		set: func(s *source.Spec, v value) { s.TimeLimit = v.length },
	},
	{
		Key: Prefix + "drill.schedule", Kind: Cron, Default: "the setting `drill-schedule`", Example: "0 4 * * 0",
		Doc: "When its newest snapshot is restored into a throwaway container, to see that it can be: [drills](drills.md). `off`: never by itself.",
		set: func(s *source.Spec, v value) { s.Drill.Cron = v.text },
	},
	{
		Key: Prefix + "drill.image", Kind: Image, Default: "the image that the snapshot was taken from", Example: "postgres:17",
		Doc: "What the throwaway container is made from. It has to be on the host: nothing is pulled.",
		set: func(s *source.Spec, v value) { s.Drill.Image = v.text },
	},
	{
		Key: Prefix + "drill.memory", Kind: Size, Default: "1GiB", Example: "4GiB",
		Doc: "How much memory the throwaway container may use.",
		set: func(s *source.Spec, v value) { s.Drill.Memory = v.size },
	},
	{
		Key: keyAssert + "NAME", Kind: Assertion, Example: "SELECT count(*) > 0 FROM orders",
		Doc: "A query to ask the restored database, and after ` => ` the answer that it must give; without one it has to be true. " +
			"`DATABASE: ` may come before the query. NAME tells several apart.",
		set: func(*source.Spec, value) {}, // see assertions
	},
	{
		Key: Prefix + "tools.image", Kind: Image, Default: "the container's own", Example: "postgres:16",
		Doc: "Takes the programs that dump and restore from this image instead: they are run in a [side-car](#tools-of-another-image) of the container. It has to be on the host: nothing is pulled.",
		set: func(s *source.Spec, v value) { s.Tools.Image = v.text },
	},
	{
		Key: Prefix + "tools.memory", Kind: Size, Default: "1GiB", Example: "4GiB",
		Doc: "How much memory they may use there.",
		set: func(s *source.Spec, v value) { s.Tools.Memory = v.size },
	},
	{
		Key: Prefix + "hook.before", Kind: Command, Example: "redis-cli wait 1 1000",
		Doc: "A program that is run in this container before the dump. No shell is involved. See [hooks](hooks.md).",
		set: func(s *source.Spec, v value) { s.Hooks.Before = v.argv },
	},
	{
		Key: Prefix + "hook.after", Kind: Command, Example: "rm -f /var/lib/app/maintenance",
		Doc: "A program that is run in this container after the dump, whatever came of it.",
		set: func(s *source.Spec, v value) { s.Hooks.After = v.argv },
	},
	{
		Key: Prefix + "hook.before_url", Kind: URL, Secret: true, Example: "https://app.example.com/maintenance/on",
		Doc: "A URL that is posted to before the dump.",
		set: func(s *source.Spec, v value) { s.Hooks.BeforeURL = source.Secret(v.text) },
	},
	{
		Key: Prefix + "hook.after_url", Kind: URL, Secret: true, Example: "https://app.example.com/maintenance/off",
		Doc: "A URL that is posted to after the dump, whatever came of it.",
		set: func(s *source.Spec, v value) { s.Hooks.AfterURL = source.Secret(v.text) },
	},
	{
		Key: Prefix + "hook.timeout", Kind: Timeout, Default: "1m", Example: "5m",
		Doc: "How long each hook may take.",
		set: func(s *source.Spec, v value) { s.Hooks.Timeout = v.length },
	},
	{
		Key: Prefix + "hook.on_failure", Kind: Choice, Allowed: []string{"fail", "ignore"}, Default: "fail", Example: "ignore",
		Doc: "What becomes of the backup when what is done before it fails. What is done after it never changes its outcome.",
		set: func(s *source.Spec, v value) { s.Hooks.IgnoreFailure = v.text == "ignore" },
	},
	{
		Key: KeyCompanion, Kind: Sources, Example: "shop/db",
		Doc: "This container takes part in the backups of these sources: its hooks are run, and it is paused or stopped meanwhile.",
		set: func(s *source.Spec, v value) { s.Companion.Of = v.list },
	},
	{
		Key: Prefix + "companion.action", Kind: Choice, Allowed: []string{"none", source.ActionPause, source.ActionStop}, Default: "none", Example: source.ActionPause,
		Doc: "What is done with a companion while a dump is made. It goes on afterwards, whatever happens.",
		set: func(s *source.Spec, v value) {
			if v.text != "none" {
				s.Companion.Action = v.text
			}
		},
	},
	{
		Key: KeyHelper, Kind: Internal, Example: "1",
		Doc: "Marks the containers that Baktainer makes. A container that carries it is never backed up.",
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
	if name, ok := strings.CutPrefix(key, keyAssert); ok && name != "" {
		l, known := lookUp(keyAssert + "NAME")
		l.Key = key
		return l, known
	}
	if _, base, ok := named(key); ok {
		l, known := lookUp(base)
		l.Key = key
		return l, known && l.put != nil
	}
	return Label{}, false
}

// short is a key without the prefix that all share.
func short(key string) string { return strings.TrimPrefix(key, Prefix) }
