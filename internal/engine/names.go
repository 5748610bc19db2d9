package engine

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/problem"
)

var newName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$`)

// CheckNewName says whether a database that is restored may be given that name:
// one that means itself to every server and every tool.
func CheckNewName(name string) error {
	if newName.MatchString(name) {
		return nil
	}
	return problem.New(problem.InvalidInput, "%.80q is no name for a restored database", name).
		WithHint("Use letters, digits, _ and -, 63 of them at most.")
}

// maxFileName leaves room for an ending in the 255 bytes of file systems.
const maxFileName = 200

// FileName turns the name of a database into one that every file system takes:
// letters, digits, '_', '-' and inner '.' stay, each other byte becomes %XX. A
// very long name is cut and told apart by a hash. Names in reserved, which mean
// other streams, get their first letter written as %XX.
func FileName(name string, reserved ...string) string {
	plain := func(i int) bool {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
			return i > 0 || c != '-' && !slices.Contains(reserved, name)
		}
		return c == '.' && i > 0
	}
	var b strings.Builder
	for i := range len(name) {
		if plain(i) {
			b.WriteByte(name[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", name[i])
		}
	}
	if b.Len() > maxFileName {
		return fmt.Sprintf("%s~%x", b.String()[:maxFileName-20], sha256.Sum256([]byte(name)))[:maxFileName]
	}
	return b.String()
}

// ImagePath splits the reference of an image into its path, without registry,
// tag and digest ("bitnami/postgresql"), and the last part of that ("postgresql").
func ImagePath(image string) (path, last string) {
	image, _, _ = strings.Cut(image, "@")
	if slash, colon := strings.LastIndex(image, "/"), strings.LastIndex(image, ":"); colon > slash {
		image = image[:colon]
	}
	if first, rest, ok := strings.Cut(image, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		image = rest
	}
	image = strings.ToLower(image)
	return image, image[strings.LastIndex(image, "/")+1:]
}

// ImageWords are the parts of an image's last name, cut at '-', '_' and '.':
// "postgres-backup-local" gives postgres, backup, local.
func ImageWords(image string) []string {
	_, last := ImagePath(image)
	return strings.FieldsFunc(last, func(r rune) bool { return r == '-' || r == '_' || r == '.' })
}

// toolWords in an image's name say that it works on a database and is none.
var toolWords = []string{
	"admin", "adapter", "agent", "backup", "backups", "bouncer", "cli", "client", "cron", "dump", "exporter", "express",
	"init", "mcp", "migrate", "migration", "migrations", "monitor", "operator", "pgadmin", "pgbouncer", "pgpool", "pool",
	"proxy", "restore", "router", "s3", "toolkit", "tools", "ui", "web", "xtrabackup",
}

// IsToolImage says that an image's name is that of a tool for a database, such
// as "postgres-exporter", and not of the database itself.
func IsToolImage(image string) bool {
	return slices.ContainsFunc(ImageWords(image), func(w string) bool { return slices.Contains(toolWords, w) })
}
