package cli

import "github.com/spf13/cobra"

func (a *app) controllerCommand() *cobra.Command {
	cmd := a.serviceCommand("controller", "Run a controller alone, for agents and controllers on other hosts",
		`Run a controller alone: schedules, runs, ledger, store and status page, for agents on this and other
hosts. They come in over TLS at --listen, with a certificate that they get for a token; the command line
uses the unix socket as with `+"`baktainer up`"+`.

One controller is a cluster of its own. Others join it with --join and a token from
`+"`baktainer token create --role controller`"+`; three controllers go on when one fails, five when two do. To start
three at once, give each the same token from `+"`baktainer token generate`"+`, --bootstrap-expect 3, and the
addresses of all with --join.`, a.roof.Controller)
	cmd.Example = examples(
		"baktainer controller --advertise c1.example.com:8468",
		"baktainer controller --advertise c2.example.com:8468 --join c1.example.com:8468 --join-token-file token",
		"baktainer controller --bootstrap-expect 3 --join dns+tasks.controller:8468 --join-token-file /run/secrets/token",
	)
	cmd.AddCommand(a.controllerRecover())
	return cmd
}
