package ldif

import "bytes"

// Parent is the DN without its first part, empty when it has no other.
func Parent(dn []byte) []byte {
	if i := comma(dn); i >= 0 {
		return dn[i+1:]
	}
	return nil
}

// Depth is how many parts a DN has.
func Depth(dn []byte) int {
	if len(dn) == 0 {
		return 0
	}
	n := 1
	for i := comma(dn); i >= 0; i = comma(dn) {
		dn = dn[i+1:]
		n++
	}
	return n
}

// Parts appends where the parts of a DN begin.
func Parts(begins []int, dn []byte) []int {
	begins = append(begins, 0)
	for i := 0; i < len(dn); i++ {
		switch dn[i] {
		case '\\':
			i++
		case ',':
			begins = append(begins, i+1)
		}
	}
	return begins
}

// First is the first part of a DN: its entry's own name.
func First(dn []byte) []byte {
	if i := comma(dn); i >= 0 {
		return dn[:i]
	}
	return dn
}

// comma is the place of the first comma that is no part of a value, -1 for none.
func comma(dn []byte) int {
	for i := 0; i < len(dn); i++ {
		switch dn[i] {
		case '\\':
			i++
		case ',':
			return i
		}
	}
	return -1
}

// Domain is the domain that a DN of dc parts stands for: "example.org"; empty for others.
func Domain(dn string) string {
	var parts [][]byte
	for rest := []byte(dn); len(rest) > 0; rest = Parent(rest) {
		name, value, ok := bytes.Cut(bytes.TrimSpace(First(rest)), []byte("="))
		if !ok || !bytes.EqualFold(name, []byte("dc")) || len(value) == 0 || bytes.ContainsAny(value, `\+ `) {
			return ""
		}
		parts = append(parts, value)
	}
	return string(bytes.Join(parts, []byte(".")))
}
