package engine_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/engine"
)

func TestHeads(t *testing.T) {
	t.Parallel()
	const text = "one\n\nlong line\nshort\nrest"
	want := []string{"one e", " \x00", "long l e", "short t"}
	for size := 1; size <= len(text); size++ {
		var h engine.Heads
		if h.Any() {
			t.Fatal("there was something before anything came")
		}
		var got []string
		for part := range slices.Chunk([]byte(text), size) {
			h.Cut(part, 6, func(head []byte, last byte) bool {
				got = append(got, fmt.Sprintf("%s %c", head, last))
				return true
			})
		}
		if !slices.Equal(got, want) || string(h.Rest()) != "rest" || !h.Any() {
			t.Errorf("in pieces of %d: %q, and %q", size, got, h.Rest())
		}
	}
	var h engine.Heads
	calls := 0
	h.Cut([]byte("a\nb\nc\n"), 6, func([]byte, byte) bool { calls++; return calls < 2 })
	if calls != 2 {
		t.Errorf("%d lines were shown, and no more than 2 were wanted", calls)
	}
}

func TestReadLine(t *testing.T) {
	t.Parallel()
	broken := errors.New("the stream is lost")
	for name, tc := range map[string]struct {
		from io.Reader
		want []string
		err  error
	}{
		"lines":       {strings.NewReader("a\n\n" + strings.Repeat("b", 90) + "\n"), []string{"a", "", strings.Repeat("b", 90)}, io.EOF},
		"no end":      {strings.NewReader("a\nb"), []string{"a"}, io.ErrUnexpectedEOF},
		"too long":    {strings.NewReader("a\n" + strings.Repeat("b", 101) + "\n"), []string{"a"}, engine.ErrLongLine},
		"nothing":     {strings.NewReader(""), nil, io.EOF},
		"it is lost":  {io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken)), []string{"a"}, broken},
		"piece-wise":  {iotest.OneByteReader(strings.NewReader("abc\nd\n")), []string{"abc", "d"}, io.EOF},
		"ends a line": {io.MultiReader(strings.NewReader("a\n"), iotest.ErrReader(broken)), []string{"a"}, broken},
	} {
		from := bufio.NewReaderSize(tc.from, 16)
		var got []string
		var buffer []byte
		var err error
		for err == nil {
			if buffer, err = engine.ReadLine(from, buffer, 100); err == nil {
				got = append(got, string(buffer))
			}
		}
		if !slices.Equal(got, tc.want) || !errors.Is(err, tc.err) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
