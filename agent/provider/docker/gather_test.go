package docker

import (
	"bytes"
	"context"
	"io"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
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
				if _, err := io.CopyBuffer(struct{ io.Writer }{&out}, &gathering{ctx: ctx, r: tt.in}, make([]byte, 256<<10)); err != nil {
					t.Fatal(err)
				}
				got := out.Bytes()
				if !bytes.HasPrefix(content, got) || len(got) != 100 && len(got) != len(content) {
					t.Errorf("%d bytes came through, or others", len(got))
				}
				if waited := time.Since(begin) > gatherPause; waited != tt.waits {
					t.Errorf("it waited: %t, want %t", waited, tt.waits)
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
