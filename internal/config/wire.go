package config

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/source"
)

// wireSettings are about how controllers, agents and operators find each other
// and let each other in.
var wireSettings = []*Setting{
	{
		Name: "listen", Kind: "address", Commands: remembers, where: listenAt, DefaultText: ":8468 for `controller`, off for `up`",
		Doc: "Where the controller waits for agents, other controllers and operators, HOST:PORT, or with `up` off: then it has only the agent in its own process. " +
			"It is one port for everything. Only who shows a certificate, or has a token, gets in.",
		set: address(func(c *Config) *string { return &c.Listen }, ":8468", "off"),
		get: func(c *Config) string { return cmp.Or(c.Listen, "off") },
	},
	{
		Name: "name", Kind: "name", Commands: remembers, DefaultText: "the one kept in data-dir, else the host's name",
		Doc: "Name of this controller among the others: letters, digits, '_', '.' and '-'. It stays the same for good, and no two of a cluster have the same.",
		set: name(func(c *Config) *string { return &c.Name }),
		get: func(c *Config) string { return c.Name },
	},
	{
		Name: "advertise", Kind: "address", Commands: remembers, DefaultText: "the host's name, and the port of listen",
		Doc: "Where agents, other controllers and operators reach this controller, HOST:PORT. A name is better than an IP address: it is looked up anew each time.",
		set: reachable(func(c *Config) *string { return &c.Advertise }),
		get: func(c *Config) string { return c.Advertise },
	},
	{
		Name: "join", Kind: "addresses", Commands: []string{"controller"}, DefaultText: "none: a cluster of its own",
		Doc: "Other controllers, whose cluster this one joins: HOST:PORT, several separated by commas, or dns+NAME:PORT for all addresses of a name. " +
			"Once it is a member the setting has no effect.",
		set: addresses(func(c *Config) *[]string { return &c.Join }),
		get: func(c *Config) string { return strings.Join(c.Join, ",") },
	},
	{
		Name: "join-token-file", Kind: "path", Commands: []string{"controller"}, DefaultText: "none",
		Doc: "File with the token that lets this controller join, from `baktainer token create --role controller`; the variable " + JoinTokenVariable + " may hold the token itself. " +
			"With bootstrap-expect it is the same for all, from `baktainer token generate`. It is not needed any more once the controller is a member.",
		set: path(func(c *Config) *string { return &c.JoinToken.File }),
		get: func(c *Config) string { return c.JoinToken.File },
	},
	{
		Name: "bootstrap-expect", Kind: "number", Commands: []string{"controller"}, Default: "1",
		Doc: "How many controllers start together, with the same token, to make a new cluster: 1, 3 or 5. They wait until so many see each other by join. " +
			"Once there is a cluster the setting has no effect.",
		set: setExpect,
		get: func(c *Config) string { return strconv.Itoa(c.Expect) },
	},
	{
		Name: "controller", Kind: "addresses", Commands: []string{"agent"}, Required: true, DefaultText: "none",
		Asking: "Ask a controller over TLS rather than the one at the socket: HOST:PORT, several separated by commas, or dns+NAME:PORT.",
		Doc: "Where a controller is: HOST:PORT, several separated by commas, or dns+NAME:PORT for all addresses of a name. An agent needs it; it learns of all other controllers by itself. " +
			"A command that asks a controller takes this way, over TLS, when it is set by the flag or the variable, or when there is no socket.",
		set: addresses(func(c *Config) *[]string { return &c.Controllers }),
		get: func(c *Config) string { return strings.Join(c.Controllers, ",") },
	},
	{
		Name: "token-file", Kind: "path", Commands: []string{"agent", "login"}, DefaultText: "none",
		Doc: "File with the token that is exchanged for a certificate, from `baktainer token create`; the variable " + TokenVariable + " may hold the token itself. " +
			"It is not needed any more once there is a certificate: that of an agent is kept in data-dir, and renews itself.",
		set: path(func(c *Config) *string { return &c.Token.File }),
		get: func(c *Config) string { return c.Token.File },
	},
	{
		Name: "tls-ca", Kind: "pem", Commands: apart, DefaultText: "none: the cluster's own",
		Asking: "Certificate authority of your own that the controller is known by: a PEM file, or the PEM itself. With it nobody needs to log in.",
		Doc: "For a certificate authority of your own, instead of the one that is built in: the authority that controllers, agents and operators trust to vouch for each other, " +
			"as the path of a PEM file, or the PEM itself. With tls-ca, tls-cert and tls-key nobody needs a token, and nobody renews certificates but you.",
		set: pem(func(c *Config, v string) { c.TLS.CA = v }),
		get: func(c *Config) string { return c.TLS.CA },
	},
	{
		Name: "tls-cert", Kind: "pem", Commands: apart, DefaultText: "none: one from the cluster's own authority",
		Asking: "Certificate of that authority to show to the controller.",
		Doc: "Certificate of that authority to show the others: the path of a PEM file, or the PEM itself. It says who this is by a URI spiffe://ANYTHING/ROLE/NAME, " +
			"where ROLE is controller, agent, admin or viewer; one without such a URI is that of the agent in its common name.",
		set: pem(func(c *Config, v string) { c.TLS.Cert = v }),
		get: func(c *Config) string { return c.TLS.Cert },
	},
	{
		Name: "tls-key", Kind: "pem", Commands: apart, DefaultText: "none",
		Asking: "Key of that certificate.",
		Doc:    "Key of that certificate: the path of a PEM file, or the PEM itself.",
		set:    pem(func(c *Config, v string) { c.TLS.Key = source.Secret(v) }),
		get:    func(c *Config) string { return c.TLS.Key.Reveal() },
		secret: isPEM,
	},
}

// listenAt is the default of listen: a controller apart is of no use without a
// port, and one beside its only agent needs none.
func listenAt(c circumstances) string {
	if c.command == "up" {
		return "off"
	}
	return ":8468"
}

func setExpect(c *Config, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n != 1 && n != 3 && n != 5 {
		return errors.New("want 1, 3 or 5")
	}
	c.Expect = n
	return nil
}

// wire checks what only makes sense together of who reaches whom.
func (l *loader) wire(c *Config, command string) {
	l.tokens(c)
	l.ownAuthority(c)
	if command == "controller" && c.Listen == "" {
		l.wrong = append(l.wrong, fmt.Sprintf("listen (%s): off is for `baktainer up`: a controller alone is there for others", c.Origins["listen"]))
	}
	if c.Expect > 1 && len(c.Join) == 0 {
		l.wrong = append(l.wrong, fmt.Sprintf("bootstrap-expect (%s): needs join, to find the others: set --join or BAKTAINER_JOIN", c.Origins["bootstrap-expect"]))
	}
	if command == "up" && c.Advertise != "" && c.Listen == "" {
		l.warnings = append(l.warnings, "advertise: has no effect while listen is off")
	}
	if c.JoinToken.Given() && len(c.Join) == 0 {
		l.warnings = append(l.warnings, "join-token-file: has no effect without join")
	}
}

// ownAuthority checks that the three settings for an authority of the user's own are there together.
func (l *loader) ownAuthority(c *Config) {
	var missing []string
	for _, name := range []string{"tls-ca", "tls-cert", "tls-key"} {
		if find(name).get(c) == "" {
			missing = append(missing, name)
		}
	}
	if c.TLS.Given() && len(missing) > 0 {
		l.wrong = append(l.wrong, "tls-ca, tls-cert and tls-key belong together: not set: "+strings.Join(missing, ", "))
	}
	if c.TLS.Given() && c.Token.Given() {
		l.warnings = append(l.warnings, "token-file: has no effect with tls-ca, tls-cert and tls-key: who has a certificate needs no token")
	}
}
