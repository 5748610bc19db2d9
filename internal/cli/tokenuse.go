package cli

import (
	"fmt"
	"strings"

	"github.com/baktainer/baktainer/internal/config"
)

// reachableAt lists where other hosts reach the controllers, separated by commas.
func (a *app) reachableAt(members []*memberView) string {
	var all []string
	for _, m := range members {
		if config.CheckAddress(m.Address) == nil {
			all = append(all, m.Address)
		}
	}
	if len(all) == 0 {
		a.say("\nNo controller listens for other hosts yet: start it with --listen :8468 and --advertise HOST:8468.")
		return "HOST:8468"
	}
	return strings.Join(all, ",")
}

// explainToken says what to do with a token on the other host.
func (a *app) explainToken(t *tokenView, controllers string) {
	who := several(int64(t.Uses), t.Role)
	if t.Name != "" {
		who = t.Role + " " + t.Name
	}
	a.say("\nThis token lets %s in, until %s. It is shown this once.", who, a.at(t.ExpiresAt))
	named := func(flag string) string {
		if t.Name == "" {
			return ""
		}
		return " " + flag + " " + t.Name
	}
	variable := func(name string) string {
		if t.Name == "" {
			return ""
		}
		return ", " + name + "=" + t.Name
	}
	switch t.Role {
	case "agent":
		a.say("Put it into a file that only the agent can read, and start the agent on its host:\n")
		a.say("%s", "  baktainer agent --controller "+controllers+" --token-file token"+named("--agent-id"))
		a.say("\nor, for a container, set %s, and %s or %s_FILE.", "BAKTAINER_CONTROLLER="+controllers+variable("BAKTAINER_AGENT_ID"), config.TokenVariable, config.TokenVariable)
	case "controller":
		a.say("Put it into a file that only the controller can read, and start the controller on its host; HOST is how the others reach it:\n")
		a.say("%s", "  baktainer controller --join "+controllers+" --join-token-file token --advertise HOST:8468"+named("--name"))
		a.say("\nor, for a container, set %s, and %s or %s_FILE.", "BAKTAINER_JOIN="+controllers+variable("BAKTAINER_NAME"), config.JoinTokenVariable, config.JoinTokenVariable)
	default:
		a.say("On the operator's own machine, log in; it asks for the token:\n")
		a.say("%s", fmt.Sprintf("  baktainer login --controller %s --ask-token%s", controllers, named("--name")))
	}
}
