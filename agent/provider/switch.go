package provider

import "context"

// Condition is what a container is at.
type Condition string

// The conditions.
const (
	Running Condition = "running"
	Paused  Condition = "paused"
	Stopped Condition = "stopped"
	Gone    Condition = "gone"
)

// Switch pauses and stops containers, and has them go on. To act on a container
// that does not exist is a *problem.Problem with code NotFound.
type Switch interface {
	Condition(ctx context.Context, id string) (Condition, error)
	Pause(ctx context.Context, id string) error
	Unpause(ctx context.Context, id string) error
	Stop(ctx context.Context, id string) error
	Start(ctx context.Context, id string) error
}
