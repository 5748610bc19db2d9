package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// roles are what a token can make of somebody, as words.
var roles = []string{"agent", "controller", "admin", "viewer"}

// completeRoles say what each is good for.
var completeRoles = cobra.FixedCompletions([]cobra.Completion{
	cobra.CompletionWithDesc("agent", "backs up the databases of its host"),
	cobra.CompletionWithDesc("controller", "becomes one of the cluster"),
	cobra.CompletionWithDesc("admin", "an operator who may do everything"),
	cobra.CompletionWithDesc("viewer", "an operator who may look at everything but dumps"),
}, cobra.ShellCompDirectiveNoFileComp)

func viewRole(r pb.Role) string { return word(r.String(), "ROLE_") }

func parseRole(what, text string) (pb.Role, error) {
	if !slices.Contains(roles, text) {
		return 0, problem.New(problem.InvalidInput, "%s %.80q: want one of %s", what, text, strings.Join(roles, ", "))
	}
	return pb.Role(pb.Role_value["ROLE_"+strings.ToUpper(text)]), nil
}
