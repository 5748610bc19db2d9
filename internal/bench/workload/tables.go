// Package workload makes the data that is backed up: the rows of a database,
// what happens to them day by day, and streams of any length. Everything
// follows from a seed, so that it is the same wherever it is made.
package workload

// A Table of the data set.
type Table struct {
	Name    string
	Holds   string // for people
	DDL     string // its columns
	Key     string // the column that numbers the rows from 1 on
	Set     string // what an update assigns, from the table "change"
	Index   string // indexes beside the primary key
	rows    int    // at scale 1
	changed float64
	grows   bool // rows are appended
	row     func(b []byte, seed uint64, id int, days []int) []byte
	number  uint64
}

// Tables are those of the data set, a gigabyte of dump at scale 1.
func Tables() []Table {
	return []Table{
		{
			Name: "pgbench_accounts", Holds: "three numbers and 84 blanks, as pgbench makes it", Key: "aid",
			DDL: "aid integer, bid integer, abalance integer, filler char(84)", Set: "abalance = c.abalance",
			rows: 2_400_000, changed: 0.01, row: account, number: 1,
		},
		{
			Name: "customers", Holds: "names, addresses, numbers, a sentence", Key: "id",
			DDL: "id integer, name text, email text, street text, city text, phone text, registered timestamp, credit numeric(10,2), note text, updated timestamp",
			Set: "credit = c.credit, updated = c.updated", Index: "email",
			rows: 250_000, changed: 0.005, grows: true, row: customer, number: 2,
		},
		{
			Name: "documents", Holds: "a title, several sentences of text, a JSON document, times", Key: "id",
			DDL: "id integer, customer integer, title text, body text, doc jsonb, created timestamp, updated timestamp",
			Set: "body = c.body, doc = c.doc, updated = c.updated", Index: "customer",
			rows: 450_000, changed: 0.005, grows: true, row: document, number: 3,
		},
		{
			Name: "events", Holds: "numbers, a UUID, a word, a time", Key: "id",
			DDL: "id integer, account integer, kind text, amount numeric(10,2), session uuid, latency double precision, at timestamp",
			Set: "amount = c.amount", Index: "at",
			rows: 3_500_000, changed: 0.003, grows: true, row: event, number: 4,
		},
	}
}

// Rows is how many rows the table has on day 0.
func (t Table) Rows(scale float64) int { return max(int(float64(t.rows)*scale), 100) }

// Changed is how many rows are changed a day.
func (t Table) Changed(scale float64) int { return max(int(float64(t.Rows(scale))*t.changed), 1) }

// Appended is how many rows the local history appends a day.
func (t Table) Appended(scale float64) int {
	if !t.grows {
		return 0
	}
	return t.Changed(scale) / 2
}

// The two histories of the data set.
const (
	Uniform = "uniform" // rows anywhere are changed
	Local   = "local"   // new and hot rows are changed, and rows appended
)

// Histories lists them.
func Histories() []string { return []string{Uniform, Local} }

// In the local history half of a day's changes are among the newest rows, Among
// times as many as are changed there. The other half are in hot runs: of ten
// runs of HotRun rows one is hot, the same one every day.
const (
	Among  = 4
	HotRun = 1000
)

// Set is a data set.
type Set struct {
	Seed  uint64
	Scale float64
}

// FirstDay appends row id as it is on day 0.
func (s Set) FirstDay(t Table, b []byte, id int) []byte { return t.row(b, s.Seed, id, nil) }

// Row appends row id as it is after the changes of a day.
func (s Set) Row(t Table, b []byte, history string, day, id int) []byte {
	var days []int
	for d := 1; d <= day; d++ {
		if s.changes(t, history, d, id) {
			days = append(days, d)
		}
	}
	return t.row(b, s.Seed, id, days)
}

// last is the number of the newest row on the evening of a day.
func (s Set) last(t Table, history string, day int) int {
	if history == Uniform {
		return t.Rows(s.Scale)
	}
	return t.Rows(s.Scale) + day*t.Appended(s.Scale)
}

// changes says whether a row that was there in the morning is changed that day.
func (s Set) changes(t Table, history string, day, id int) bool {
	last, changed := s.last(t, history, day-1), t.Changed(s.Scale)
	if id > last {
		return false
	}
	if history == Uniform {
		return at(s.Seed, 6, uint64(day), t.number, uint64(id)).below(last) < changed
	}
	// Of so many rows half of the changes are.
	among := last / 10
	switch {
	case s.newest(t, day, id):
		among = Among * changed / 2
	case !s.hot(t, id):
		return false
	}
	return at(s.Seed, 7, uint64(day), t.number, uint64(id)).below(max(among, 1)) < max(changed/2, 1)
}

// newest says whether a row is among the newest in the morning of a day.
func (s Set) newest(t Table, day, id int) bool {
	return id > s.last(t, Local, day-1)-Among*t.Changed(s.Scale)/2
}

// hot says whether a row is in a hot run.
func (s Set) hot(t Table, id int) bool {
	run := id / HotRun
	return at(s.Seed, 9, t.number, uint64(run/10)).below(10) == run%10
}

// Changes calls f with the number of each row that a day changes, in order.
func (s Set) Changes(t Table, history string, day int, f func(id int) error) error {
	for id := 1; id <= s.last(t, history, day-1); id++ {
		if s.changes(t, history, day, id) {
			if err := f(id); err != nil {
				return err
			}
		}
	}
	return nil
}

// Appends returns the numbers of the rows that a day appends.
func (s Set) Appends(t Table, history string, day int) (first, last int) {
	return s.last(t, history, day-1) + 1, s.last(t, history, day)
}
