// Command cmd measures how much one controller can take. `make scale` runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/baktainer/baktainer/internal/scale"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	o := scale.Options{Out: os.Stderr}
	flag.StringVar(&o.Binary, "binary", "./baktainer", "the program that is measured")
	flag.StringVar(&o.Memory, "memory", "512MiB", "what the leader tries to stay under")
	flag.IntVar(&o.Agents, "agents", 1000, "simulated agents; 0: none")
	flag.IntVar(&o.Sources, "sources", 10, "sources of each agent")
	flag.DurationVar(&o.Steady, "steady", time.Minute, "how long the leader is watched at rest, and under even load")
	flag.Float64Var(&o.Rate, "rate", 10, "runs a second under even load")
	flag.IntVar(&o.Snapshots, "ledger", 200_000, "snapshots in the ledger; 0: none is measured")
	out := flag.String("out", "docs/reliability/scale.json", "file of the figures")
	flag.Parse()
	if o.Agents < 0 || o.Sources < 1 || o.Rate <= 0 || flag.NArg() > 0 {
		return fmt.Errorf("want at least one source, a rate above 0, and no arguments; see -help")
	}
	f, err := scale.Run(ctx, o)
	if err != nil {
		return err
	}
	if err := f.Save(*out); err != nil {
		return err
	}
	if wrong := f.Wrong(); len(wrong) > 0 {
		return fmt.Errorf("%d things did not come about: %v", len(wrong), wrong)
	}
	return nil
}
