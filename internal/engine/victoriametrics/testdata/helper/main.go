// Command helper is the victoriametrics engine's helper alone, for the container
// tests: it is called as "helper COMMAND", like the whole program.
package main

import (
	"context"
	"os"

	"github.com/baktainer/baktainer/internal/engine/victoriametrics/helper"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != "helper" {
		os.Exit(2)
	}
	os.Exit(helper.Main(context.Background(), os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
}
