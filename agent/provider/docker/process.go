package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// Bounds on what the Engine is waited for, once a program has ended or should.
const (
	killPatience = 20 * time.Second      // for a program to be ended
	drain        = 5 * time.Second       // for its stream to close after that
	feedPatience = 10 * time.Second      // for Stdin's reader to return
	callPatience = 30 * time.Second      // for one call of the API
	settleTick   = 20 * time.Millisecond // between two looks
)

// patience says how long the Engine is waited for until it knows how a program
// has ended.
type patience struct {
	settle   time.Duration // after the end of its stream
	recovery time.Duration // when the Engine does not answer
	stopping time.Duration // for a container to count as stopped once its programs are killed
	guard    time.Duration // between two looks at whether the container still runs
}

var usualPatience = patience{settle: 3 * time.Second, recovery: 5 * time.Second, stopping: 10 * time.Second, guard: 5 * time.Second}

// program is what a process's stream leads to: an exec or a helper container.
type program interface {
	// ended is called once, after the stream has ended in order, and says how the
	// program did. An error is one that Wait may return.
	ended(ctx context.Context, head []byte) (status int, err error)
	// lost is called instead when the stream has broken; it says why, as far as
	// that can be told. The program may go on.
	lost(ctx context.Context, cause error) error
	// kill ends the program and returns when it has ended.
	kill(ctx context.Context) error
	// close removes what the program leaves behind.
	close(ctx context.Context)
}

// process is an engine.Process over a hijacked connection.
type process struct {
	prog   program
	ctx    context.Context // given to Exec
	conn   types.HijackedResponse
	frames *demux
	stderr *engine.Tail
	log    *slog.Logger
	name   string // of the program, for messages

	unwatch func() bool   // stops waiting for ctx's end
	fed     chan struct{} // closed when Stdin is no longer read
	done    chan struct{} // closed by Wait

	killing sync.Once
	killed  chan struct{} // closed when the kill is over

	mu      sync.Mutex
	cause   error // why we killed it: ctx's end or Stdin's failure
	readErr error // what broke the stream
}

// newProcess takes over conn. The program runs, or is about to.
func newProcess(ctx context.Context, prog program, conn types.HijackedResponse, cmd engine.Command, log *slog.Logger) *process {
	tail := engine.NewTail(engine.StderrLimit, cmd.Secrets)
	p := &process{
		prog: prog, ctx: ctx, conn: conn, stderr: tail, frames: newDemux(newGathering(ctx, conn.Reader), tail), log: log, name: cmd.Argv[0],
		fed: make(chan struct{}), done: make(chan struct{}), killed: make(chan struct{}),
	}
	p.unwatch = context.AfterFunc(ctx, func() { p.end(ctx.Err()) })
	go p.feed(cmd.Stdin)
	return p
}

// Read implements engine.Process.
func (p *process) Read(b []byte) (int, error) {
	n, err := p.frames.Read(b)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readErr = err
	if p.cause != nil {
		return n, p.cause
	}
	return n, fmt.Errorf("read the output of %s: %w", p.name, err)
}

// feed gives the program its stdin, and then its end. A program whose input
// failed must not see an ordinary end: it is killed before the connection closes.
func (p *process) feed(stdin io.Reader) {
	defer close(p.fed)
	if stdin == nil {
		return
	}
	r := &failing{r: stdin}
	_, err := io.Copy(struct{ io.Writer }{p.conn.Conn}, r)
	if r.err != nil {
		p.end(fmt.Errorf("read the input of %s: %w", p.name, r.err))
		return
	}
	if err == nil {
		err = p.conn.CloseWrite()
	}
	if err != nil {
		// The program no longer reads, or the connection is gone: Wait finds out which.
		p.log.Debug("could not feed a program to the end", "program", p.name, "error", err)
	}
}

// failing keeps a reader's error, to tell it from a writer's.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(b []byte) (int, error) {
	n, err := f.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// Kill implements engine.Process.
func (p *process) Kill() { p.end(nil) }

// end kills the program, for a cause that Wait will report unless it is nil.
func (p *process) end(cause error) {
	p.mu.Lock()
	if p.cause == nil {
		p.cause = cause
	}
	p.mu.Unlock()
	p.killing.Do(func() {
		defer close(p.killed)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), killPatience)
		defer cancel()
		if err := p.prog.kill(ctx); err != nil {
			p.log.Warn("a program in a container could not be ended", "program", p.name, "error", err)
		}
		// The stream ends by itself now. When it does not, nobody must wait for it.
		time.AfterFunc(drain, p.conn.Close)
	})
	<-p.killed
}

// Wait implements engine.Process.
func (p *process) Wait() (engine.Exit, error) {
	_, err := io.Copy(io.Discard, struct{ io.Reader }{p})
	p.unwatch()
	defer close(p.done)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), killPatience+callPatience)
	defer cancel()
	defer p.prog.close(ctx)
	defer p.conn.Close()

	exit, result := p.outcome(ctx, err)
	p.conn.Close()
	// A reader of the caller's must not be used after Wait; one that never
	// returns must not hold Wait up for ever.
	select {
	case <-p.fed:
	case <-ctx.Done():
	case <-time.After(feedPatience):
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	exit.Stderr = p.stderr.String()
	if p.cause != nil {
		return exit, p.cause
	}
	return exit, result
}

// outcome says how the program did, after its stream has ended with err.
func (p *process) outcome(ctx context.Context, err error) (engine.Exit, error) {
	p.mu.Lock()
	if p.readErr != nil {
		err = p.readErr
	}
	cause := p.cause
	p.mu.Unlock()
	if cause != nil {
		<-p.killed
		return engine.Exit{}, cause
	}
	if err != nil {
		reason := p.prog.lost(ctx, err)
		p.abandon()
		return engine.Exit{}, reason
	}
	status, err := p.prog.ended(ctx, p.frames.head)
	if said := p.stderr.String(); err == nil && status == detached && !mayNotRun.MatchString(said) {
		err = p.prog.lost(ctx, fmt.Errorf("%w%s", errDetached, lastWords(said)))
	}
	if problem.ReasonOf(err) == engine.ReasonStreamLost {
		p.abandon()
	}
	return engine.Exit{Status: status}, err
}

// detached is the status that the Engine notes for an exec whose client it
// lost, whatever becomes of the program. Shells end with it too, for a program
// that they may not run, but they say so on stderr.
const detached = 126

var (
	errDetached = errors.New("the Engine lost the connection over which it sent the output (or the program ended with status 126)")
	mayNotRun   = regexp.MustCompile(`(?i)permission denied|cannot execute|exec format`)
)

// lastWords is the last line of what a program said, for the end of a message.
func lastWords(said string) string {
	said = strings.TrimSpace(said)
	if said == "" {
		return ""
	}
	return "; its last words: " + said[strings.LastIndexByte(said, '\n')+1:]
}

// abandon ends a program that may go on though nobody listens to it.
func (p *process) abandon() { p.end(nil) }

// eventually calls look until it says that it is done, for at most patience.
func eventually(ctx context.Context, patience time.Duration, look func() (done bool)) bool {
	for waited := time.Duration(0); ; waited += settleTick {
		if look() {
			return true
		}
		if waited >= patience || clock.Sleep(ctx, settleTick) != nil {
			return false
		}
	}
}
