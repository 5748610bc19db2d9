package report

import (
	"fmt"

	"github.com/baktainer/baktainer/internal/bench/workload"
)

// data tells what was backed up.
func (r results) data(d *document) {
	d.line("## The data")
	d.para("A PostgreSQL database in a container, filled by a program from a fixed seed, so that it is the same everywhere: texts of a vocabulary used as unevenly as a language's, half of the sentences stock phrases. " +
		"`pg_dump` writes it as plain SQL with COPY, the same every time but for the random key that newer versions of it write at begin and end.")
	d.head("table", "holds", "rows", "changed a day", "appended a day (local)")
	for _, t := range r.f.Tables {
		d.row("`"+t.Name+"`", t.Holds, thousands(t.Rows), fmt.Sprintf("%s (%.1f %%)", thousands(t.Changed), 100*float64(t.Changed)/float64(max(t.Rows, 1))), thousands(t.Appended))
	}
	d.line("")
	d.para(fmt.Sprintf("From day 0 two histories begin. **Uniform**: each day's changed rows lie anywhere in their table. **Local**: as many rows are changed, half of them among the newest (%d times as many as are changed there), half in hot runs, as of an active branch or tenant: of ten runs of %s rows one is hot, the same one every day; and new rows are appended. ", workload.Among, thousands(workload.HotRun)) +
		"A change sets the balance of an account, credit and time of a customer, one sentence of a document's text with its state, log and time, the amount of an event. Each day is one UPDATE of each table in the order of its keys, then the new rows, then VACUUM; " +
		"PostgreSQL puts the new versions of rows where it has room, so that in the dump they are not where the old ones were.")
	d.head("dump", "day 0", "day 1", "day 2", "day 3")
	for _, h := range workload.Histories() {
		cells := []string{h + ", MB"}
		for day := range 4 {
			size := gap
			for _, dump := range r.f.Dumps {
				if dump.Day == day && (dump.History == h || day == 0) {
					size = megabytes(exactly(float64(dump.Bytes)))
				}
			}
			cells = append(cells, size)
		}
		d.row(cells...)
	}
	d.line("")
}

// method tells how it was measured.
func (r results) method(d *document) {
	d.line("## How it was measured")
	d.para("- Every round begins with empty repositories. Within a round the tools take turns in every step; each round another one begins. The figure is the median over the rounds, peaks of memory in the bars the largest of them.\n" +
		"- The dumps are files, fed through the same kind of pipe: `cat FILE | tool` for the peers; for Baktainer `cat FILE` in a container, run by the custom engine over `docker exec`, since that is how it works. What `cat` and Docker's own processes cost counts for nobody; that they take time on the same cores counts against Baktainer's wall time.\n" +
		"- CPU is user plus system time, of a peer's process, and of Baktainer's agent, controller and the command that asks them, added up. Peak memory is the kernel's VmHWM, reset before each step of agent and controller where the kernel allows it, and read every 20 ms of the peers.\n" +
		"- Stored is the sum of the sizes of the files in the repository. Caches and Baktainer's own state (runs, ledger) beside the store are not in it: the agent's cache of packs, restic's and borg's caches.\n" +
		"- All tools encrypt (gzip and zstd do not), and sync what they store as they do by default. Compression: restic auto, borg zstd 3, Baktainer default.\n" +
		"- Nothing empties the page cache: the dumps are read from memory as far as it has room.\n" +
		"- gzip and zstd keep a file a day, and every day is as much work as any other. Every round compresses day 0, the first round all days.\n" +
		"- Restored bytes are counted, and have to be as many as were dumped. What they are is checked by the tools themselves.")
}

// machine tells where it was measured.
func (r results) machine(d *document) {
	d.line("## Machine and versions")
	m := r.f.Machine
	d.head("", "")
	d.row("processor", fmt.Sprintf("%s, %d cores", m.CPU, m.Cores))
	d.row("memory", bytesOf(exactly(float64(m.Memory))))
	d.row("system", m.System+", Linux "+m.Kernel)
	d.row("file system", m.Disk)
	for _, v := range r.f.Versions {
		d.row(v.Tool, v.Version)
	}
	d.line("")
}

// gaps lists what there is no figure of.
func (r results) gaps(d *document) {
	gaps := r.f.Gaps()
	if len(gaps) == 0 {
		return
	}
	d.line("## Gaps")
	d.para("These steps failed, and there are no figures of them.")
	d.head("tool", "history", "step", "round", "why")
	for _, s := range gaps {
		d.row(s.Tool, s.History, s.Step, fmt.Sprint(s.Round), cell(s.Gap))
	}
	d.line("")
}

// commands lists what was run.
func (r results) commands(d *document) {
	d.line("## Commands")
	d.para("As they were run, from the folder of the benchmark. restic and borg have repository, password and a cache of their own from variables; restic init and borg init --encryption repokey-blake2 made the repositories.")
	d.WriteString("```sh\n")
	for _, c := range r.f.Commands {
		d.line("# " + c.Tool + ", " + c.Step + "\n" + c.Line)
	}
	d.WriteString("```\n\n")
}
