// Package line reads the lines that VictoriaMetrics exports, each of which holds
// samples of one time series:
//
//	{"metric":{"__name__":"up","job":"x"},"values":[1,null],"timestamps":[1700000000000,1700000015000]}
//
// A value may be null, which is a staleness marker of Prometheus', or infinite;
// timestamps are in milliseconds. It also knows the last line of our dumps, since
// an export has no end mark.
package line

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Max bounds a line, in bytes.
const Max = 16 << 20

// Parts are the pieces of a line, which Split found to be in order.
type Parts struct {
	// Labels is the JSON object of labels.
	Labels []byte
	// Samples is how many there are.
	Samples int64

	values, timestamps []byte
}

var (
	beginning  = []byte(`{"metric":{`)
	values     = []byte(`},"values":[`)
	timestamps = []byte(`],"timestamps":[`)
	ending     = []byte(`]}`)
)

// ErrNotALine says that it is not a line of an export.
var ErrNotALine = errors.New("it is no line of an export")

// Split takes a line apart, without its line end. It allocates nothing: it is in
// the path of every byte of a dump.
func Split(b []byte) (p Parts, err error) {
	if !bytes.HasPrefix(b, beginning) || !bytes.HasSuffix(b, ending) {
		return p, ErrNotALine
	}
	labels := endOfLabels(b[len(beginning):])
	if labels < 0 {
		return p, ErrNotALine
	}
	labels += len(beginning)
	p.Labels = b[len(beginning)-1 : labels+1]
	rest, found := bytes.CutPrefix(b[labels:], values)
	if !found {
		return p, ErrNotALine
	}
	p.values, rest, found = bytes.Cut(rest[:len(rest)-len(ending)], timestamps)
	p.timestamps = rest
	if !found || !only(p.values, &isValue) || !only(p.timestamps, &isTimestamp) {
		return p, ErrNotALine
	}
	comma := []byte{','}
	n := bytes.Count(p.values, comma)
	if n != bytes.Count(p.timestamps, comma) || len(p.values) == 0 || len(p.timestamps) == 0 {
		return p, fmt.Errorf("it has not as many values as timestamps: %w", ErrNotALine)
	}
	p.Samples = int64(n) + 1
	return p, nil
}

// endOfLabels is where the bracket is that ends an object of strings; -1: nowhere.
func endOfLabels(b []byte) int {
	quoted := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && c == '}':
			return i
		case !quoted && c != ':' && c != ',':
			return -1
		}
	}
	return -1
}

// isValue and isTimestamp are the bytes that may be in the lists.
var (
	isValue     = table(`0123456789+-.eE,"nulInfityNa`)
	isTimestamp = table(`0123456789-,`)
)

func table(of string) (t [256]bool) {
	for _, c := range []byte(of) {
		t[c] = true
	}
	return t
}

func only(b []byte, allowed *[256]bool) bool {
	for _, c := range b {
		if !allowed[c] {
			return false
		}
	}
	return true
}

// nameFirst is how the labels of a series with a name begin.
var nameFirst = []byte(`{"__name__":"`)

// Metric is the name of the metric, for people: {} when it has none.
func (p Parts) Metric() (string, error) {
	if name, found := bytes.CutPrefix(p.Labels, nameFirst); found {
		if end := bytes.IndexByte(name, '"'); end > 0 && bytes.IndexByte(name[:end], '\\') < 0 {
			return strings.ToValidUTF8(string(name[:end]), "?"), nil
		}
	}
	labels, err := p.Decode()
	if err != nil {
		return "", err
	}
	if name := labels["__name__"]; name != "" {
		return strings.ToValidUTF8(name, "?"), nil
	}
	return "{}", nil
}

// Decode gives the labels.
func (p Parts) Decode() (map[string]string, error) {
	labels := map[string]string{}
	if utf8.Valid(p.Labels) {
		if err := json.Unmarshal(p.Labels, &labels); err != nil {
			return nil, errors.Join(ErrNotALine, err)
		}
		return labels, nil
	}
	// The server takes and gives any bytes, and JSON would make one sign of them all.
	for rest := p.Labels; len(rest) > 1; {
		name, after, err := unquote(rest[1:])
		if err != nil || len(after) == 0 || after[0] != ':' {
			return nil, ErrNotALine
		}
		if labels[name], rest, err = unquote(after[1:]); err != nil || len(rest) == 0 || rest[0] == ':' {
			return nil, ErrNotALine
		}
	}
	return labels, nil
}

// unquote reads the string that b begins with, in which bytes that are no UTF-8
// stand for themselves, and gives what follows it.
func unquote(b []byte) (string, []byte, error) {
	end := 1
	for end < len(b) && b[end] != '"' {
		if b[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(b) || b[0] != '"' {
		return "", nil, ErrNotALine
	}
	var all []byte
	for text := b[1:end]; len(text) > 0; {
		n := 0 // how much of it is UTF-8
		for n < len(text) {
			r, size := utf8.DecodeRune(text[n:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			n += size
		}
		var piece string
		if err := json.Unmarshal(slices.Concat([]byte{'"'}, text[:n], []byte{'"'}), &piece); err != nil {
			return "", nil, ErrNotALine
		}
		all = append(all, piece...)
		if n < len(text) {
			all = append(all, text[n])
			n++
		}
		text = text[n:]
	}
	return string(all), b[end+1:], nil
}

// Sample is one of a series.
type Sample struct {
	Value float64
	// Time is in milliseconds.
	Time int64
}

// stale is Prometheus' mark for the end of a series: a NaN like no other.
var stale = math.Float64frombits(0x7ff0000000000002)

// All gives the samples in order, and an error after which there are no more.
func (p Parts) All() iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		values, times := p.values, p.timestamps
		for more := true; more; {
			var value, at []byte
			value, values, more = bytes.Cut(values, []byte{','})
			at, times, _ = bytes.Cut(times, []byte{','})
			s, err := parse(string(value), string(at))
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

func parse(value, at string) (s Sample, err error) {
	if s.Time, err = strconv.ParseInt(at, 10, 64); err != nil {
		return s, fmt.Errorf("read a timestamp: %w", err)
	}
	if value == "null" {
		s.Value = stale
		return s, nil
	}
	// Later versions write what JSON knows no number for as strings.
	s.Value, err = strconv.ParseFloat(strings.Trim(value, `"`), 64)
	if err != nil && !math.IsInf(s.Value, 0) {
		return s, fmt.Errorf("read a value: %w", err)
	}
	return s, nil
}

// Tally is what a dump holds, as its last line says.
type Tally struct {
	Lines   int64 `json:"lines"`
	Samples int64 `json:"samples"`
}

var lastFirst = []byte(`{"baktainer":"victoriametrics-1",`)

// Last is the last line of a dump, with its line end.
func (t Tally) Last() []byte {
	return fmt.Appendf(nil, "%s\"lines\":%d,\"samples\":%d}\n", lastFirst, t.Lines, t.Samples)
}

// ParseLast says whether a line, without its line end, is the last of a dump.
func ParseLast(b []byte) (t Tally, is bool) {
	if !bytes.HasPrefix(b, lastFirst) || json.Unmarshal(b, &t) != nil {
		return Tally{}, false
	}
	return t, bytes.Equal(t.Last(), append(bytes.Clone(b), '\n'))
}
