package helper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/baktainer/baktainer/internal/engine/victoriametrics/line"
)

// samplesPerLine bounds a line of a dump: some tens of kilobytes.
const samplesPerLine = 2000

// dump writes the lines of an export as they come, and behind them one that says
// how many there were. It only does so when the server has ended the export in
// order and each line was found to be one.
func dump(ctx context.Context, s *server, _ *bufio.Reader, to io.Writer) error {
	lines, err := s.export(ctx, samplesPerLine)
	if err != nil {
		return err
	}
	defer lines.close()
	out := bufio.NewWriterSize(to, 256<<10)
	var t line.Tally
	for {
		p, err := lines.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		t.Lines++
		t.Samples += p.Samples
		if _, err := out.Write(lines.raw); err != nil {
			return fmt.Errorf("write the dump: %w", err)
		}
	}
	if _, err := out.Write(t.Last()); err != nil {
		return fmt.Errorf("write the dump: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the dump: %w", err)
	}
	return nil
}
