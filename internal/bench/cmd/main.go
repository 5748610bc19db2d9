// Cmd is what `make bench` runs: it measures, and writes docs/benchmarks.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/baktainer/baktainer/internal/bench"
	"github.com/baktainer/baktainer/internal/bench/figures"
	"github.com/baktainer/baktainer/internal/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	o := bench.Options{Out: os.Stderr}
	flag.StringVar(&o.Dir, "dir", ".bench", "where data is kept between runs, and repositories during one")
	flag.StringVar(&o.Binary, "binary", "baktainer", "the program that is measured")
	flag.IntVar(&o.Rounds, "rounds", 3, "how often everything is measured; 0 with -big 0 prepares the data alone")
	flag.Float64Var(&o.Scale, "scale", 1, "size of the data set: 1 is a gigabyte of dump")
	flag.Float64Var(&o.Big, "big", 1, "size of the big streams: 1 is 10 and 20 GB, 0 leaves them out")
	docs := flag.String("docs", "docs", "the folder of benchmarks.md")
	again := flag.String("render", "", "write the document from this file of figures, and measure nothing")
	remove := flag.Bool("remove", false, "remove the data and all else that a run leaves behind")
	flag.Parse()
	switch {
	case *remove:
		return bench.Remove(ctx, o.Dir)
	case *again != "":
		f, err := figures.Load(*again)
		if err != nil {
			return err
		}
		return report.Write(*docs, f)
	case o.Rounds < 0 || o.Scale <= 0 || flag.NArg() > 0:
		return fmt.Errorf("want a scale above 0, and no arguments; see -help")
	}
	f, err := bench.Run(ctx, o)
	if err != nil || len(f.Samples) == 0 {
		return err
	}
	if err := report.Write(*docs, f); err != nil {
		return err
	}
	if gaps := f.Gaps(); len(gaps) > 0 {
		return fmt.Errorf("%d steps failed; the document lists them", len(gaps))
	}
	return nil
}
