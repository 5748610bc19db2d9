package etcd

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A dump is text:
//
//	# etcd keys at revision 42, etcdctl 3.4.23
//	put -- "/app/name" "a \"value\"\x00"
//	put --lease=ttl:60 -- "/app/lock" ""
//	# end of 2 keys
//
// The lines between the first and the last are in the language of `etcdctl txn`,
// save that a lease is told by its time to live in seconds: its number is of use
// to nobody. Keys and values are in Go's quotes, as etcdctl wants them.
const (
	firstLine = "# etcd keys at revision "
	linePut   = "put "
	lineLease = "--lease=ttl:"
	lineKey   = `-- "`
	lastLine  = "# end of "
)

func appendPair(line, key, value []byte) []byte {
	line = append(line, "-- "...)
	line = strconv.AppendQuote(line, string(key))
	line = append(line, ' ')
	line = strconv.AppendQuote(line, string(value))
	return append(line, '\n')
}

var errLine = errors.New("a line is none of a dump of keys")

// put is one line: the time to live of its lease, 0 for none, and all from "-- " on.
type put struct {
	ttl  int64
	pair string
}

// parsePut checks a line, without its end, to its last byte: what passes means
// to etcdctl what it means here.
func parsePut(line string) (put, error) {
	rest, is := strings.CutPrefix(line, linePut)
	var p put
	if after, leased := strings.CutPrefix(rest, lineLease); leased {
		seconds, pair, _ := strings.Cut(after, " ")
		ttl, err := strconv.ParseInt(seconds, 10, 64)
		if err != nil || ttl <= 0 {
			return p, errLine
		}
		p.ttl, rest = ttl, pair
	}
	p.pair = rest
	text, marked := strings.CutPrefix(rest, "-- ")
	key, err := strconv.QuotedPrefix(text)
	if err != nil || !is || !marked || key[0] != '"' || key == `""` {
		return p, errLine
	}
	text, blank := strings.CutPrefix(text[len(key):], " ")
	value, err := strconv.QuotedPrefix(text)
	if err != nil || !blank || value != text || value[0] != '"' {
		return p, errLine
	}
	return p, nil
}

// parseLast reads the number of keys from the last line.
func parseLast(line []byte) (int64, bool) {
	text, is := bytes.CutPrefix(line, []byte(lastLine))
	number, keys := bytes.CutSuffix(text, []byte(" keys"))
	n, err := strconv.ParseInt(string(number), 10, 64)
	return n, is && keys && err == nil && fmt.Sprint(n) == string(number)
}
