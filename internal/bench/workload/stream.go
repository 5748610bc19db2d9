package workload

import (
	"fmt"
	"io"
)

// Stream writes size bytes of rows like those of the data set, which nobody
// has ever seen before and which are as compressible as a dump.
func Stream(w io.Writer, seed uint64, size int64) error {
	buf := make([]byte, 0, 1<<20+16<<10)
	for id := 1; size > 0; {
		for buf = buf[:0]; len(buf) < 1<<20; id++ {
			buf = document(buf, seed, id, nil)
			for range 4 {
				id++
				buf = event(buf, seed, id, nil)
			}
		}
		n, err := w.Write(buf[:min(int64(len(buf)), size)])
		size -= int64(n)
		if err != nil {
			return fmt.Errorf("write the stream: %w", err)
		}
	}
	return nil
}
