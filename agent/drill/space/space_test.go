package space_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/agent/drill/space"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	stdin, hangUp := io.Pipe()
	r, w := io.Pipe()
	done := make(chan int)
	go func() {
		status := space.Main(t.Context(), []string{t.TempDir(), "/"}, stdin, w, io.Discard)
		_ = w.Close()
		done <- status
	}()
	lines := space.NewLines(r)
	for range 2 {
		room, err := lines.Next()
		if err != nil || room.Total <= 0 || room.Free > room.Total {
			t.Fatalf("%+v, %v", room, err)
		}
	}
	_ = hangUp.Close()
	if _, err := lines.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after its end: %v", err)
	}
	if status := <-done; status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestCalledWrongly(t *testing.T) {
	var out, errs bytes.Buffer
	if status := space.Main(t.Context(), nil, nil, &out, &errs); status != 2 || errs.Len() == 0 {
		t.Errorf("without a path: %d, %s", status, errs.String())
	}
	if status := space.Main(t.Context(), []string{"/no/such/path"}, strings.NewReader(""), &out, &errs); status != 1 || out.Len() > 0 {
		t.Errorf("a path that is not there: %d, %s", status, errs.String())
	}
	for _, text := range []string{"x\n", "{}\n", `{"free":-1,"total":5}` + "\n", strings.Repeat("x", 10000)} {
		if room, err := space.NewLines(strings.NewReader(text)).Next(); err == nil {
			t.Errorf("%.20q: %+v", text, room)
		}
	}
}
