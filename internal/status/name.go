package status

import (
	"fmt"
	"strconv"
	"strings"
)

// Leader is the stage that reads nothing, and runs what a topology has once: of one partition.
const Leader = "(leader)"

// Name is a partition as commands and logs write it: stage/number.
func Name(stage string, partition int32) string { return fmt.Sprintf("%s/%d", stage, partition) }

// Record is a record as commands and logs write it.
func Record(topic string, partition int32, offset int64) string {
	return fmt.Sprintf("%s/%d@%d", topic, partition, offset)
}

// Wanted names partitions: all of a number, or one of a stage.
type Wanted struct {
	Stage     string // empty: of any stage
	Partition int32
}

// ParseWanted reads "3" or "stage/3".
func ParseWanted(s string) (Wanted, error) {
	stage, number := "", s
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		stage, number = s[:i], s[i+1:]
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 0 {
		return Wanted{}, fmt.Errorf("partition %q: use a number as in 3, or a stage and a number as in orders/3", s)
	}
	return Wanted{stage, int32(n)}, nil
}

// String is what ParseWanted reads.
func (w Wanted) String() string {
	if w.Stage == "" {
		return strconv.Itoa(int(w.Partition))
	}
	return Name(w.Stage, w.Partition)
}

// Is says whether a partition is meant.
func (w Wanted) Is(stage string, partition int32) bool {
	return w.Partition == partition && (w.Stage == "" || w.Stage == stage)
}

// Number writes the number of a partition.
func Number(partition int32) string { return strconv.Itoa(int(partition)) }
