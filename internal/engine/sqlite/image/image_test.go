package image

import (
	"encoding/binary"
	"errors"
	"testing"
)

func header(pageSize uint16, pages, counter, validFor uint32) []byte {
	b := make([]byte, 512)
	copy(b, magic)
	binary.BigEndian.PutUint16(b[offPageSize:], pageSize)
	b[offWriteVersion], b[offReadVersion] = 2, 2
	copy(b[offPayload:], []byte{64, 32, 32})
	binary.BigEndian.PutUint32(b[offChangeCounter:], counter)
	binary.BigEndian.PutUint32(b[offPageCount:], pages)
	binary.BigEndian.PutUint32(b[offValidFor:], validFor)
	return b
}

func TestParse(t *testing.T) {
	tests := []struct {
		name string
		b    []byte
		want Header
		bad  bool
	}{
		{"usual", header(4096, 7, 3, 3), Header{4096, 7, true}, false},
		{"largest page", header(1, 7, 3, 3), Header{65536, 7, true}, false},
		{"count not valid", header(512, 7, 3, 2), Header{512, 0, true}, false},
		{"page size 0", header(0, 7, 3, 3), Header{}, true},
		{"page size 1000", header(1000, 7, 3, 3), Header{}, true},
		{"page size 256", header(256, 7, 3, 3), Header{}, true},
		{"short", header(512, 7, 3, 3)[:99], Header{}, true},
		{"text", make([]byte, 200), Header{}, true},
	}
	for _, tt := range tests {
		got, err := Parse(tt.b)
		if got != tt.want || errors.Is(err, ErrNotDatabase) != tt.bad {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

func TestSetPages(t *testing.T) {
	b := header(512, 7, 3, 2)
	if err := SetPages(b, 9); err != nil {
		t.Fatal(err)
	}
	ClearWAL(b)
	if h, err := Parse(b); err != nil || h != (Header{512, 9, false}) || h.Size() != 9*512 {
		t.Errorf("%+v, %v", h, err)
	}
	before := string(b)
	if err := SetPages(b, 9); err != nil || string(b) != before {
		t.Error("a page that says so already was changed", err)
	}
	for _, n := range []int64{0, -1, 1 << 33} {
		if SetPages(b, n) == nil {
			t.Errorf("%d pages pass", n)
		}
	}
	if SetPages(make([]byte, 512), 1) == nil {
		t.Error("no database passes")
	}
}
