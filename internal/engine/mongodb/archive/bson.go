package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
)

var errBSON = errors.New("not a BSON document")

// fields are what is needed of the flat documents that an archive is framed by.
type fields struct {
	strings map[string]string
	eof     bool
	crc     int64
}

// parseFields reads the top level of a whole document.
func parseFields(doc []byte) (fields, error) {
	f := fields{strings: map[string]string{}}
	b := doc[4 : len(doc)-1]
	for len(b) > 0 {
		kind := b[0]
		end := bytes.IndexByte(b[1:], 0)
		if end < 0 {
			return f, errBSON
		}
		name := string(b[1 : 1+end])
		b = b[end+2:]
		size, ok := valueSize(kind, b)
		if !ok || size > len(b) {
			return f, errBSON
		}
		value := b[:size]
		b = b[size:]
		switch {
		case kind == 0x02:
			f.strings[name] = string(value[4 : size-1])
		case kind == 0x08 && name == "EOF":
			f.eof = value[0] == 1
		case kind == 0x12 && name == "CRC":
			f.crc = int64(binary.LittleEndian.Uint64(value))
		}
	}
	return f, nil
}

// valueSize is the length of a value of the kinds that occur in such documents.
func valueSize(kind byte, b []byte) (int, bool) {
	switch kind {
	case 0x01, 0x09, 0x11, 0x12: // double, date, timestamp, int64
		return 8, true
	case 0x08: // bool
		return 1, true
	case 0x0a: // null
		return 0, true
	case 0x10: // int32
		return 4, true
	case 0x02, 0x03, 0x04: // string, document, array
		if len(b) < 4 {
			return 0, false
		}
		n := int64(int32(binary.LittleEndian.Uint32(b)))
		if kind == 0x02 {
			n += 4 // its length counts the text and a zero byte
		}
		return int(n), n >= 5 && n <= int64(len(b))
	}
	return 0, false
}
