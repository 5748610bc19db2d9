package config

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/schedule"
)

// maxShown bounds how much of a wrong value is repeated to the user, in bytes.
const maxShown = 80

// shown is the text as an error may repeat it.
func (s *Setting) shown(text string) string {
	switch {
	case s.secret != nil && (s.secret(text) || strings.ContainsAny(text, "\r\n")):
		return "[hidden]"
	case len(text) > maxShown:
		return strconv.Quote(strings.ToValidUTF8(text[:maxShown], "")) + "…"
	}
	return strconv.Quote(text)
}

func path(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, text string) error {
		switch {
		case text == "":
			return errors.New("want a path")
		case strings.ContainsRune(text, 0):
			return errors.New("a path cannot hold a zero byte")
		}
		whole, err := filepath.Abs(text)
		if err != nil {
			return fmt.Errorf("make the path absolute: %w", err)
		}
		*field(c) = whole
		return nil
	}
}

func choice(set func(*Config, string), allowed ...string) func(*Config, string) error {
	return func(c *Config, text string) error {
		v := strings.ToLower(text)
		if !slices.Contains(allowed, v) {
			return fmt.Errorf("want one of %s%s", strings.Join(allowed, ", "), didYouMean(v, allowed))
		}
		set(c, v)
		return nil
	}
}

func setZone(c *Config, text string) error {
	if text == "" {
		return errors.New("want a time zone such as Europe/Vienna, UTC or Local")
	}
	zone, err := time.LoadLocation(text)
	if err != nil {
		return errors.New("there is no such time zone; want one such as Europe/Vienna, UTC or Local")
	}
	c.Zone = zone
	return nil
}

// number is for settings that are a whole number from least to most.
func number(least, most int, field func(*Config) *int) func(*Config, string) error {
	return func(c *Config, text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			return fmt.Errorf("want a whole number from %d to %d", least, most)
		}
		*field(c) = n
		return nil
	}
}

func setTimeLimit(c *Config, text string) error {
	c.TimeLimit = 0
	if strings.EqualFold(text, "off") {
		return nil
	}
	d, err := schedule.ParseDuration(text)
	if err != nil {
		return errors.New("want a length of time such as 90m, 2h or 1d, or off")
	}
	c.TimeLimit = d
	return nil
}

func getTimeLimit(c *Config) string {
	if c.TimeLimit == 0 {
		return "off"
	}
	return schedule.FormatDuration(c.TimeLimit)
}

// maxCPUs bounds cpus: no machine has more.
const maxCPUs = 4096

func setCPUs(c *Config, text string) error {
	c.CPUs = 0
	if strings.EqualFold(text, "all") {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxCPUs {
		return errors.New("want a whole number from 1 on, or all")
	}
	c.CPUs = n
	return nil
}

func getCPUs(c *Config) string {
	if c.CPUs == 0 {
		return "all"
	}
	return strconv.Itoa(c.CPUs)
}

func setLogLevel(c *Config, text string) error {
	levels := []string{"debug", "info", "warn", "error"}
	v := strings.ToLower(text)
	if v == "warning" {
		v = "warn"
	}
	if !slices.Contains(levels, v) {
		return fmt.Errorf("want one of %s%s", strings.Join(levels, ", "), didYouMean(v, levels))
	}
	return c.LogLevel.UnmarshalText([]byte(v))
}

// leastSize is the smallest size that may be set: a limit under which nothing
// would be done but freeing memory, and a cache of one pack.
const leastSize = 16 << 20

// leastBandwidth is that at which what is sent still arrives before anybody
// takes the sender for lost.
const leastBandwidth = 256 << 10

// units are those of sizes, the largest first.
var units = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// size is for settings that are a number of bytes, at least the least, or off,
// which is none.
func size(least, none int64, put func(*Config, int64)) func(*Config, string) error {
	return func(c *Config, text string) error {
		if strings.EqualFold(text, "off") {
			put(c, none)
			return nil
		}
		for _, u := range units {
			number, ok := strings.CutSuffix(text, u.name)
			if !ok {
				continue
			}
			n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
			if err != nil || n < 0 || n > NoLimit/u.bytes || n*u.bytes < least {
				break
			}
			put(c, n*u.bytes)
			return nil
		}
		return fmt.Errorf("want a size from %s on, such as 96MiB or 1GiB, or off", sizeText(least, none))
	}
}

// sizeText is a number of bytes as it would be set.
func sizeText(n, none int64) string {
	if n == none {
		return "off"
	}
	for _, u := range units {
		if n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

func getMemory(c *Config) string {
	if c.Memory == 0 {
		return ""
	}
	return sizeText(c.Memory, NoLimit)
}

func setOnlyLabelled(c *Config, text string) error {
	c.OnlyLabelled = nil
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if key, _, _ := strings.Cut(part, "="); key == "" || strings.ContainsFunc(key, unicode.IsSpace) {
			return errors.New("want labels, KEY or KEY=VALUE, with commas between")
		}
		c.OnlyLabelled = append(c.OnlyLabelled, part)
	}
	return nil
}

// isUnix says whether a Docker host is reached over a unix socket.
func isUnix(host string) bool { return strings.HasPrefix(host, "unix:") }

func setDockerHost(c *Config, text string) error {
	want := errors.New("want a URL such as unix:///var/run/docker.sock, tcp://host:2376 or https://host:2376")
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return want
	case u.User != nil:
		return errors.New("a user or password in the URL is not supported")
	case u.Scheme == "unix" && strings.HasPrefix(u.Path, "/") && u.Host == "":
	case slices.Contains([]string{"tcp", "http", "https"}, u.Scheme) && u.Host != "":
	default:
		return want
	}
	c.Docker.Host = text
	return nil
}

func isPEM(text string) bool { return strings.Contains(text, "-----BEGIN ") }

// pem takes a path or the PEM itself. What it holds is checked where it is used.
func pem(set func(*Config, string)) func(*Config, string) error {
	return func(c *Config, text string) error {
		switch {
		case text == "":
			return errors.New("want the path of a PEM file, or the PEM itself")
		case !isPEM(text) && strings.ContainsAny(text, "\n\x00"):
			return errors.New("is neither a path nor PEM: there is no line that begins with -----BEGIN")
		}
		set(c, text)
		return nil
	}
}

func name(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, text string) error {
		if err := pki.CheckName(text); err != nil {
			return err
		}
		*field(c) = text
		return nil
	}
}

func setLeaseDuration(c *Config, text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d < 5*time.Second || d > time.Hour {
		return errors.New("want a duration from 5s to 1h")
	}
	c.LeaseDuration = d
	return nil
}

// boolean reads the words for yes and no that the earlier Baktainer's users wrote.
func boolean(text string) (value, ok bool) {
	switch strings.ToLower(text) {
	case "true", "yes", "on", "1":
		return true, true
	case "false", "no", "off", "0", "":
		return false, true
	}
	return false, false
}

// cron reads a cron expression; off makes it empty.
func cron(of func(*Config) *string) func(*Config, string) error {
	return func(c *Config, text string) error {
		*of(c) = ""
		if strings.EqualFold(text, "off") {
			return nil
		}
		if _, err := schedule.Parse(text, time.UTC); err != nil {
			return fmt.Errorf("want a cron expression such as \"0 3 * * *\", or off: %w", err)
		}
		*of(c) = text
		return nil
	}
}
