package main

import (
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
	Profile string // files that profiles are written to begin with this; empty: none. Of this module's own contenders only
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
	f.StringVar(&j.Profile, "profile", "", "")
	return f
}

// args are the flags that say the same.
func (j *job) args() (args []string) {
	var c job
	f := c.flags()
	c = *j // the flags point into c
	f.VisitAll(func(x *flag.Flag) {
		if v := x.Value.String(); v != "" {
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
// and then wait until their standard input is closed, so that they can be looked at from outside.
const word = "@bench "

var began atomic.Bool

// first says once that the first record is being handled.
func first() {
	if !began.Load() && began.CompareAndSwap(false, true) {
		atBegin()
		say("begin")
	}
}

func say(format string, args ...any) {
	_, _ = fmt.Fprintln(os.Stdout, word+fmt.Sprintf(format, args...))
}

// finish says that all is done, and waits to be let go.
func finish() {
	atEnd()
	say("end")
	_, _ = os.Stdin.Read(make([]byte, 1))
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
