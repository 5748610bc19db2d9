package plugin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// othersWrite are the rights to write that nobody but the owner may have.
const othersWrite = 0o022

// checkFolder says whether only those whom the agent trusts anyway can put
// something into the folder, or another in its place. It returns its real path.
func checkFolder(dir string) (string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err //nolint:wrapcheck // it names the path
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", err //nolint:wrapcheck // it names the path
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is no folder", dir)
	}
	if err := ours(dir, info); err != nil {
		return "", err
	}
	for above := filepath.Dir(dir); ; above = filepath.Dir(above) {
		if info, err = os.Stat(above); err != nil {
			return "", err //nolint:wrapcheck // it names the path
		}
		// In a sticky folder, such as /tmp, nobody replaces what is another's, save its
		// owner.
		check := ours
		if info.Mode()&fs.ModeSticky != 0 {
			check = owned
		}
		if err := check(above, info); err != nil {
			return "", err
		}
		if above == filepath.Dir(above) {
			return dir, nil
		}
	}
}

// checkFile says whether a file may be run as a plugin.
func checkFile(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err //nolint:wrapcheck // it names the path
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file", path)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("%s may not be executed: chmod 755", path)
	}
	return ours(path, info)
}

// ours says whether nobody can change a file or folder but root and the user that
// we run as.
func ours(path string, info fs.FileInfo) error {
	if err := owned(path, info); err != nil {
		return err
	}
	if info.Mode()&othersWrite != 0 {
		return fmt.Errorf("others may write to %s (its mode is %04o): chmod go-w", path, info.Mode().Perm())
	}
	return nil
}

// owned says whether a file or folder is root's, or of the user that we run as.
func owned(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return errors.New("whose the plugins are cannot be told on this system")
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to the user %d: it has to be root's, or of the user %d that the agent runs as", path, st.Uid, os.Geteuid())
	}
	return nil
}
