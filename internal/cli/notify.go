package cli

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/condition"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// notifyView is what `notify ls -o json` prints.
type notifyView struct {
	Conditions []*conditionView `json:"conditions" doc:"what is wrong now: event, of, name, title, since, message, hint, run, quiet"`
	Channels   []*channelView   `json:"channels" doc:"who is told: name, waiting, sent_at, error"`
}

type conditionView struct {
	Event   string     `json:"event"`
	Of      string     `json:"of"`
	Name    string     `json:"name"`
	Title   string     `json:"title"`
	Since   *time.Time `json:"since,omitempty"`
	Message string     `json:"message"`
	Hint    string     `json:"hint"`
	Run     string     `json:"run"`
	Quiet   bool       `json:"quiet"` // nobody is told of it
}

type channelView struct {
	Name    string     `json:"name"`
	Waiting int32      `json:"waiting"`
	SentAt  *time.Time `json:"sent_at,omitempty"`
	Error   string     `json:"error"`
}

// testView is what `notify test -o json` prints of each channel.
type testView struct {
	Channel string `json:"channel" doc:"kind and host of who is told; no secret is in it"`
	OK      bool   `json:"ok" doc:"the service took the message"`
	Error   string `json:"error" doc:"what went wrong, without secrets"`
	Hint    string `json:"hint" doc:"what to do about it"`
}

func viewCondition(c *pb.Condition) *conditionView {
	words := condition.Of(c.GetKind())
	return &conditionView{
		Event: string(words.Event), Of: words.Of, Name: c.GetSubject(), Title: words.Began, Since: moment(c.GetOpenedAt()),
		Message: c.GetMessage(), Hint: c.GetHint(), Run: c.GetRun(), Quiet: c.GetQuiet(),
	}
}

func viewChannel(c *pb.Channel) *channelView {
	return &channelView{c.GetName(), c.GetWaiting(), moment(c.GetSentAt()), c.GetError()}
}

func viewTest(t *pb.ChannelTest) *testView {
	return &testView{t.GetChannel(), t.GetOk(), t.GetError(), t.GetHint()}
}

func (a *app) notifyCommand() *cobra.Command {
	return group("notify", "What is wrong, and who is told",
		`People are told when something goes wrong, and when it is well again: by mail, chat, push message or webhook. The setting
notify-file names a file with the URLs of those who are; docs/notifications.md has all there is to say about it.`,
		a.notifyList(), a.notifyTest())
}

func (a *app) withNotify(cmd *cobra.Command, work func(context.Context, pb.NotifyServiceClient) error) error {
	return a.connected(cmd, with(pb.NewNotifyServiceClient, work))
}

func (a *app) notifyList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List what is wrong now, and how far those who are told have been told", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withNotify(cmd, func(ctx context.Context, client pb.NotifyServiceClient) error {
				resp, err := client.ListConditions(ctx, &pb.ListConditionsRequest{})
				if err != nil {
					return err
				}
				v := notifyView{views(resp.GetConditions(), viewCondition), views(resp.GetChannels(), viewChannel)}
				names := make([]string, len(v.Conditions))
				for i, c := range v.Conditions {
					names[i] = c.Name
				}
				return a.print(v, names, func() { a.showNotify(v) })
			})
		},
	}
}

func (a *app) showNotify(v notifyView) {
	rows := a.conditionRows(v.Conditions)
	if len(rows) == 0 {
		a.say("Nothing is wrong.")
	} else {
		a.table([]string{"OF", "NAME", "WHAT", "SINCE", "MORE"}, rows)
	}
	if len(v.Channels) == 0 {
		a.say("Nobody is told: notify-file names nobody.")
		return
	}
	rows = make([][]string, len(v.Channels))
	for i, c := range v.Channels {
		rows[i] = []string{c.Name, a.when(c.SentAt), strconv.Itoa(int(c.Waiting)), c.Error}
	}
	a.table([]string{"TOLD", "LAST", "WAITING", "WHY"}, rows)
}

// conditionRows are of what, its name, what is wrong with it, since when, and more.
func (a *app) conditionRows(conditions []*conditionView) [][]string {
	rows := make([][]string, len(conditions))
	for i, c := range conditions {
		rows[i] = []string{c.Of, c.Name, c.Title, a.when(c.Since), a.hinted(c.Message, c.Hint)}
	}
	return rows
}

// hinted adds what to do about it, for those who want to read more.
func (a *app) hinted(message, hint string) string {
	if a.verbose && hint != "" {
		message += " → " + hint
	}
	return message
}

func (a *app) notifyTest() *cobra.Command {
	return &cobra.Command{
		Use: "test", Short: "Send a test message to everybody who is told, and say how that went",
		Long: `Send a test message to everybody who is told, once and at once, from the controller that leads, and say how that went.

Exit status: 0 all services took it, 1 none did, 3 some did not.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withNotify(cmd, func(ctx context.Context, client pb.NotifyServiceClient) error {
				resp, err := client.TestNotification(ctx, &pb.TestNotificationRequest{})
				if err != nil {
					return err
				}
				return a.showTests(views(resp.GetTests(), viewTest))
			})
		},
	}
}

func (a *app) showTests(tests []*testView) error {
	var names, wrong []string
	failed := 0
	rows := make([][]string, len(tests))
	for i, t := range tests {
		result := "done"
		if names = append(names, t.Channel); !t.OK {
			result = "failed"
			failed++
			wrong = append(wrong, t.Channel+": "+t.Error)
			if t.Hint != "" {
				wrong = append(wrong, "  → "+t.Hint)
			}
		}
		rows[i] = []string{t.Channel, result}
	}
	if err := a.print(tests, names, func() { a.table([]string{"CHANNEL", "RESULT"}, rows) }); err != nil {
		return err
	}
	switch failed {
	case 0:
		a.say("Every service took the message; look whether it has arrived.")
		return nil
	case len(tests):
		return problem.New(problem.Failed, "nobody could be told").WithDetails(wrong...)
	}
	return problem.New(problem.PartlyFailed, "%d of %d could not be told", failed, len(tests)).WithDetails(wrong...)
}
