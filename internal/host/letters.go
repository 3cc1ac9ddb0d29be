package host

import (
	"context"
	"fmt"
	"slices"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// LettersExpire says which settings of a topic of dead letters delete letters by time or size, and how to mend it; empty if
// letters stay for ever. A letter has the timestamp of its record, so that by time one of an old record may go at once.
func LettersExpire(t *plan.Topic, have kafka.TopicState) string {
	if have.Config["cleanup.policy"] == "compact" {
		return "" // all of it by key, of which a node warns besides
	}
	for _, x := range []struct{ name, how string }{
		{"retention.ms", "counted from the time of their record, so that one of an old record may go at once"},
		{"retention.bytes", "the oldest first"},
	} {
		if s := have.Config[x.name]; s != "" && s != "-1" {
			return fmt.Sprintf("topic %s deletes dead letters by %s=%s, %s; if they are to stay, set `kafka-configs.sh --alter --entity-type topics --entity-name %s --add-config %s=-1`", t.Name, x.name, s, x.how, t.Name, x.name)
		}
	}
	return ""
}

// warnOfLetters warns of dead letters that do not stay. That may be meant: --strict does not refuse it.
func (h *Host) warnOfLetters(ctx context.Context, p *plan.Plan) {
	i := slices.IndexFunc(p.Topics, func(t *plan.Topic) bool { return t.Kind == plan.DeadLetters })
	if i < 0 {
		return
	}
	log := h.cfg.Logger.With("topology", p.Name)
	t := p.Topics[i]
	have, err := h.Cluster.Admin.Topics(ctx, t.Name)
	if err != nil {
		log.Info("settings not checked", "topic", t.Name, "error", err)
		return
	}
	if danger := LettersExpire(t, have[t.Name]); danger != "" {
		log.Warn("dead letters do not stay", "danger", danger)
	}
}
