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
		actors.Waits{},
		actors.Applied{},
		actors.Sealed{},
		actors.ShardFailed{},
		actors.ShardLate{},
		actors.Undone{},
		actors.Collected{},
		actors.SealRound{},
		actors.Decided{},
		actors.Delivered{},
		actors.Wake{},
		actors.Resume{},
		actors.Leave{},
	}
}

// phases are those of a partition that a message is looked at in; careful is running, while a record at fault is looked for. One
// that is gone has given way to another and is being stopped: it drops whatever still comes, of any kind.
var phases = []string{"restoring", "running", "careful", "undoing", "stopping", "finishing"}

// Cell is a message of a partition that comes in one of its phases.
type Cell struct {
	Name  string
	Count int
	Never string // why it cannot be; empty: it can
	Rare  string // why thousands of runs may not see it; empty: they do
}

// Table is how often each message of a partition met each of its phases.
func Table(met map[ground.Meeting]int) []Cell {
	var all []Cell
	gone := Cell{Name: "any in gone"}
	for m, n := range met {
		if m.Phase == "gone" && m.Message.PkgPath() == reflect.TypeFor[actors.Leave]().PkgPath() {
			gone.Count += n
		}
	}
	for _, m := range partitionMessages() {
		t := reflect.TypeOf(m)
		for _, phase := range phases {
			name := fmt.Sprintf("%s in %s", t.Name(), phase)
			all = append(all, Cell{name, met[ground.Meeting{Message: t, Phase: phase}], impossible(t.Name(), phase), rare(t.Name(), phase)})
		}
	}
	return append(all, gone)
}

// rare says why a message seldom comes in a phase; empty: it does.
func rare(message, phase string) string {
	switch message + " in " + phase {
	case "Waits in finishing":
		return "a handler must begin to wait while its partition, in careful mode or undoing, is asked to leave"
	case "Delivered in careful", "Delivered in undoing", "Delivered in stopping":
		return "something of an at-least-once partition must fail, or it must be asked to leave, while it sends"
	case "Collected in finishing":
		return "a partition must be asked to leave in careful mode, or while it undoes, between a shard's answer and its way here"
	}
	return ""
}

// impossible says why a message cannot come in a phase; empty: it can.
func impossible(message, phase string) string {
	switch message + " in " + phase {
	case "ShardReady in running", "ShardReady in careful", "ShardReady in undoing", "ShardReady in stopping":
		return "a partition runs once all its shards are ready, and each of them is so once"
	case "Arrived in restoring":
		return "reading begins when the partition runs"
	case "Worked in restoring", "AgentFailed in restoring", "Ask in restoring", "Waits in restoring":
		return "its agents are told to begin when it runs"
	case "Applied in restoring", "Sealed in restoring", "ShardFailed in restoring", "ShardLate in restoring", "Undone in restoring", "Collected in restoring":
		return "nothing is sent to a shard before the partition runs"
	case "Decided in restoring":
		return "it has offered nothing yet"
	case "Delivered in restoring", "Delivered in finishing":
		return "it sends when it runs, and finishes when nothing is on its way"
	case "Wake in restoring":
		return "it asks to be woken when it runs"
	case "Undone in running", "Undone in careful":
		return "it goes on when all its shards are back, and each of them says so once"
	case "Decided in finishing":
		return "it finishes when nothing is offered any more"
	case "Leave in stopping", "Leave in finishing":
		return "it is asked to leave once"
	}
	return ""
}
