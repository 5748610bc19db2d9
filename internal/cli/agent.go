package cli

import "github.com/spf13/cobra"

func (a *app) agentCommand() *cobra.Command {
	cmd := a.serviceCommand("agent", "Run the agent alone, for a controller on another host",
		`Run the agent alone: find the labelled containers of this Docker host, and back them up as the
controller says. It needs no store and no key. While the controller is away it tries again, and never
ends for it. The controller knows the agent by the name in its certificate: a URI
spiffe://ANYTHING/agent/NAME, or else the common name.`, a.roof.Agent)
	cmd.Example = examples("baktainer agent --controller backup.example.com:8468 --tls-ca ca.pem --tls-cert db1.pem --tls-key db1.key")
	return cmd
}
