package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
)

// A program that needs a loader is refused before it is put where there is none.
func TestHelperStandsAlone(t *testing.T) {
	program := func(segment elf.ProgType) []byte {
		var b bytes.Buffer
		head := elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
			Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64,
		}
		for _, part := range []any{head, elf.Prog64{Type: uint32(segment)}} {
			if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
				t.Fatal(err)
			}
		}
		return b.Bytes()
	}
	for what, tc := range map[string]struct {
		program []byte
		refused bool
	}{
		"static":            {program(elf.PT_LOAD), false},
		"dynamic":           {program(elf.PT_INTERP), true},
		"of another system": {[]byte("MZ"), false},
	} {
		if err := standsAlone(bytes.NewReader(tc.program)); (err != nil) != tc.refused || tc.refused && problem.CodeOf(err) != problem.Failed {
			t.Errorf("%s: %v", what, err)
		}
	}
}
