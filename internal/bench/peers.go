package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/bench/measure"
)

// A tool keeps the dumps of one history in a repository.
type tool interface {
	name() string
	open(ctx context.Context) error // an empty repository
	backup(ctx context.Context, file, label string) (cost, error)
	restore(ctx context.Context) (cost, error) // the newest
	verify(ctx context.Context) (cost, error)
	prune(ctx context.Context) (cost, error) // all but the newest
	size() (int64, error)
	close() error
}

const password = "a password for a benchmark"

// peer is a tool that is one command for each step.
type peer struct {
	b      *Bench
	tool   string
	dir    string
	env    []string // with passwords and places
	create [][]string
	store  func(label string) []string
	read   func(label string) []string
	check  []string
	forget [][]string
	newest string
	setEnv func(dir string) []string
}

func (b *Bench) restic() *peer {
	return &peer{
		b: b, tool: "restic",
		setEnv: func(dir string) []string {
			return []string{"RESTIC_REPOSITORY=" + filepath.Join(dir, "repository"), "RESTIC_PASSWORD=" + password, "RESTIC_CACHE_DIR=" + filepath.Join(dir, "cache")}
		},
		create: [][]string{{"restic", "init"}},
		store:  func(string) []string { return []string{"restic", "backup", "--stdin", "--stdin-filename", "dump.sql"} },
		read:   func(string) []string { return []string{"restic", "dump", "latest", "/dump.sql"} },
		check:  []string{"restic", "check", "--read-data"},
		forget: [][]string{{"restic", "forget", "--keep-last", "1", "--prune"}},
	}
}

func (b *Bench) borg() *peer {
	return &peer{
		b: b, tool: "borg",
		setEnv: func(dir string) []string {
			return []string{"BORG_REPO=" + filepath.Join(dir, "repository"), "BORG_PASSPHRASE=" + password, "BORG_BASE_DIR=" + filepath.Join(dir, "base")}
		},
		create: [][]string{{"borg", "init", "--encryption", "repokey-blake2"}},
		store: func(label string) []string {
			return []string{"borg", "create", "--compression", "zstd,3", "::" + label, "-"}
		},
		read:   func(label string) []string { return []string{"borg", "extract", "--stdout", "::" + label} },
		check:  []string{"borg", "check", "--verify-data"},
		forget: [][]string{{"borg", "prune", "--keep-last", "1"}, {"borg", "compact"}},
	}
}

func (p *peer) name() string { return p.tool }

func (p *peer) open(ctx context.Context) error {
	dir, err := p.b.runDir(p.tool)
	if err != nil {
		return err
	}
	p.dir, p.env = dir, p.setEnv(dir)
	for _, args := range p.create {
		if _, err := measure.Run(ctx, measure.Command{Args: args, Env: p.env}); err != nil {
			return err
		}
	}
	return nil
}

// do measures commands one after the other.
func (p *peer) do(ctx context.Context, step, file string, commands ...[]string) (cost, error) {
	var all cost
	shown := slices.Concat(commands...)
	switch {
	case file != "":
		shown = slices.Concat([]string{"cat", file, "|"}, shown)
	case len(commands) == 2:
		shown = slices.Concat(commands[0], []string{"&&"}, commands[1])
	}
	p.b.command(p.tool, step, shown)
	for _, args := range commands {
		u, err := measure.Run(ctx, measure.Command{Args: args, Env: p.env, Input: file})
		if err != nil {
			return cost{}, err
		}
		all = all.and(cost{wall: u.Wall, cpu: u.CPU, rss: u.RSS, bytes: u.Printed})
	}
	return all, nil
}

func (p *peer) backup(ctx context.Context, file, label string) (cost, error) {
	p.newest = label
	return p.do(ctx, "backup", file, p.store(label))
}

func (p *peer) restore(ctx context.Context) (cost, error) {
	return p.do(ctx, "restore", "", p.read(p.newest))
}
func (p *peer) verify(ctx context.Context) (cost, error) { return p.do(ctx, "verify", "", p.check) }
func (p *peer) prune(ctx context.Context) (cost, error)  { return p.do(ctx, "prune", "", p.forget...) }
func (p *peer) size() (int64, error)                     { return sizeOf(filepath.Join(p.dir, "repository")) }
func (p *peer) close() error                             { _, err := p.b.runDir(p.tool); return err }

// compress measures gzip or zstd, which keep a file a day.
func (b *Bench) compress(ctx context.Context, file string, args ...string) (cost, error) {
	b.command(args[0], "backup", append([]string{"cat", file, "|"}, args...))
	u, err := measure.Run(ctx, measure.Command{Args: args, Input: file})
	if err != nil {
		return cost{}, fmt.Errorf("compress: %w", err)
	}
	return cost{wall: u.Wall, cpu: u.CPU, rss: u.RSS, kept: u.Printed}, nil
}

// ids reads the names that a command prints, one a line.
func ids(text string) []string { return strings.Fields(text) }
