package plan

import "math/rand/v2"

// short are the kinds of a short run, in the order in which they come as long as
// there is time: the phases are the seed's choice.
var short = []Kind{KillLeader, KillIngest, StopAgent, Isolate, KillAgent, HandOver, KillIngest, RestartAll, KillLeader, CutOut, KillAgent, TermLeader}

// Short is a plan of few faults, for CI.
func Short(seed uint64) []Fault {
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // it is to be repeatable
	var all []Fault
	for i, kind := range short {
		for _, s := range sorts {
			if s.kind != kind {
				continue
			}
			f := Fault{N: i + 1, Kind: kind, Phase: s.phases[random.IntN(len(s.phases))], Source: random.IntN(60), Dice: random.Uint64(), Lasts: s.from}
			all = append(all, f)
		}
	}
	return all
}
