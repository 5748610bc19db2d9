package helper

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/victoriametrics/line"
	"github.com/baktainer/baktainer/internal/problem"
)

// What is written with one request at most.
const (
	batchSamples = 10_000
	batchBytes   = 1 << 20
)

// What was written is looked for so often, with such pauses, when the server shows
// it only after a while.
const (
	looks = 5
	pause = 3 * time.Second
)

// restore writes the samples of a dump to the server by the protocol of Prometheus,
// which takes every value as it is: an import of lines takes no staleness markers.
// A server that leaves samples out says nothing of it, so what it has is counted in
// the end.
func restore(ctx context.Context, s *server, in *bufio.Reader, _ io.Writer) error {
	w := &writer{ctx: ctx, server: s}
	if s.Retention > 0 {
		// Meanwhile a few more become too old.
		w.oldest = clock.System{}.Now().Add(-s.Retention + time.Hour).UnixMilli()
	}
	if err := w.readAll(in); err != nil {
		return err
	}
	if err := w.send(); err != nil {
		return err
	}
	return w.compare()
}

type writer struct {
	ctx     context.Context
	server  *server
	request []byte // that is being made
	samples int    // in it
	oldest  int64  // time of samples that the server has to keep
	want    counts // of samples by series
}

// counts are numbers of samples, of series that have a hash in common. So they
// take no more memory however many series there are.
type counts [1 << 14]int64

// of is the count of the series with these labels, as appendLabels gives them.
func (c *counts) of(labels []byte) *int64 {
	h := fnv.New32a()
	_, _ = h.Write(labels) // never fails
	return &c[h.Sum32()%uint32(len(c))]
}

// readAll reads a dump to its last line.
func (w *writer) readAll(in *bufio.Reader) error {
	broken := func(err error) error {
		return problem.Wrap(problem.Corrupt, err, "read the dump").WithReason(engine.ReasonMalformed)
	}
	var long []byte
	var seen line.Tally
	for {
		text, err := readLine(in, &long)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return broken(err)
		}
		text = bytes.TrimSuffix(text, []byte{'\n'})
		if t, last := line.ParseLast(text); last {
			if t != seen {
				return broken(fmt.Errorf("it has %d samples, and its last line says %d", seen.Samples, t.Samples))
			}
			if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
				return broken(errors.New("it goes on behind its last line"))
			}
			return nil
		}
		p, err := line.Split(text)
		if err != nil {
			return broken(err)
		}
		seen.Lines++
		seen.Samples += p.Samples
		if err := w.add(p); err != nil {
			return err
		}
	}
}

// add adds a line to the request, and sends that when it is large enough.
func (w *writer) add(p line.Parts) error {
	labels, err := p.Decode()
	if err != nil {
		return fmt.Errorf("read the dump: %w", err)
	}
	series := appendLabels(nil, labels)
	want := w.want.of(series)
	for s, err := range p.All() {
		if err != nil {
			return problem.Wrap(problem.Corrupt, err, "read the dump").WithReason(engine.ReasonMalformed)
		}
		series = appendSample(series, s)
		if s.Time >= w.oldest {
			*want++
		}
	}
	w.request = appendMessage(w.request, 1, series)
	w.samples += int(p.Samples)
	if w.samples < batchSamples && len(w.request) < batchBytes {
		return nil
	}
	return w.send()
}

// send writes the request to the server.
func (w *writer) send() error {
	if len(w.request) == 0 {
		return nil
	}
	resp, err := w.server.post(w.ctx, "/api/v1/write", "application/x-protobuf", bytes.NewReader(snappy.Encode(nil, w.request)))
	if err != nil {
		return fmt.Errorf("write samples: %w", err)
	}
	w.request, w.samples = w.request[:0], 0
	return resp.Body.Close()
}

// compare says whether the server has as many samples of each series as were
// written, or more: others may write at the same time. A series that has lost some
// of its labels is another one.
func (w *writer) compare() error {
	for left := looks; ; left-- {
		shown := w.server.flush(w.ctx)
		missing, err := w.missing()
		if err != nil || missing == 0 {
			return err
		}
		if shown || left == 1 {
			return problem.New(problem.Failed, "the server has left out %d samples, or changed their labels", missing).WithReason(engine.ReasonToolFailed).
				WithHint("See its log. It takes no samples from the future, none that are older than its -retentionPeriod, and of a series no more labels than -maxLabelsPerTimeseries and none that are longer than -maxLabelValueLen; -relabelConfig may change them; with -dedup.minScrapeInterval it shows fewer.")
		}
		if err := clock.Sleep(w.ctx, pause); err != nil {
			return err
		}
	}
}

// missing is how many samples the server lacks.
func (w *writer) missing() (n int64, err error) {
	lines, err := w.server.export(w.ctx, samplesPerLine)
	if err != nil {
		return 0, fmt.Errorf("count what was written: %w", err)
	}
	defer lines.close()
	var have counts
	for {
		p, err := lines.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("count what was written: %w", err)
		}
		labels, err := p.Decode()
		if err != nil {
			return 0, fmt.Errorf("count what was written: %w", err)
		}
		*have.of(appendLabels(nil, labels)) += p.Samples
	}
	for i, want := range w.want {
		n += max(0, want-have[i])
	}
	return n, nil
}

// What follows makes a WriteRequest of Prometheus' remote write, version 1: time
// series (1) with labels (1: name 1, value 2) and samples (2: value 1, time 2).

func appendMessage(b []byte, field protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), message)
}

func appendLabels(b []byte, labels map[string]string) []byte {
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		l := appendMessage(nil, 1, []byte(name))
		b = appendMessage(b, 1, appendMessage(l, 2, []byte(labels[name])))
	}
	return b
}

func appendSample(b []byte, s line.Sample) []byte {
	var m [32]byte
	sample := protowire.AppendFixed64(protowire.AppendTag(m[:0], 1, protowire.Fixed64Type), math.Float64bits(s.Value))
	sample = protowire.AppendVarint(protowire.AppendTag(sample, 2, protowire.VarintType), uint64(s.Time))
	return appendMessage(b, 2, sample)
}
