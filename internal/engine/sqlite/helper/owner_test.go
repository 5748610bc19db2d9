package helper

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

func owned(t *testing.T, path, want string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if got := fmt.Sprintf("%d:%d %#o", st.Uid, st.Gid, info.Mode().Perm()); got != want {
		t.Errorf("%s: owner and mode are %s, want %s", path, got, want)
	}
}
