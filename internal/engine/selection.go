package engine

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// ReasonSelection is the reason when labels leave out what is needed by what they
// keep, or all there is, or name what is not there.
const ReasonSelection problem.Reason = "selection"

// Kinds of objects that stand for what the labels leave out of a backup. They are
// among the contents of a stream, so that nobody takes a snapshot for whole.
const (
	KindLeftOut         = "left out" // a table, a view, a collection
	KindRowsLeftOut     = "rows left out"
	KindSchemaLeftOut   = "schema left out"
	KindDatabaseLeftOut = "database left out" // on the first stream of all
)

// maxLeftOut bounds how many of these a stream names.
const maxLeftOut = MaxObjects / 2

// IsLeftOut says whether an object of that kind stands for what is not there.
func IsLeftOut(kind string) bool { return strings.HasSuffix(kind, KindLeftOut) }

// Selector is an Engine that knows some of the labels baktainer.dump.*. Those that
// no engine says it knows are complained of.
type Selector interface {
	DumpOptions() DumpOptions
}

// Warner is a Session that knows, once Streams was called, what somebody should look
// at though nothing fails for it.
type Warner interface {
	Warnings() []string
}

// DumpOptions are what an engine knows of these labels.
type DumpOptions struct {
	// Databases: it can leave out some of several.
	Databases bool
	// Schemas and Tables are how many parts their names have at most; 0: it can leave
	// out no single ones.
	Schemas, Tables int
	// Data: it can leave out the rows of a table and keep its definition.
	Data bool
	// Args are the arguments that its tool may be given.
	Args []Arg
}

// Arg is an argument that a user may give to a dump tool.
type Arg struct {
	Name string // "--no-comments"
	// Value is what comes after a "="; nil: nothing does.
	Value *regexp.Regexp
	// Example is the argument as it may be.
	Example string
	// LeavesOut is what is not in the dump for it, in a word; empty: all is.
	LeavesOut string
}

// The labels, by what they are for.
const (
	labelDump             = "baktainer.dump."
	labelIncludeDatabases = labelDump + "include_databases"
	labelExcludeDatabases = labelDump + "exclude_databases"
	labelIncludeSchemas   = labelDump + "include_schemas"
	labelExcludeSchemas   = labelDump + "exclude_schemas"
	labelIncludeTables    = labelDump + "include_tables"
	labelExcludeTables    = labelDump + "exclude_tables"
	labelExcludeData      = labelDump + "exclude_data"
	labelArgs             = labelDump + "args"
)

// Check lists what is wrong with a spec for an engine: what the engine says, and
// what it does not know of what is to be dumped.
func Check(e Engine, spec source.Spec, f Facts) []Complaint {
	var o DumpOptions
	if s, ok := e.(Selector); ok {
		o = s.DumpOptions()
	}
	return append(e.Check(spec, f), o.check(e.Name(), spec)...)
}

func (o DumpOptions) check(name string, spec source.Spec) (list []Complaint) {
	for _, l := range []struct {
		label    string
		patterns []source.Pattern
		parts    int
	}{
		{labelIncludeDatabases, spec.Dump.Databases.Include, o.databases()},
		{labelExcludeDatabases, spec.Dump.Databases.Exclude, o.databases()},
		{labelIncludeSchemas, spec.Dump.Schemas.Include, o.Schemas},
		{labelExcludeSchemas, spec.Dump.Schemas.Exclude, o.Schemas},
		{labelIncludeTables, spec.Dump.Tables.Include, o.Tables},
		{labelExcludeTables, spec.Dump.Tables.Exclude, o.Tables},
		{labelExcludeData, spec.Dump.NoData, o.data()},
	} {
		switch i := slices.IndexFunc(l.patterns, func(p source.Pattern) bool { return p.Parts() > l.parts }); {
		case len(l.patterns) == 0:
		case l.parts == 0:
			list = append(list, Complaint{l.label, "the engine " + name + " does not know it", "remove it; " + o.known()})
		case i >= 0:
			list = append(list, Complaint{
				l.label, fmt.Sprintf("%s has more parts than there are: for the engine %s at most %d", l.patterns[i], name, l.parts),
				`put a name that has points in it in double quotes, as in "a.b"`,
			})
		case !spec.AllDatabases && (l.label == labelIncludeDatabases || l.label == labelExcludeDatabases):
			list = append(list, Complaint{l.label, "it is for backups of all databases", "add baktainer.db.all=true, or name the one database in baktainer.db.name"})
		}
	}
	var refused []string
	for _, arg := range spec.Dump.Args {
		if why := o.refuses(arg); why != "" {
			refused = append(refused, fmt.Sprintf("%.80q %s", arg, why))
		}
	}
	if len(refused) > 0 {
		list = append(list, Complaint{labelArgs, strings.Join(refused, "; "), o.allowed()})
	}
	return list
}

func (o DumpOptions) databases() int {
	if o.Databases {
		return 1
	}
	return 0
}

func (o DumpOptions) data() int {
	if o.Data {
		return o.Tables
	}
	return 0
}

// refuses says why the tool may not be given an argument; empty: it may.
func (o DumpOptions) refuses(arg string) string {
	name, value, given := strings.Cut(arg, "=")
	i := slices.IndexFunc(o.Args, func(a Arg) bool { return a.Name == name })
	switch {
	case i < 0:
		return "is not among the arguments that are allowed"
	case o.Args[i].Value == nil && given:
		return "takes no value"
	case o.Args[i].Value != nil && !o.Args[i].Value.MatchString(value):
		return "has no value that is allowed: write it as in " + o.Args[i].Example
	}
	return ""
}

func (o DumpOptions) allowed() string {
	if len(o.Args) == 0 {
		return "remove it: this engine's tool is given no further arguments"
	}
	names := make([]string, len(o.Args))
	for i, a := range o.Args {
		names[i] = a.Example
	}
	return "allowed are " + strings.Join(names, ", ")
}

func (o DumpOptions) known() string {
	var names []string
	if o.Databases {
		names = append(names, labelIncludeDatabases, labelExcludeDatabases)
	}
	if o.Schemas > 0 {
		names = append(names, labelIncludeSchemas, labelExcludeSchemas)
	}
	if o.Tables > 0 {
		names = append(names, labelIncludeTables, labelExcludeTables)
	}
	if o.Data {
		names = append(names, labelExcludeData)
	}
	if len(names) == 0 {
		return "it is backed up whole"
	}
	return "it knows " + strings.Join(names, ", ")
}

// Whole is a dump of all that there is, for counting: with those arguments alone for
// which nothing is left out.
func Whole(e Engine, d source.Dump) (whole source.Dump) {
	var o DumpOptions
	if s, ok := e.(Selector); ok {
		o = s.DumpOptions()
	}
	for _, arg := range d.Args {
		name, _, _ := strings.Cut(arg, "=")
		if slices.ContainsFunc(o.Args, func(a Arg) bool { return a.Name == name && a.LeavesOut == "" }) {
			whole.Args = append(whole.Args, arg)
		}
	}
	return whole
}

// Chooser decides what of a server is dumped, and remembers which patterns meant
// something. Names are given with all their parts; where something goes with
// others (a partition with its table), the names of these follow.
type Chooser struct {
	dump source.Dump
	hit  map[string]bool
}

// NewChooser makes a chooser.
func NewChooser(d source.Dump) *Chooser { return &Chooser{d, map[string]bool{}} }

// Database says whether a database is taken.
func (c *Chooser) Database(name string) bool {
	return c.takes(labelIncludeDatabases, labelExcludeDatabases, c.dump.Databases, [][]string{{name}})
}

// Schema says whether a schema is taken.
func (c *Chooser) Schema(name ...string) bool {
	return c.takes(labelIncludeSchemas, labelExcludeSchemas, c.dump.Schemas, [][]string{name})
}

// Table says whether a table is taken.
func (c *Chooser) Table(names ...[]string) bool {
	return c.takes(labelIncludeTables, labelExcludeTables, c.dump.Tables, names)
}

// Rows says whether those of a table are taken.
func (c *Chooser) Rows(names ...[]string) bool {
	return !c.any(labelExcludeData, c.dump.NoData, names)
}

func (c *Chooser) takes(include, exclude string, s source.Selection, names [][]string) bool {
	in, out := c.any(include, s.Include, names), c.any(exclude, s.Exclude, names)
	return (in || len(s.Include) == 0) && !out
}

func (c *Chooser) any(label string, list []source.Pattern, names [][]string) (any bool) {
	for _, p := range list {
		if slices.ContainsFunc(names, func(name []string) bool { return p.Match(name...) }) {
			any, c.hit[label+" "+p.String()] = true, true
		}
	}
	return any
}

// Settle is called when all has been asked for. A pattern that is to take something
// and matches nothing is an error; one that is to leave something out gives a note.
func (c *Chooser) Settle() (notes []string, err error) {
	miss := func(label string, list []source.Pattern) (missed []string) {
		for _, p := range list {
			if !c.hit[label+" "+p.String()] {
				missed = append(missed, fmt.Sprintf("nothing matches %s of the label %s", p, label))
			}
		}
		return missed
	}
	d := c.dump
	missed := slices.Concat(miss(labelIncludeDatabases, d.Databases.Include), miss(labelIncludeSchemas, d.Schemas.Include), miss(labelIncludeTables, d.Tables.Include))
	if len(missed) > 0 {
		return nil, problem.New(problem.NotFound, "%s", missed[0]).WithReason(ReasonSelection).WithDetails(missed[1:]...).
			WithHint("Write the names as they are in the database, capitals included, and names with other characters than letters, digits and _ in double quotes.")
	}
	return slices.Concat(miss(labelExcludeDatabases, d.Databases.Exclude), miss(labelExcludeSchemas, d.Schemas.Exclude),
		miss(labelExcludeTables, d.Tables.Exclude), miss(labelExcludeData, d.NoData)), nil
}

// OnlySome says whether the labels name the tables to take.
func (c *Chooser) OnlySome() bool { return len(c.dump.Tables.Include) > 0 }

// NothingLeft is the failure of a backup whose labels leave out every table.
func NothingLeft(database string) *problem.Problem {
	return problem.New(problem.InvalidInput, "the labels leave out every table of database %q", database).WithReason(ReasonSelection).
		WithHint("Change the labels baktainer.dump.*, or leave out the database (%s, with baktainer.db.all=true).", labelExcludeDatabases)
}

// NoDatabaseLeft is the failure of one whose labels leave out every database.
func NoDatabaseLeft() *problem.Problem {
	return problem.New(problem.InvalidInput, "the labels leave out every database").WithReason(ReasonSelection).
		WithHint("Change the labels baktainer.dump.*.")
}

// Needed is the failure of a backup whose labels leave out what else depends on: it
// could not be restored.
func Needed(database string, needs []string) *problem.Problem {
	const most = 20
	p := problem.New(problem.InvalidInput, "the labels leave out of database %q what something else needs, so that it could not be restored: %s", database, needs[0]).
		WithReason(ReasonSelection).WithDetails(needs[1:min(len(needs), most)]...)
	return p.WithHint("Leave both out, or neither. Where only the rows are too many, %s keeps the definition.", labelExcludeData)
}

// Omission is what the labels leave out of one stream, or of all.
type Omission struct {
	objects []Object
	more    int
}

// Add notes one thing that is left out.
func (o *Omission) Add(kind, name string) {
	if len(o.objects) == maxLeftOut {
		o.more++
		return
	}
	o.objects = append(o.objects, Object{Kind: kind, Name: name, Rows: -1})
}

// Choice is what the labels say of one database: what its tool is told, and what it
// leaves out for that.
type Choice struct {
	Args     []string
	Omission Omission
}

// Chosen is what the labels come to on one server. Its zero value: all is dumped.
type Chosen struct {
	Of        map[string]Choice // by database
	Databases Omission          // left out as a whole
	// Warnings are what somebody should look at though nothing fails for it.
	Warnings []string
	first    string
}

// Begins notes the first of the streams: it says what belongs to none.
func (c *Chosen) Begins(streams []Stream) {
	if len(streams) > 0 {
		c.first = streams[0].Name
	}
}

// WriteDown notes in the contents of a stream, before anything else, what the labels
// leave out of it. args are what its tool was given besides, allowed is what that may be.
// A session that has not listed streams dumps nothing: what it reads was dumped before,
// with whatever labels there were then.
func (c *Chosen) WriteDown(s Stream, allowed []Arg, args []string, in *Contents) {
	if c.first == "" {
		return
	}
	if s.Name == c.first {
		c.Databases.into(in)
		in.Notes = append(in.Notes, c.Warnings...)
	}
	c.Of[s.Database].Omission.into(in)
	var by Omission
	for _, a := range allowed {
		if a.LeavesOut != "" && slices.Contains(args, a.Name) {
			by.Add(KindLeftOut, a.LeavesOut)
		}
	}
	by.into(in)
	if len(args) > 0 {
		in.Notes = append(in.Notes, "dumped with "+strings.Join(args, " "))
	}
}

func (o Omission) into(c *Contents) {
	c.Objects = append(c.Objects, o.objects...)
	if o.more > 0 {
		c.Notes = append(c.Notes, fmt.Sprintf("left out are %d more", o.more))
	}
}

// LeftOut says in words what contents are without, for people.
func LeftOut(objects []Object) (list []string) {
	for _, o := range objects {
		switch o.Kind {
		case KindLeftOut:
			list = append(list, o.Name)
		case KindRowsLeftOut:
			list = append(list, "the rows of "+o.Name)
		case KindSchemaLeftOut:
			list = append(list, "the schema "+o.Name)
		case KindDatabaseLeftOut:
			list = append(list, "the database "+o.Name)
		}
	}
	return list
}

// SayLeftOut says what the backup in a stream is without, empty when labels left nothing out.
func SayLeftOut(stream string, objects []Object) string {
	all := LeftOut(objects)
	if len(all) == 0 {
		return ""
	}
	return fmt.Sprintf("Not in this backup (%s), since its labels left it out: %s", stream, Some(all))
}

// Some joins what is in a list; of a long one only the beginning.
func Some(list []string) string {
	const most = 20
	if more := len(list) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), more)
	}
	return strings.Join(list, ", ")
}

// Lost says what goes away for good when the database of a stream is dropped for
// what its backup holds.
func (o RestoreOptions) Lost(s Stream) []string {
	gone := o.LeftOut[s.Name]
	if len(gone) == 0 || o.As != "" {
		return nil
	}
	return []string{fmt.Sprintf("what the backup leaves out, and is lost with database %q: %s. A backup before (--backup-first) leaves it out, too; to keep it, restore single tables (--table)", s.Database, Some(gone))}
}
