package load

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
)

const (
	parts    = 4   // tables of bulk data; a round rewrites some of them
	rowBytes = 750 // random bytes of a row, a third more as text: it compresses little
	rowText  = rowBytes / 3 * 4
	batch    = 200 // rows of an INSERT
)

// bulkRows is how many rows make a table of the bulk that has so many bytes in all.
func bulkRows(bytes int64) int { return int(max(1, bytes/parts/rowText)) }

// rows calls f with random text, so many times.
func rows(seed uint64, n int, f func(i int, body string) error) error {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	random, raw := rand.NewChaCha8(key), make([]byte, rowBytes)
	for i := range n {
		_, _ = random.Read(raw) // never fails
		if err := f(i, base64.StdEncoding.EncodeToString(raw)); err != nil {
			return err
		}
	}
	return nil
}

// copyScript fills a table of PostgreSQL anew.
func copyScript(w io.Writer, part int, seed uint64, n int) error {
	out := bufio.NewWriterSize(w, 1<<16)
	fmt.Fprintf(out, "BEGIN;\nTRUNCATE bulk_%d;\nCOPY bulk_%d FROM STDIN;\n", part, part)
	err := rows(seed, n, func(i int, body string) error {
		_, err := fmt.Fprintf(out, "%d\t%s\n", i, body)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprint(out, "\\.\nCOMMIT;\n")
	return out.Flush()
}

// insertScript fills a table of MariaDB anew.
func insertScript(w io.Writer, part int, seed uint64, n int) error {
	out := bufio.NewWriterSize(w, 1<<16)
	fmt.Fprintf(out, "TRUNCATE bulk_%d;\nSET autocommit = 0;\n", part)
	err := rows(seed, n, func(i int, body string) error {
		before, after := ",", ""
		if i%batch == 0 {
			before = fmt.Sprintf("INSERT INTO bulk_%d VALUES ", part)
		}
		if i%batch == batch-1 || i == n-1 {
			after = ";\n"
		}
		_, err := fmt.Fprintf(out, "%s(%d,'%s')%s", before, i, body, after)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprint(out, "COMMIT;\n")
	return out.Flush()
}
