// Package version says which build this is.
package version

import "runtime/debug"

// Version is set by the linker (-X) in release builds.
var Version = ""

// String returns the version of this build: the linker's, else the module's,
// else the revision recorded by the Go toolchain, else "devel".
func String() string {
	if Version != "" {
		return Version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
