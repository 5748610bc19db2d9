package retention

import (
	"fmt"
	"strconv"
	"strings"
)

// Threshold is how much of a store is to be free: so many bytes, or so many
// hundredths of all; the zero value is none.
type Threshold struct {
	Bytes   int64
	Percent int
}

// thresholdUnits are those of bytes, the largest first.
var thresholdUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}}

// ParseThreshold reads 5%, 10GiB or off.
func ParseThreshold(text string) (Threshold, error) {
	bad := fmt.Errorf("%.40q is no free space such as 5%%, 10GiB or off", text)
	if text == Off {
		return Threshold{}, nil
	}
	if number, ok := strings.CutSuffix(text, "%"); ok {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > 99 {
			return Threshold{}, bad
		}
		return Threshold{Percent: n}, nil
	}
	for _, u := range thresholdUnits {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil || n < 1 || n > (1<<60)/u.bytes {
				return Threshold{}, bad
			}
			return Threshold{Bytes: n * u.bytes}, nil
		}
	}
	return Threshold{}, bad
}

// Of is the threshold in bytes, for a store of so many.
func (t Threshold) Of(total int64) int64 {
	if t.Percent > 0 {
		return total / 100 * int64(t.Percent)
	}
	return t.Bytes
}

// String is the threshold as ParseThreshold reads it.
func (t Threshold) String() string {
	if t.Percent > 0 {
		return strconv.Itoa(t.Percent) + "%"
	}
	for _, u := range thresholdUnits {
		if t.Bytes > 0 && t.Bytes%u.bytes == 0 {
			return strconv.FormatInt(t.Bytes/u.bytes, 10) + u.name
		}
	}
	return Off
}
