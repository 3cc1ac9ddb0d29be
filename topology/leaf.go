package topology

import (
	"fmt"
	"strings"
)

// leaf notes of a flow, as it is behind one of its steps, whether anything goes on from there: a flow that nothing ends would be dropped in silence.
type leaf struct {
	steps []string
	used  bool
}

// grow notes a flow.
func (t *Topology) grow(steps []string) *leaf {
	l := &leaf{steps: steps}
	t.leaves = append(t.leaves, l)
	t.changed()
	return l
}

// use says that something goes on from there.
func (l *leaf) use() {
	if l != nil {
		l.used = true
	}
}

// use says that something goes on behind a flow.
func (f Flow[K, V]) use() {
	for _, x := range f.branches() {
		x.leaf.use()
	}
}

// checkLeaves finds flows that nothing ends.
func (t *Topology) checkLeaves() (faults []error) {
	for _, l := range t.leaves {
		if !l.used {
			faults = append(faults, fmt.Errorf("the flow %s ends nowhere, so nothing would be done with it: end it with topology.To, Count, Reduce or Aggregate, or remove it", strings.Join(l.steps, " | ")))
		}
	}
	return faults
}
