package world

import (
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// isAsked says whether a record is a request: two of three are.
func isAsked(value string) (partition int32, asked bool) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(value))
	n := h.Sum32()
	return int32(n / 3 % 4), n%3 > 0
}

// isRefused says whether the agent that is asked by another one refuses to answer about a record.
func isRefused(value string) bool { return strings.Contains(value, "7") }

// answers has an agent that is asked, with a sink, and beside it one that makes two results of each record, and one that asks another about
// each: one answer for each request, and one result for each record.
func answers() *Case {
	return &Case{
		Name: "answers", Agents: 3,
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("answers")
			in, out, pairs := topicOf(t, "in"), topicOf(t, "out"), topicOf(t, "pairs")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			ref := topology.Answer(t, "count", in, func(ctx *topology.Context, e event) (string, error) {
				n, _, err := counts.Get(ctx, e.Key)
				if err != nil {
					return "", err
				}
				counts.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + 1, h.Fate("update", e.Value) })
				return numbered(int(n+1), e.Value), h.Turn(ctx, "count", e.Value)
			}, codec.String, topology.Writes(counts))
			ref.AddSink(topology.SinkTopic(out), topology.SinkFunc(func(_ *topology.Context, _, result string) error { return h.Fate("sink", result) }))
			topology.Process(t, "pair", in, func(ctx *topology.Context, e event, emit func(string)) error {
				emit(e.Value + " a")
				if err := h.Turn(ctx, "pair", e.Value); err != nil {
					return err
				}
				emit(e.Value + " b")
				return nil
			}, topology.OnFailure(topology.Policy{Attempts: 3*maxBadLuck + 1})).AddSink(topology.SinkTopic(pairs))
			questions, told := topicOf(t, "questions"), topicOf(t, "told")
			judge := topology.Answer(t, "judge", questions, func(ctx *topology.Context, e event) (string, error) {
				if isRefused(e.Value) {
					return "", topology.Permanent(errPoison)
				}
				return e.Value + " is fine", h.Turn(ctx, "judge", e.Value)
			}, codec.String, topology.OnFailure(topology.Policy{Attempts: 3*maxBadLuck + 1, Then: topology.Skip}))
			then := topology.Then(t, "tell", in, judge, func(ctx *topology.Context, e topology.Event[string, topology.Outcome[string]]) error {
				what := e.Value.Result
				if e.Value.Err != nil {
					what = e.Value.Err.ReplyFailure.Error
				}
				told.Send(ctx, e.Key, what)
				return h.Turn(ctx, "tell", fmt.Sprint(e.Partition(), e.Offset()))
			}, topology.Sends(told))
			topology.Each(t, "ask", in, func(ctx *topology.Context, e event) error {
				topology.AskThen(ctx, then, e.Key, e.Key, e.Value)
				return h.Turn(ctx, "ask", e.Value)
			}, topology.Sends(then))
			t.OnFailure(topology.Policy{Attempts: 3*maxBadLuck + 1}) // in the handler, in the table and in the sink
			return t
		},
		Input: someInput,
		Headers: func(_, value string) []byte {
			p, asked := isAsked(value)
			if !asked {
				return nil
			}
			return kafka.AppendHeaders(nil, kafka.Ask{ID: value, Topology: "answers", Agent: "count", Topic: "in", Partition: p}.Header())
		},
		Watch: func(o *Oracle) error { // what is visible is final
			seen := map[string]bool{}
			for _, r := range o.Committed(kafka.RepliesTopic(o.topology)) {
				if seen[r.Key] {
					return fmt.Errorf("request %s is answered twice", r.Key)
				}
				seen[r.Key] = true
			}
			return nil
		},
		Check: func(o *Oracle) error {
			if err := o.inOrder("out", o.good(), numbered); err != nil {
				return err
			}
			var pairs []Record
			for _, r := range o.good() {
				pairs = append(pairs, Record{Key: r.Key, Value: r.Value + " a"}, Record{Key: r.Key, Value: r.Value + " b"})
			}
			if err := o.inOrder("pairs", pairs, nil); err != nil {
				return err
			}
			var told []Record
			for _, r := range o.good() {
				if r.Value += " is fine"; isRefused(r.Value) {
					r.Value = errPoison.Error()
				}
				told = append(told, r)
			}
			if err := o.inOrder("told", told, nil); err != nil {
				return err
			}
			if err := o.answered(); err != nil {
				return err
			}
			return o.table("counts", counted(o.good()))
		},
	}
}

// answered checks that each request has one answer, in its partition: what its record came to, or that it was given up.
func (o *Oracle) answered() error {
	got := map[string]Record{}
	for _, r := range o.Committed(kafka.RepliesTopic(o.topology)) {
		if _, twice := got[r.Key]; twice {
			return fmt.Errorf("request %s is answered twice", r.Key)
		}
		got[r.Key] = r
	}
	n := map[string]int{}
	for _, r := range o.sent {
		bad := isBad(r.Value)
		if !bad {
			n[r.Key]++
		}
		p, asked := isAsked(r.Value)
		if !asked {
			continue
		}
		a, ok := got[r.Value]
		reply := kafka.ParseReply(a.headers)
		switch {
		case !ok:
			return fmt.Errorf("request %s is not answered", r.Value)
		case reply == nil || reply.ID != r.Value || reply.Agent != "count" || a.Partition != p:
			return fmt.Errorf("request %s has the answer %+v in partition %d: %v", r.Value, a, a.Partition, reply)
		case bad && (reply.Failure == nil || !reply.Failure.Letter || !a.Tombstone):
			return fmt.Errorf("request %s is poison, and has the answer %+v", r.Value, a)
		case bad:
			o.Saw(sawRefusal)
		case reply.Failure != nil || a.Value != numbered(n[r.Key], r.Value):
			return fmt.Errorf("request %s should have the answer %q and has %q, %v", r.Value, numbered(n[r.Key], r.Value), a.Value, reply.Failure)
		}
		delete(got, r.Value)
	}
	for id := range got {
		return fmt.Errorf("there is an answer to %s, which was not asked", id)
	}
	return nil
}
