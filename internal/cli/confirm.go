package cli

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/baktainer/baktainer/internal/problem"
)

// asked asks a person who is there to answer.
func (a *app) asked(question string) bool {
	switch strings.ToLower(a.answer(question + " Go on? [y/N] ")) {
	case "y", "yes":
		return true
	}
	return false
}

// answer is the line that a person types, nothing when the program is asked to end.
func (a *app) answer(prompt string) string {
	fmt.Fprint(a.err, printable(prompt))
	line, err := a.awaited(func() (string, error) { return bufio.NewReader(a.in).ReadString('\n') })
	if err != nil {
		fmt.Fprintln(a.err)
	}
	return strings.TrimSpace(line)
}

// awaited is what read gives. When the program is asked to end it is left behind,
// since nothing wakes who reads from a terminal.
func (a *app) awaited(read func() (string, error)) (string, error) {
	type typed struct {
		text string
		err  error
	}
	came := make(chan typed, 1)
	go func() {
		text, err := read()
		came <- typed{text, err}
	}()
	select {
	case t := <-came:
		return t.text, t.err
	case <-a.interrupted:
		return "", problem.New(problem.Cancelled, "nothing was typed")
	}
}

// yes asks a person when there is one.
func (a *app) yes(assent bool, question string) error {
	if assent || !terminal(a.in) || a.asked(question) {
		return nil
	}
	return problem.New(problem.Cancelled, "nothing was changed")
}

// sure asks before something that cannot be taken back. Who cannot be asked has
// to say so beforehand.
func (a *app) sure(assent bool, question string) error {
	if !assent && !terminal(a.in) {
		return problem.New(problem.InvalidInput, "nobody is there to ask, and --yes was not given").WithHint("%s When that is what you want, say --yes.", question)
	}
	return a.yes(assent, question)
}

// confirmation is what has to be typed, and what that is.
type confirmation struct{ what, word string }

// typed lets nobody by who has not typed the word: here, or in a flag --confirm.
func (a *app) typed(given string, c confirmation, question string) error {
	if given == "" && !terminal(a.in) {
		return problem.New(problem.InvalidInput, "nobody is there to ask, and --confirm was not given").
			WithHint("%s When that is what you want, give %s: --confirm %s", question, c.what, c.word)
	}
	if given == "" {
		given = a.answer(fmt.Sprintf("%s\nType %s, %s, to go on: ", question, c.what, c.word))
	}
	if given != c.word || c.word == "" {
		return problem.New(problem.Cancelled, "that is not %s: nothing was changed", c.what).WithHint("It is %s.", c.word)
	}
	return nil
}
