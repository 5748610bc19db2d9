// Package helper is the part of the victoriametrics engine that runs beside the
// server: in a throw-away container in its network. It speaks HTTP to the server,
// so that the server's image, which holds nothing else, needs no tool.
//
// It is called as a hidden subcommand. The first line of stdin says where the
// server is and what to log in with (see Access). victoriametrics-dump writes the
// dump to stdout, victoriametrics-restore reads one from the rest of stdin,
// victoriametrics-look describes what is there, victoriametrics-clear deletes all
// of it, and victoriametrics-query answers the query in the rest of stdin. A
// failure is told by engine.TellFailure.
package helper

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// Prefix begins the names of the subcommands.
const Prefix = "victoriametrics-"

// The subcommands.
const (
	DumpCommand    = Prefix + "dump"
	RestoreCommand = Prefix + "restore"
	LookCommand    = Prefix + "look"
	ClearCommand   = Prefix + "clear"
	QueryCommand   = Prefix + "query"
)

// Access is how to reach a server, as JSON on one line.
type Access struct {
	// URL without a slash at its end: http://127.0.0.1:8428
	URL      string `json:"url"`
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	// DeleteKey is what the server asks for before it deletes.
	DeleteKey string `json:"delete_key,omitempty"`
	// Retention is for how long the server keeps samples; 0: for ever.
	Retention time.Duration `json:"retention,omitempty"`
}

// accessLimit bounds the line that tells it, in bytes.
const accessLimit = 64 << 10

// Main carries out one subcommand and returns the exit status: 0 fine, 1 failed,
// 2 called wrongly.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	commands := map[string]func(context.Context, *server, *bufio.Reader, io.Writer) error{
		DumpCommand: dump, RestoreCommand: restore, LookCommand: look, ClearCommand: clearAll, QueryCommand: query,
	}
	if len(args) != 1 || commands[args[0]] == nil {
		fmt.Fprintf(stderr, "want one of %s, %s, %s, %s, %s\n", DumpCommand, RestoreCommand, LookCommand, ClearCommand, QueryCommand)
		return 2
	}
	in := bufio.NewReaderSize(stdin, accessLimit)
	s, err := access(in)
	if err == nil {
		err = commands[args[0]](ctx, s, in, stdout)
	}
	if err == nil {
		return 0
	}
	engine.TellFailure(stderr, err)
	return 1
}

func access(in *bufio.Reader) (*server, error) {
	text, err := in.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("read how to reach the server: %w", err)
	}
	var a Access
	if json.Unmarshal(text, &a) != nil || a.URL == "" { // the error might quote a password
		return nil, problem.New(problem.Internal, "understand how to reach the server")
	}
	return newServer(a), nil
}

// State is what there is on a server.
type State struct {
	Version string `json:"version"`
	// Metrics are the names of some of those that have samples, More says that there
	// may be others.
	Metrics []string `json:"metrics"`
	More    bool     `json:"more"`
}

// Bounds on State.
const (
	maxMetrics = 20
	maxName    = 256
	maxLooked  = 1000
)

func look(ctx context.Context, s *server, _ *bufio.Reader, out io.Writer) error {
	version, err := s.version(ctx)
	if err != nil {
		return err
	}
	state := State{Version: version}
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	lines, err := s.export(ctx, 1)
	if err != nil {
		return err
	}
	defer lines.close()
	seen := map[string]bool{}
	for n := 0; ; n++ {
		p, err := lines.next()
		if err == io.EOF { //nolint:errorlint // it is never wrapped
			break
		}
		if err != nil {
			return err
		}
		name, err := p.Metric()
		if err != nil {
			return err
		}
		if n >= maxLooked || len(state.Metrics) == maxMetrics {
			state.More = true
			break
		}
		if name = strings.ToValidUTF8(name[:min(len(name), maxName)], "?"); !seen[name] {
			seen[name] = true
			state.Metrics = append(state.Metrics, name)
		}
	}
	return json.NewEncoder(out).Encode(state)
}

func clearAll(ctx context.Context, s *server, _ *bufio.Reader, _ io.Writer) error {
	return s.clear(ctx)
}

// query answers an instant query: a line for each series, its labels (if it has
// any) and its value.
func query(ctx context.Context, s *server, in *bufio.Reader, out io.Writer) error {
	text, err := io.ReadAll(io.LimitReader(in, engine.AnswerLimit))
	if err != nil {
		return fmt.Errorf("read the query: %w", err)
	}
	answer, err := s.query(ctx, strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, answer)
	return err
}
