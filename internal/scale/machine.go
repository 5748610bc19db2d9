package scale

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// machine describes where the run takes place, as far as it can be told.
func machine() Machine {
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	memory, _ := os.ReadFile("/proc/meminfo")
	return machineOf(string(cpu), string(memory))
}

func machineOf(cpu, memory string) Machine {
	m := Machine{Cores: runtime.NumCPU(), CPU: field(cpu, "model name")}
	if kib, err := strconv.ParseInt(strings.TrimSuffix(field(memory, "MemTotal"), " kB"), 10, 64); err == nil {
		m.Memory = kib << 10
	}
	return m
}

// field is the value of the first line that begins with a name.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
