package world

import (
	"fmt"
	"reflect"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/integration/simulate/ground"
)

// partitionMessages are all messages that a partition's state machine receives.
func partitionMessages() []any {
	return []any{
		actors.ShardReady{},
		actors.Arrived{},
		actors.Worked{},
		actors.AgentFailed{},
		actors.Ask{},
		actors.Applied{},
		actors.Sealed{},
		actors.ShardFailed{},
		actors.ShardLate{},
		actors.Undone{},
		actors.SealRound{},
		actors.Decided{},
		actors.Wake{},
		actors.Resume{},
		actors.Leave{},
	}
}

// phases are those of a partition; careful is running, while a record at fault is looked for.
var phases = []string{"restoring", "running", "careful", "undoing", "stopping", "finishing", "gone"}

// Table is how often each message of a partition met each of its phases.
func Table(met map[ground.Meeting]int) []Cell {
	var all []Cell
	for _, m := range partitionMessages() {
		t := reflect.TypeOf(m)
		for _, phase := range phases {
			name := fmt.Sprintf("%s in %s", t.Name(), phase)
			all = append(all, Cell{name, met[ground.Meeting{Message: t, Phase: phase}], never[name]})
		}
	}
	return all
}

// Cell is a message of a partition that comes in one of its phases.
type Cell struct {
	Name  string
	Count int
	Never string // why it cannot be; empty: it can
}

// never is why messages cannot come in a phase.
var never = map[string]string{}
