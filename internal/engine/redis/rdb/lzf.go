package rdb

import "errors"

var errLZF = errors.New("compressed string is damaged")

// unlzf undoes the LZF compression of a string that had size bytes. Memory is
// bounded by what src can produce, whatever size claims.
func unlzf(src []byte, size uint64) ([]byte, error) {
	const longestRun = 264 // by three bytes of src
	if size > uint64(len(src))*longestRun {
		return nil, errLZF
	}
	out := make([]byte, 0, size)
	for i := 0; i < len(src); {
		control := int(src[i])
		i++
		if control < 32 { // literal
			n := control + 1
			if n > len(src)-i || uint64(len(out)+n) > size {
				return nil, errLZF
			}
			out = append(out, src[i:i+n]...)
			i += n
			continue
		}
		n := control >> 5
		if n == 7 {
			if i >= len(src) {
				return nil, errLZF
			}
			n += int(src[i])
			i++
		}
		if i >= len(src) {
			return nil, errLZF
		}
		from := len(out) - (control&31)<<8 - int(src[i]) - 1
		i++
		n += 2
		if from < 0 || uint64(len(out)+n) > size {
			return nil, errLZF
		}
		for k := range n { // may overlap what it writes
			out = append(out, out[from+k])
		}
	}
	if uint64(len(out)) != size {
		return nil, errLZF
	}
	return out, nil
}
