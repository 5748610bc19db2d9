package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/config"
)

// rootFlags are the settings whose flags all commands have.
var rootFlags = []string{"socket", "data-dir"}

func (a *app) configCommand() *cobra.Command {
	docs := &cobra.Command{
		Use: "docs", Short: "Print docs/configuration.md", Hidden: true, Args: arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprint(a.out, config.Markdown())
			return nil
		},
	}
	return group("config", "What is set, and whether it is right", "", a.configCheck(), a.configShow(), docs)
}

func (a *app) configCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check all settings without starting anything", Args: arguments(0, 0),
		Long: "Check flags, variables and the settings file, and tell all that is wrong.\n\nExit status: 0 all is right, 2 something is wrong.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, warnings, err := a.settings(cmd)
			a.warn(warnings)
			if err != nil {
				return err
			}
			if a.roof.CheckSettings != nil {
				if err := a.roof.CheckSettings(c); err != nil {
					return err
				}
			}
			a.say("All settings are right.")
			return nil
		},
	}
	config.AddFlags(cmd.Flags(), "", rootFlags...)
	return cmd
}

func (a *app) warn(warnings []string) {
	for _, w := range warnings {
		fmt.Fprintf(a.err, "%s%s\n", a.paint(a.err, "warning: ", yellow), printable(w))
	}
}

// settingView is what `config show -o json` prints of each setting.
type settingView struct {
	Name   string `json:"name" doc:"the setting"`
	Value  string `json:"value" doc:"its value as text, secrets as [hidden]"`
	Origin string `json:"origin" doc:"where the value was found: a flag, a variable, FILE:LINE, or default"`
}

func (a *app) configShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show", Short: "Print all settings and where each was found", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, warnings, err := a.settings(cmd)
			a.warn(warnings)
			if err != nil {
				return err
			}
			var all []settingView
			var ids []string
			var rows [][]string
			for _, s := range config.Settings() {
				v := settingView{s.Name, s.Value(c), c.Origins[s.Name]}
				if s.Hidden && v.Origin == "default" && !a.verbose {
					continue
				}
				all, ids = append(all, v), append(ids, v.Name)
				rows = append(rows, []string{v.Name, v.Value, v.Origin})
			}
			return a.print(all, ids, func() { a.table([]string{"SETTING", "VALUE", "FROM"}, rows) })
		},
	}
	config.AddFlags(cmd.Flags(), "", rootFlags...)
	return cmd
}
