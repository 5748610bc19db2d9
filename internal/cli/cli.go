// Package cli is the command line: one file per command, cobra on pflag. What
// talks to a controller goes through its AdminService, so that everything here
// can be done by any other client too.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/rescue"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/version"
)

// Roof is what only the main package can put together.
type Roof struct {
	// Up runs controller and agent until ctx ends, Controller and Agent one of the
	// two. Warnings are about settings without effect, for the log.
	Up, Controller, Agent func(ctx context.Context, c config.Config, warnings []string) error
	// OpenStore opens the store at a location, for rescue.
	OpenStore func(location string) (store.Store, error)
	// RestoreInto restores into a container without a controller, for rescue. Report
	// and warnings are in sentences.
	RestoreInto func(ctx context.Context, r Rescue) (report, warnings []string, err error)
	// Login exchanges a token for an operator's certificate, and keeps in r.Dir what
	// DialController needs of it.
	Login func(ctx context.Context, r LoginRequest) (Login, error)
	// DialController connects to a controller over TLS. It renews the certificate of
	// a login when it is time, and keeps what controllers there are.
	DialController func(ctx context.Context, r Remote) (conn grpc.ClientConnInterface, hangUp func(), err error)
	// CheckSettings says what is wrong with what settings name: files and URLs that
	// are read at the start alone. It may be nil.
	CheckSettings func(config.Config) error
	// PlanRecovery looks into the data folder of a controller that does not run, and
	// says what a recovery with the members in a peers.json would do. It changes nothing.
	PlanRecovery func(ctx context.Context, c config.Config, peers []byte) (Recovery, error)
	// Helper runs one of HelperCommands inside a throw-away container and returns
	// its exit status. These commands are for Baktainer itself and in no help.
	Helper         func(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int
	HelperCommands []string

	// Clock is the machine's when nil.
	Clock clock.Clock
}

// Rescue is a restore into a container from a store and a key alone.
type Rescue struct {
	Config    config.Config
	Store     store.Store
	Key       repo.Key
	Snapshot  rescue.Found
	Container string
	// Select names streams or databases, Tables tables of one of them, As its new name.
	Select, Tables []string
	As             string
	Options        engine.RestoreOptions
	// Phase hears what the restore is at.
	Phase func(string)
}

// app is what the commands share.
type app struct {
	roof  Roof
	clock clock.Clock
	zone  *time.Location
	in    io.Reader
	out   io.Writer
	err   io.Writer
	// interrupted is closed when the program is asked to end.
	interrupted <-chan struct{}
	// retryAfter is how long to wait before asking a controller again.
	retryAfter time.Duration

	output  string
	quiet   bool
	verbose bool
	noColor bool
	file    string
}

const about = `Baktainer backs up every labelled database container of a Docker host, and brings it back.

Exit status: 0 fine, 1 failed, 2 bad input, 3 some of several things failed.`

// Run carries out one command line and returns the exit status: 0 fine, 1
// failed, 2 bad input, 3 partly failed. Errors are written to errw.
func Run(ctx context.Context, roof Roof, args []string, in io.Reader, out, errw io.Writer) int {
	if len(args) > 0 && roof.Helper != nil && slices.Contains(roof.HelperCommands, args[0]) {
		return roof.Helper(ctx, args, in, out, errw)
	}
	a := &app{roof: roof, in: in, out: out, err: errw, zone: time.Local, retryAfter: time.Second}
	return a.run(ctx, args)
}

// New returns the whole tree of commands, for a caller that runs it itself.
func New(roof Roof) *cobra.Command {
	a := &app{roof: roof, in: os.Stdin, out: os.Stdout, err: os.Stderr, zone: time.Local, retryAfter: time.Second}
	return a.root()
}

func (a *app) run(ctx context.Context, args []string) int {
	out := &outlet{Writer: a.out}
	a.out, a.interrupted = out, ctx.Done()
	root := a.root()
	if len(args) > 0 && (args[0] == "-N" || args[0] == "--now") {
		args = append([]string{"up"}, args...) // as the earlier Baktainer was called
	}
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil && out.err != nil {
		err = problem.Wrap(problem.Failed, out.err, "write the output")
	}
	if err != nil {
		a.fail(err)
	}
	return problem.ExitStatus(err)
}

func (a *app) root() *cobra.Command {
	a.clock = a.roof.Clock
	if a.clock == nil {
		a.clock = clock.System{}
	}
	root := group("baktainer", "Back up labelled database containers, and bring them back", about,
		a.upCommand(), a.controllerCommand(), a.agentCommand(), a.loginCommand(), a.logoutCommand(),
		a.healthCommand(), a.ledgerCommand(), a.rescueCommand(), a.keyCommand(), a.dockerProxyCommand(), a.configCommand(), a.versionCommand())
	root.AddCommand(asking(a.statusCommand(), a.coverageCommand(), a.sourceCommand(), a.scheduleCommand(), a.backupCommand(), a.runCommand(), a.snapshotCommand(),
		a.restoreCommand(), a.drillCommand(), a.dumpCommand(), a.pruneCommand(), a.retentionCommand(), a.storeCommand(),
		a.clusterCommand(), a.tokenCommand(), a.identityCommand(), a.authorityCommand(), a.auditCommand(), a.notifyCommand())...)
	root.Version = version.String()
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return problem.Wrap(problem.InvalidInput, err, "%s", cmd.CommandPath()).
			WithHint("`%s --help` lists the flags.", cmd.CommandPath())
	})
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.checkOutput() }

	flags := root.PersistentFlags()
	flags.StringVarP(&a.output, "output", "o", "table", "table for people, json for programs")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "print names or ids only, and no progress")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "print more: the log of runs, all columns")
	flags.BoolVar(&a.noColor, "no-color", false, "no colours; also by the variable NO_COLOR")
	flags.StringVar(&a.file, "config", "", "YAML file with settings. Default: "+config.DefaultFile+" if it is there. Variable: "+config.FileVariable+".")
	config.AddFlag(flags, "socket")
	config.AddFlag(flags, "data-dir")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return root
}

func (a *app) checkOutput() error {
	if a.output != "table" && a.output != "json" {
		return problem.New(problem.InvalidInput, "--output %q: want table or json", a.output)
	}
	return nil
}

// settings loads all settings; the flags of cmd come first.
func (a *app) settings(cmd *cobra.Command) (config.Config, []string, error) {
	o := config.Here()
	o.Command, o.File = cmd.Name(), a.file
	o.Flags = config.Given(cmd.Flags())
	return config.Load(o)
}

// group makes a command that only has others below it: it prints its help, and
// of a word that is none of them it says so with a suggestion.
func group(use, short, long string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.ArbitraryArgs}
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return unknownBelow(cmd, args[0])
	}
	cmd.AddCommand(below...)
	return cmd
}

func unknownBelow(cmd *cobra.Command, word string) error {
	p := problem.New(problem.InvalidInput, "%s has no command %.80q", cmd.CommandPath(), word).
		WithHint("`%s --help` lists the commands.", cmd.CommandPath())
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		p.WithHint("Did you mean `%s %s`?", cmd.CommandPath(), near[0])
	}
	return p
}

// arguments checks the number of arguments, from least to most (-1: any number).
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return problem.New(problem.InvalidInput, "%s: an argument is missing", cmd.CommandPath()).WithHint("Usage: %s", cmd.UseLine())
		case most >= 0 && len(args) > most:
			return problem.New(problem.InvalidInput, "%s: %q is one argument too many", cmd.CommandPath(), args[most]).WithHint("Usage: %s", cmd.UseLine())
		}
		return nil
	}
}

// examples indents lines as cobra wants them.
func examples(lines ...string) string { return "  " + strings.Join(lines, "\n  ") }

// say writes one line for a person to stderr, unless quiet.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.err, "%s\n", printable(fmt.Sprintf(format, args...)))
	}
}

// fail writes an error to stderr.
func (a *app) fail(err error) {
	fmt.Fprintf(a.err, "%s%s\n", a.paint(a.err, "error: ", red), printable(problem.Text(err)))
}
