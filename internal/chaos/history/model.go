package history

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// known is what the model's machine knows of one run.
type known struct {
	epoch    uint64
	holder   string // the agent that has the lease of that epoch
	ended    bool
	snapshot string // the one committed, when it ended by that
}

// next gives the states that the machine may be in after the operation with its
// outcome; none when it cannot have come about.
//
// What happens without any client being told is left open where it can be: a
// lease ends, a run is given up. So a refusal is always possible, but for one:
// what was committed is committed when it is asked for again.
func (k known) next(o Op) []known {
	stays := []known{k}
	switch o.Kind {
	case Grant:
		if k.ended || o.Epoch <= k.epoch {
			return nil
		}
		return []known{{epoch: o.Epoch, holder: o.Agent}}
	case Renew:
		if o.Outcome == Done && (o.Epoch > k.epoch || o.Epoch == k.epoch && o.Agent != k.holder) {
			return nil
		}
		return stays
	case Read:
		if o.Snapshot != k.snapshot {
			return nil
		}
		return stays
	case Commit:
		return k.either(o, k.commit(o))
	case Finish:
		return k.either(o, k.finish(o))
	}
	return nil
}

// either chooses by the outcome between what an operation does and nothing.
func (k known) either(o Op, done *known) []known {
	switch {
	case o.Outcome == Done && done == nil:
		return nil
	case o.Outcome == Done:
		return []known{*done}
	case o.Outcome == Unknown && done != nil && *done != k:
		return []known{k, *done}
	case o.Outcome == Refused && o.Kind == Commit && done != nil && k.ended:
		return nil // it is refused what it was granted before
	}
	return []known{k}
}

// commit gives the state after a commit that is granted; nil: it must not be.
func (k known) commit(o Op) *known {
	switch {
	case o.Epoch != k.epoch || o.Agent != k.holder || o.Snapshot == "":
		return nil
	case k.ended && k.snapshot != o.Snapshot:
		return nil
	}
	k.ended, k.snapshot = true, o.Snapshot
	return &k
}

// finish gives the state after the end of a run that failed.
func (k known) finish(o Op) *known {
	if o.Epoch != k.epoch || o.Agent != k.holder || k.snapshot != "" {
		return nil
	}
	k.ended = true
	return &k
}

// model is the machine as porcupine wants it. Runs are independent.
func model() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byRun := map[string]int{}
			var parts [][]porcupine.Operation
			for _, op := range all {
				run := opOf(op.Input).Run
				i, ok := byRun[run]
				if !ok {
					i = len(parts)
					byRun[run] = i
					parts = append(parts, nil)
				}
				parts[i] = append(parts[i], op)
			}
			return parts
		},
		Init: func() []any { return []any{known{}} },
		Step: func(state, input, _ any) []any {
			k, _ := state.(known)
			var next []any
			for _, n := range k.next(opOf(input)) {
				next = append(next, n)
			}
			return next
		},
		DescribeOperation: func(input, _ any) string { return opOf(input).String() },
		DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
	}
	return m.ToModel()
}

func opOf(input any) Op {
	o, _ := input.(Op)
	return o
}

// String is the operation for people.
func (o Op) String() string {
	s := fmt.Sprintf("%s run %.8s epoch %d by %s", o.Kind, o.Run, o.Epoch, o.Agent)
	if o.Snapshot != "" {
		s += " snapshot " + o.Snapshot
	}
	if o.Forged {
		s += " (forged)"
	}
	return s + ": " + string(o.Outcome)
}
