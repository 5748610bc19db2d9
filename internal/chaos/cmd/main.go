// Command cmd is the fault rig: `make chaos` runs it. With the word clean it
// removes what rigs have left behind, with report it fills the tables of the
// documentation.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/baktainer/baktainer/internal/chaos"
	"github.com/baktainer/baktainer/internal/chaos/plan"
	"github.com/baktainer/baktainer/internal/chaos/report"
	"github.com/baktainer/baktainer/internal/chaos/sims"
	"github.com/baktainer/baktainer/internal/clock"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	word := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		word, args = args[0], args[1:]
	}
	switch word {
	case "", "run":
		return breakThings(ctx, args)
	case "clean":
		names, err := chaos.CleanAll(ctx)
		for _, name := range names {
			fmt.Fprintln(os.Stderr, "removed", name)
		}
		return err
	case "plan":
		return show(args)
	case "report":
		f := flag.NewFlagSet("report", flag.ContinueOnError)
		docs := f.String("docs", "docs", "the folder of reliability.md")
		if err := f.Parse(args); err != nil {
			return err
		}
		return report.Write(*docs)
	case "sims":
		return simulate(ctx, args)
	}
	return fmt.Errorf("there is no command %q: run, plan, clean, report", word)
}

// options are those that say what the plan is.
type options struct {
	seed  uint64
	each  int
	most  int
	only  string
	short bool
}

func (o *options) flags(f *flag.FlagSet) {
	f.Uint64Var(&o.seed, "seed", uint64(clock.System{}.Now().UnixNano()), "the same seed gives the same plan")
	f.IntVar(&o.each, "each", 1, "how often each kind of fault strikes in each of its phases")
	f.IntVar(&o.most, "most", 0, "at most so many faults; 0: all")
	f.StringVar(&o.only, "only", "", "only faults of these names, such as kill-leader/mid-pack or kill-*,delay")
	f.BoolVar(&o.short, "short", false, "a plan for minutes: a few faults, as many as there is time for")
}

func (o *options) plan() ([]plan.Fault, error) {
	if o.short {
		return plan.Short(o.seed), nil
	}
	var only []string
	if o.only != "" {
		only = strings.Split(o.only, ",")
	}
	return plan.Make(plan.Options{Seed: o.seed, Each: o.each, Only: only, Most: o.most})
}

// show prints the plan of a seed.
func show(args []string) error {
	var o options
	f := flag.NewFlagSet("plan", flag.ContinueOnError)
	o.flags(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	faults, err := o.plan()
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "seed %d\n", o.seed)
	for _, fault := range faults {
		fmt.Fprintln(os.Stdout, fault)
	}
	return nil
}

// breakThings runs the rig.
func breakThings(ctx context.Context, args []string) error {
	var p options
	f := flag.NewFlagSet("run", flag.ContinueOnError)
	p.flags(f)
	o := chaos.Options{Out: os.Stderr}
	f.StringVar(&o.Binary, "binary", "./baktainer", "the program that is put to the test")
	f.DurationVar(&o.Budget, "for", 0, "begin no fault after so long; 0: until the plan is done")
	f.StringVar(&o.Store, "store", chaos.Shared, "shared: all controllers see the store's folder; peer: it is the first controller's")
	f.BoolVar(&o.Expect, "together", false, "the controllers form the cluster at once, rather than one by one")
	f.Int64Var(&o.DumpBytes, "dump", 60_000_000, "size of each dump in bytes, about")
	f.IntVar(&o.Clients, "clients", 6, "simulated agents whose history is checked; 0: none")
	f.StringVar(&o.Logs, "logs", ".chaos", "folder of the logs")
	out := f.String("out", "", "file of the figures; default figures.json in the folder of logs")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || o.DumpBytes < 1_000_000 || o.Clients < 0 || (o.Store != chaos.Shared && o.Store != chaos.Peer) {
		return errors.New("want no arguments, a dump of at least a megabyte, and a store that is shared or peer; see -help")
	}
	if may, err := allowed(); !may || err != nil {
		return err
	}
	var err error
	o.Seed = p.seed
	if o.Plan, err = p.plan(); err != nil {
		return err
	}
	if o.ClientCommand, err = self("sims"); err != nil {
		return err
	}
	if o.Binary, err = filepath.Abs(o.Binary); err != nil {
		return fmt.Errorf("find the program: %w", err)
	}
	for _, fault := range o.Plan {
		if fault.NeedsClocks() && o.Clocked == "" {
			if o.Clocked, err = chaos.BuildClocked(ctx, o.Logs); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(os.Stderr, "seed %d: %d faults planned; replay with -seed %d\n", o.Seed, len(o.Plan), o.Seed)
	figures, err := chaos.Run(ctx, o)
	if *out == "" {
		*out = filepath.Join(o.Logs, "figures.json")
	}
	if figures != nil && len(figures.Faults) > 0 {
		err = errors.Join(err, figures.Save(*out))
	}
	if err != nil {
		return err
	}
	if wrong := figures.AllWrong(); len(wrong) > 0 {
		return fmt.Errorf("%d things were wrong (seed %d, logs in %s):\n%s", len(wrong), o.Seed, o.Logs, strings.Join(wrong, "\n"))
	}
	if len(figures.Faults) == 0 {
		return errors.New("there was no time for any fault")
	}
	fmt.Fprintf(os.Stderr, "%d faults, %d snapshots, %d read again: nothing was lost, nothing twice, nothing in part\n", len(figures.Faults), figures.Snapshots, figures.Verified)
	return nil
}

// allowed says whether the rig can work here: it needs root. In CI that it
// cannot is a failure, elsewhere it is told and passed over.
func allowed() (bool, error) {
	if os.Getuid() == 0 {
		return true, nil
	}
	if os.Getenv("CI") != "" {
		return false, errors.New("the fault rig needs root: it makes network namespaces and mounts disks")
	}
	fmt.Fprintln(os.Stderr, "chaos: SKIPPED: the fault rig needs root, for network namespaces and disks. Run it as root: sudo make chaos-short")
	return false, nil
}

// self is the command line of this program with a word.
func self(word string) ([]string, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return []string{path, word}, nil
}

// simulate runs the clients of a rig, on its network.
func simulate(ctx context.Context, args []string) (err error) {
	f := flag.NewFlagSet("sims", flag.ContinueOnError)
	o := sims.Options{Clock: clock.System{}}
	controllers := f.String("controllers", "", "addresses, separated by commas")
	path := f.String("history", "", "file of the history")
	f.StringVar(&o.TokenFile, "token-file", "", "file of the token")
	f.IntVar(&o.Clients, "clients", 1, "how many there are")
	f.Uint64Var(&o.Seed, "seed", 0, "seed")
	if err := f.Parse(args); err != nil {
		return err
	}
	o.Controllers = strings.Split(*controllers, ",")
	file, err := os.Create(*path)
	if err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	o.History = io.Writer(file)
	return sims.Run(ctx, o)
}
