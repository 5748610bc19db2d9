package config

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
)

// legacyNames are the variables of the earlier Baktainer that mean what a
// setting of today means, with the same values.
var legacyNames = map[string]string{
	"BT_BACKUP_DIR": "data-dir",
	"BT_CRON":       "schedule",
	"BT_THREADS":    "concurrency",
	"BT_LOG_LEVEL":  "log-level",
	"BT_DOCKER_URL": "docker-host",
}

// legacyOthers are those that loader.legacy reads one by one.
var legacyOthers = []string{
	"BT_COMPRESS", "BT_SSL", "BT_CA", "BT_CERT", "BT_KEY",
	"BT_HEALTH_SERVER_ENABLED", "BT_HEALTH_PORT", "BT_HEALTH_BIND",
	"BT_ROTATION_ENABLED", "BT_RETENTION_DAYS", "BT_RETENTION_COUNT", "BT_MIN_FREE_SPACE_GB",
}

// unusedLegacy are those without a meaning today, and why. The order is that of the documentation.
var unusedLegacy = []struct{ names, why string }{
	{"BT_ENCRYPTION_ENABLED BT_ENCRYPTION_KEY BT_ENCRYPTION_KEY_FILE BT_ENCRYPTION_PASSPHRASE",
		"snapshots are always encrypted, with the key in key-file; files of the earlier format are not read"},
	{"BT_KEY_ROTATION_ENABLED", "keys are not rotated in this version"},
}

// legacy collects what the variables BT_… say, warns of those that have no
// meaning any more, and finds unknown ones.
func (l *loader) legacy(c *Config) []given {
	var values []given
	known := slices.Concat(legacyOthers, legacyNotifyNames(), slices.Sorted(maps.Keys(legacyNames)))
	for _, name := range slices.Sorted(maps.Keys(legacyNames)) {
		if text, origin, ok := l.variable(name); ok {
			values = append(values, given{find(legacyNames[name]), text, origin})
		}
	}
	for _, unused := range unusedLegacy {
		for name := range strings.FieldsSeq(unused.names) {
			known = append(known, name)
			if l.env[name] != "" {
				l.warn(name, "%s", unused.why)
			}
		}
	}
	for _, name := range slices.Clone(known) {
		known = append(known, name+"_FILE")
	}
	l.unknown("BT_", known)
	values = append(values, l.legacyCompress()...)
	values = append(values, l.legacyTLS()...)
	values = append(values, l.legacyNotify(c)...)
	values = append(values, l.legacyRetention()...)
	values = append(values, l.legacySpace()...)
	return append(values, l.legacyHealth()...)
}

func (l *loader) warn(name, format string, args ...any) {
	l.warnings = append(l.warnings, name+": "+fmt.Sprintf(format, args...))
}

// flagLike reads a legacy variable that is true or false.
func (l *loader) flagLike(name string) (value bool, origin string, ok bool) {
	text, origin, ok := l.variable(name)
	if !ok {
		return false, "", false
	}
	value, ok = boolean(text)
	if !ok {
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %q: want true or false", origin, text))
	}
	return value, origin, ok
}

func (l *loader) legacyCompress() []given {
	on, origin, ok := l.flagLike("BT_COMPRESS")
	if !ok {
		return nil
	}
	text := "off"
	if on {
		text = "default"
	}
	return []given{{find("compress"), text, origin}}
}

// legacyTLS takes the certificates only under BT_SSL=true, as it was.
func (l *loader) legacyTLS() []given {
	var values []given
	on, _, _ := l.flagLike("BT_SSL")
	for _, pair := range [][2]string{{"BT_CA", "docker-ca"}, {"BT_CERT", "docker-cert"}, {"BT_KEY", "docker-key"}} {
		text, origin, ok := l.variable(pair[0])
		switch {
		case ok && on:
			values = append(values, given{find(pair[1]), text, origin})
		case ok:
			l.warn(pair[0], "has no effect unless BT_SSL is true")
		}
	}
	if on && len(values) == 0 {
		l.warn("BT_SSL", "has no effect without BT_CA, BT_CERT and BT_KEY; with a public certificate an https:// URL is enough")
	}
	return values
}

// legacyHealth makes one address of the three variables. The server was off
// unless enabled; here it is on, so an address alone only moves it.
func (l *loader) legacyHealth() []given {
	on, origin, enabled := l.flagLike("BT_HEALTH_SERVER_ENABLED")
	port, portOrigin, hasPort := l.variable("BT_HEALTH_PORT")
	bind, bindOrigin, hasBind := l.variable("BT_HEALTH_BIND")
	s := find("http-listen")
	switch {
	case enabled && !on:
		return []given{{s, "off", origin}}
	case enabled:
		bind = cmp.Or(bind, "0.0.0.0")
	case !hasPort && !hasBind:
		return nil
	}
	address := net.JoinHostPort(cmp.Or(bind, "127.0.0.1"), cmp.Or(port, "8080"))
	return []given{{s, address, cmp.Or(portOrigin, bindOrigin, origin)}}
}

// find returns the setting of that name, nil when there is none.
func find(name string) *Setting {
	for _, s := range settings {
		if s.Name == name {
			return s
		}
	}
	return nil
}
