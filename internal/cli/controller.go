package cli

import "github.com/spf13/cobra"

func (a *app) controllerCommand() *cobra.Command {
	cmd := a.serviceCommand("controller", "Run the controller alone, for agents on other hosts",
		`Run the controller alone: schedules, runs, ledger, store and status page, for agents on this and
other hosts. They come in by mutual TLS at --listen; the command line uses the unix socket as with
`+"`baktainer up`"+`. Certificate, key and the authority that signed both ends are yours to make: the README
has the commands.`, a.roof.Controller)
	cmd.Example = examples("baktainer controller --tls-ca ca.pem --tls-cert controller.pem --tls-key controller.key")
	return cmd
}
