package engine

import (
	"context"

	"github.com/baktainer/baktainer/internal/source"
)

// Sidecar is a throw-away container beside an instance: it has the programs of
// another image and the network of the instance, and nothing else of it. A
// server that answers at the loopback is reached from there; sockets and files
// are not.
type Sidecar interface {
	// Exec is as that of an Instance.
	Exec(context.Context, Command) (Process, error)
	// Close ends it, and whatever runs in it.
	Close()
}

// Equip gives the instance with the tools that a spec asks for: when it names an
// image for them, programs are run in a side-car of that, and all else is done
// in the instance itself. release has to be called in the end.
func Equip(ctx context.Context, inst Instance, spec source.Spec) (tooled Instance, release func(), err error) {
	if _, already := inst.(*equipped); already || spec.Tools.Image == "" {
		return inst, func() {}, nil
	}
	memory := spec.Tools.Memory
	if memory == 0 {
		memory = source.DefaultToolsMemory
	}
	tools, err := inst.Sidecar(ctx, spec.Tools.Image, memory)
	if err != nil {
		return nil, nil, err
	}
	return &equipped{Instance: inst, tools: tools, image: spec.Tools.Image}, tools.Close, nil
}

// equipped is an instance whose programs are those of a side-car.
type equipped struct {
	Instance
	tools Sidecar
	image string
}

// Exec implements Instance.
func (e *equipped) Exec(ctx context.Context, cmd Command) (Process, error) {
	return e.tools.Exec(ctx, cmd)
}

// LocalHosts are where tools may look for the server of their instance, best first;
// empty is its socket. From a side-car there is no way to that.
func LocalHosts(spec source.Spec) []string {
	const loopback = "127.0.0.1"
	if spec.Tools.Image != "" {
		return []string{loopback}
	}
	return []string{"", loopback}
}

// NoSidecar is the complaint of an engine whose tools cannot be those of a
// side-car, when a spec asks for one; why says what they need, as in "they read
// the files of the database".
func NoSidecar(spec source.Spec, why string) []Complaint {
	if spec.Tools.Image == "" {
		return nil
	}
	return []Complaint{{
		Label: "baktainer.tools.image", Reason: "the tools of another image cannot be used for this kind of database: " + why,
		Suggestion: "leave the label out",
	}}
}

// toolsOf begins a sentence on the programs that an instance has.
func toolsOf(inst Instance) string {
	if e, borrowed := inst.(*equipped); borrowed {
		return "the image " + e.image + " (baktainer.tools.image) has"
	}
	return "the container has"
}
