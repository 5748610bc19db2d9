package cli

import (
	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/config"
)

func (a *app) agentCommand() *cobra.Command {
	cmd := a.serviceCommand("agent", "Run the agent alone, for controllers on other hosts; or look after agents",
		`Run the agent alone: find the labelled containers of this Docker host, and back them up as the
controllers say. It needs no store and no key: only where a controller is, and at its first start a
token from `+"`baktainer token create --role agent`"+`. It gets a certificate for it, which renews itself. While no
controller answers it tries again, and never ends for it.

The commands below ask a controller about its agents.`, a.roof.Agent)
	cmd.Example = examples(
		"baktainer agent --controller backup.example.com:8468 --token-file token",
		"baktainer agent --controller c1:8468,c2:8468,c3:8468",
		"baktainer agent ls",
		"baktainer agent drain db1",
	)
	for _, below := range []*cobra.Command{a.agentList(), a.agentShow(), a.agentDrain(true), a.agentDrain(false), a.agentSet(), a.agentRevoke(), a.agentLogs()} {
		config.AddAskingFlags(below.Flags())
		cmd.AddCommand(below)
	}
	return cmd
}
