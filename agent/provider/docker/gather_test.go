package docker

import (
	"bytes"
	"context"
	"io"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

func TestGathering(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	for name, tt := range map[string]struct {
		in    io.Reader
		ctx   func(context.Context) context.Context
		waits bool
	}{
		"large reads":       {in: bytes.NewReader(content)},
		"small reads":       {in: iotest.HalfReader(iotest.OneByteReader(bytes.NewReader(content[:100]))), waits: true},
		"the context ended": {in: iotest.OneByteReader(bytes.NewReader(content[:100])), ctx: over},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.ctx != nil {
					ctx = tt.ctx(ctx)
				}
				begin := time.Now()
				var out bytes.Buffer
				if _, err := io.CopyBuffer(struct{ io.Writer }{&out}, newGathering(ctx, tt.in), make([]byte, 256<<10)); err != nil {
					t.Fatal(err)
				}
				got := out.Bytes()
				if !bytes.HasPrefix(content, got) || len(got) != 100 && len(got) != len(content) {
					t.Errorf("%d bytes came through, or others", len(got))
				}
				if waited := time.Since(begin) > gatherFirst; waited != tt.waits {
					t.Errorf("it waited: %t, want %t", waited, tt.waits)
				}
			})
		})
	}
}

// pipe holds up to room bytes of what a program writes at so many bytes a second.
// Who writes into a full one waits.
type pipe struct {
	room, rate int
	left       int // to be written
	held       int
	filled     time.Time
}

func (p *pipe) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	for p.held == 0 {
		p.held = min(p.room, p.left, int(time.Since(p.filled).Seconds()*float64(p.rate)))
		if p.held == 0 {
			_ = clock.Sleep(context.Background(), 10*time.Microsecond)
		}
	}
	n := min(len(b), p.held)
	p.held, p.left, p.filled = 0, p.left-n, time.Now()
	return n, nil
}

// However fast a program is, the pauses hold it up little, and most reads are large.
func TestPausesFitTheProgram(t *testing.T) {
	const room = 200 << 10
	for name, rate := range map[string]int{"slow": 30 << 20, "a dump tool": 100 << 20, "fast": 800 << 20} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				in := &pipe{room: room, rate: rate, left: 64 << 20, filled: begin}
				buf, reads := make([]byte, 256<<10), 0
				for g := newGathering(t.Context(), in); ; reads++ {
					if _, err := g.Read(buf); err != nil {
						break
					}
				}
				if took, alone := time.Since(begin), time.Duration(float64(64<<20)/float64(rate)*float64(time.Second)); took > alone*5/4 {
					t.Errorf("%s for what takes %s without pauses", took, alone)
				}
				if most := 4 * (64 << 20) / room; reads > most {
					t.Errorf("%d reads, more than %d", reads, most)
				}
			})
		})
	}
}

func over(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}
