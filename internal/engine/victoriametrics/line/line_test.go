package line

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSplit(t *testing.T) {
	for text, want := range map[string]struct {
		metric  string
		samples []string
	}{
		`{"metric":{"__name__":"up"},"values":[1],"timestamps":[1000]}`:                                      {"up", []string{"1@1000"}},
		`{"metric":{"__name__":"a","b":"},\"values\":[","c":"{\\"},"values":[1,-2.5e-7],"timestamps":[1,2]}`: {"a", []string{"1@1", "-2.5e-07@2"}},
		`{"metric":{"job":"x"},"values":[+Inf,-Inf,null],"timestamps":[-3,2,3]}`:                             {"{}", []string{"+Inf@-3", "-Inf@2", "NaN@3"}},
		`{"metric":{"__name__":"later"},"values":["Infinity","-Infinity"],"timestamps":[1,2]}`:               {"later", []string{"+Inf@1", "-Inf@2"}},
		`{"metric":{},"values":[1e400],"timestamps":[1]}`:                                                    {"{}", []string{"+Inf@1"}},
		`{"metric":{"job":"x","__name__":"behind"},"values":[1],"timestamps":[1]}`:                           {"behind", []string{"1@1"}},
		`{"metric":{"__name__":"q\"ü\n"},"values":[1],"timestamps":[1]}`:                                     {"q\"ü\n", []string{"1@1"}},
	} {
		p, err := Split([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		name, err := p.Metric()
		var got []string
		for s, serr := range p.All() {
			err = errors.Join(err, serr)
			got = append(got, fmt.Sprintf("%g@%d", s.Value, s.Time))
		}
		if err != nil || name != want.metric || !slices.Equal(got, want.samples) || p.Samples != int64(len(got)) {
			t.Errorf("%s: %q, %d samples %q, %v", text, name, p.Samples, got, err)
		}
	}
	for _, text := range []string{
		"", "{}", "not a line", `{"metric":{"a":"b"},"values":[],"timestamps":[]}`, `{"metric":{"a":"b"},"values":[1],"timestamps":[1,2]}`,
		`{"metric":{"a":"b"},"values":[1,2],"timestamps":[1]}`, `{"metric":{"a":"b"},"values":[x],"timestamps":[1]}`,
		`{"metric":{"a":"b"},"values":[1],"timestamps":[1.5]}`, `{"metric":{"a":{"b":"c"}},"values":[1],"timestamps":[1]}`,
		`{"metric":{"a":"b"},"values":[1],"timestamps":[1]} `, `{"metric":{"a":"b"},"timestamps":[1],"values":[1]}`, `{"metric":{"a":"b`,
	} {
		if p, err := Split([]byte(text)); !errors.Is(err, ErrNotALine) {
			t.Errorf("%s: %+v, %v", text, p, err)
		}
	}
	// What looks right from afar, and is not.
	for _, text := range []string{
		`{"metric":{"a":"b"},"values":[1-],"timestamps":[1]}`, `{"metric":{"a":"b"},"values":[1],"timestamps":[1-]}`,
		`{"metric":{"a":"b"},"values":[,],"timestamps":[1,1]}`, `{"metric":{"a":"b"},"values":[1],"timestamps":[99999999999999999999]}`,
	} {
		p, err := Split([]byte(text))
		for _, serr := range p.All() {
			err = errors.Join(err, serr)
		}
		if err == nil {
			t.Errorf("%s has samples", text)
		}
	}
}

// Labels are bytes, also those that are no UTF-8.
func TestDecode(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                                  "map[]",
		`{"a":"b","c":"\"\u00e9"}`:            `map["a":"b" "c":"\"é"]`,
		"{\"a\":\"\xff\"}":                    `map["a":"\xff"]`,
		"{\"a\":\"é\\n\xff\\\\\xfe\\u00e9\"}": `map["a":"é\n\xff\\\xfeé"]`,
		"{\"a\":\"\",\"\xffb\":\",:}\"}":      `map["a":"" "\xffb":",:}"]`,
		"{\"a\xff\"}":                         "",
		"{\"a\xff\":\"b\":\"c\"}":             "",
		"{\"a\xff\",\"b\"}":                   "",
		"{\"a\\\xff\":\"b\"}":                 "",
	} {
		got, err := Parts{Labels: []byte(text)}.Decode()
		if said := fmt.Sprintf("%q", got); (err != nil) != (want == "") || err == nil && said != want {
			t.Errorf("%q: %s, %v, want %s", text, said, err, want)
		}
	}
}

func TestAStalenessMarkIsPrometheus(t *testing.T) {
	p, err := Split([]byte(`{"metric":{"a":"b"},"values":[null],"timestamps":[1]}`))
	if err != nil {
		t.Fatal(err)
	}
	for s, err := range p.All() {
		if math.Float64bits(s.Value) != 0x7ff0000000000002 || err != nil {
			t.Errorf("%x, %v", math.Float64bits(s.Value), err)
		}
	}
}

func TestTheLastLine(t *testing.T) {
	want := Tally{Lines: 3, Samples: 40}
	if got, is := ParseLast([]byte(strings.TrimSuffix(string(want.Last()), "\n"))); !is || got != want {
		t.Errorf("%+v, %v", got, is)
	}
	for _, text := range []string{"", `{"baktainer":"victoriametrics-1"}`, `{"baktainer":"victoriametrics-1","lines":3,"samples":40} `, `{"baktainer":"victoriametrics-1","lines":3,"samples":4`} {
		if got, is := ParseLast([]byte(text)); is {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte(`{"metric":{"__name__":"a\"b","c":"d"},"values":[1,null,+Inf,"-Infinity"],"timestamps":[1,2,3,4]}`))
	f.Add([]byte("{\"metric\":{\"a\":\"\xff\"},\"values\":[1],\"timestamps\":[1]}"))
	f.Add([]byte(`{"metric":{},"values":[1],"timestamps":[1]}`))
	f.Add([]byte(`{"baktainer":"victoriametrics-1","lines":1,"samples":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tally, is := ParseLast(b); is && string(tally.Last()) != string(b)+"\n" {
			t.Errorf("%q is taken for %+v", b, tally)
		}
		p, err := Split(b)
		if err != nil {
			return
		}
		var n int64
		for _, err := range p.All() {
			if err != nil {
				return
			}
			n++
		}
		if n != p.Samples {
			t.Errorf("%q has %d samples, not %d", b, n, p.Samples)
		}
		if labels, err := p.Decode(); utf8.Valid(p.Labels) && len(p.Labels) > len("{}") { // it is read alike with a byte that is no UTF-8
			more := append(bytes.Clone(p.Labels[:len(p.Labels)-1]), ",\"\xff\":\"\"}"...)
			got, gotErr := Parts{Labels: more}.Decode()
			delete(got, "\xff")
			if (err != nil) != (gotErr != nil) || err == nil && !maps.Equal(got, labels) {
				t.Errorf("%q: %q %v, with a byte more %q %v", b, labels, err, got, gotErr)
			}
		}
		name, err := p.Metric()
		if labels, derr := p.Decode(); err == nil && derr == nil && labels["__name__"] != "" && labels["__name__"] != name && strings.ToValidUTF8(labels["__name__"], "?") == labels["__name__"] && !strings.ContainsRune(labels["__name__"], '\uFFFD') && strings.Count(string(p.Labels), `"__name__"`) == 1 {
			t.Errorf("%q: %q is not %q", b, name, labels["__name__"])
		}
	})
}
