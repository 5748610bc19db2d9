// Stream writes rows to its standard output, as many bytes as asked for, the
// same ones for the same seed. It stands in for the dump tool of a database
// that is too big to be made for a benchmark.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/baktainer/baktainer/internal/bench/workload"
)

func main() {
	size := flag.Int64("bytes", 1e9, "how much")
	seed := flag.Uint64("seed", 1, "which rows")
	flag.Parse()
	if err := workload.Stream(os.Stdout, *seed, *size); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
