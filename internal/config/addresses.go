package config

import (
	"errors"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// address takes HOST:PORT to listen on; off, where that is a word, is for none.
func address(field func(*Config) *string, example, off string) func(*Config, string) error {
	want := "want HOST:PORT, such as " + example + " or :8080"
	if off != "" {
		want += ", or " + off
	}
	return func(c *Config, text string) error {
		if off != "" && strings.EqualFold(text, off) {
			*field(c) = ""
			return nil
		}
		if _, ok := hostPort(text); !ok {
			return errors.New(want)
		}
		*field(c) = text
		return nil
	}
}

// hostPort gives the host of HOST:PORT; ok says that the port is a port.
func hostPort(text string) (host string, ok bool) {
	host, port, err := net.SplitHostPort(text)
	n, portErr := strconv.ParseUint(port, 10, 16)
	return host, err == nil && portErr == nil && n > 0
}

// LookUp begins an address that stands for all addresses of a name: dns+NAME:PORT.
const LookUp = "dns+"

// hostForm is what a name of a host can look like; those of containers may have underscores.
var hostForm = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?$`)

// CheckAddress says what is wrong with an address at which others are to be
// reached, if anything: it needs a host.
func CheckAddress(text string) error {
	host, ok := hostPort(text)
	if _, err := netip.ParseAddr(host); !ok || err != nil && !hostForm.MatchString(host) {
		return errors.New("want HOST:PORT, such as backup.example.com:8468")
	}
	return nil
}

// reachable takes HOST:PORT at which others reach this process.
func reachable(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, text string) error {
		if err := CheckAddress(text); err != nil {
			return err
		}
		*field(c) = text
		return nil
	}
}

// addresses takes one or more HOST:PORT or dns+NAME:PORT, separated by commas.
func addresses(field func(*Config) *[]string) func(*Config, string) error {
	return func(c *Config, text string) error {
		all, err := Addresses(text)
		if err != nil {
			return err
		}
		*field(c) = all
		return nil
	}
}

// Addresses reads one or more HOST:PORT or dns+NAME:PORT, separated by commas.
// What is named twice counts once.
func Addresses(text string) ([]string, error) {
	var all []string
	for one := range strings.SplitSeq(text, ",") {
		one = strings.TrimSpace(one)
		if CheckAddress(strings.TrimPrefix(one, LookUp)) != nil {
			return nil, errors.New("want HOST:PORT, such as backup.example.com:8468, several of them separated by commas, or dns+NAME:PORT")
		}
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all, nil
}
