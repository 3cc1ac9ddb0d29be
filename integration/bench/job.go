package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
)

// job is what a contender is to do. Peers in other languages take the same flags.
type job struct {
	Task    string // what to do: a name of a suite's
	Variant string // how: the contender's own word for guarantee and settings
	Client  string // the engine's client: public, batched, or empty for its default
	Brokers string
	Name    string // of the group, the application and everything that belongs to it alone
	Source  string // topic
	Out     string // topic that results are written to, where the task has one
	Dir     string // for its state
	Records int    // in the source
	// Partitions are those of the source, 0: partitions. Keys are for tasks without a source. Instance tells processes of one group apart,
	// empty: there is one. They are for this module's own contenders only.
	Partitions int
	Keys       int
	Instance   string
	Profile    string // files that profiles are written to begin with this; empty: none. Of this module's own contenders only
}

// flags are the fields by name.
func (j *job) flags() *flag.FlagSet {
	f := flag.NewFlagSet("contender", flag.ContinueOnError)
	f.StringVar(&j.Task, "task", "", "")
	f.StringVar(&j.Variant, "variant", "", "")
	f.StringVar(&j.Client, "client", "", "")
	f.StringVar(&j.Brokers, "brokers", "", "")
	f.StringVar(&j.Name, "name", "", "")
	f.StringVar(&j.Source, "source", "", "")
	f.StringVar(&j.Out, "out", "", "")
	f.StringVar(&j.Dir, "dir", "", "")
	f.IntVar(&j.Records, "records", 0, "")
	f.IntVar(&j.Partitions, "partitions", 0, "")
	f.IntVar(&j.Keys, "keys", 0, "")
	f.StringVar(&j.Instance, "instance", "", "")
	f.StringVar(&j.Profile, "profile", "", "")
	return f
}

func (j *job) parts() int {
	if j.Partitions > 0 {
		return j.Partitions
	}
	return partitions
}

func (j *job) instance() string {
	if j.Instance != "" {
		return j.Instance
	}
	return j.Name
}

// args are the flags that say the same.
func (j *job) args() (args []string) {
	var c job
	f := c.flags()
	c = *j // the flags point into c
	f.VisitAll(func(x *flag.Flag) {
		if v := x.Value.String(); v != x.DefValue {
			args = append(args, "--"+x.Name, v)
		}
	})
	return args
}

// Contenders say on their standard output how far they are, one line each, which begins with this word:
//
//	@bench client NAME    which client it runs on
//	@bench begin          the first record is being handled
//	@bench end            all that was to be done is committed
//
// and then wait until their standard input is closed, so that they can be looked at from outside. Those of this module's own say more:
//
//	@bench running N      so many partitions of the source run, if there are several processes
//	@bench figure NAME N  a figure that only the process itself knows, such as what of its heap lives; before "end", or asked for with a line
//	                      on its standard input after it
const word = "@bench "

var began atomic.Bool

// first says once that the first record is being handled.
func first() {
	if !began.Load() && began.CompareAndSwap(false, true) {
		atBegin()
		collecting()
		say("begin")
	}
}

func say(format string, args ...any) {
	_, _ = fmt.Fprintln(os.Stdout, word+fmt.Sprintf(format, args...))
}

// finish says that all is done, and waits to be let go; it tells what of its heap lives whenever it is asked.
func finish() {
	atEnd()
	collected()
	say("end")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		heap()
	}
}

// slug makes a name fit for topics and groups.
func slug(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, s)
}
