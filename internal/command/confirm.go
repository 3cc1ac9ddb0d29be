package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// yesFlag registers the flag that answers what a command asks before it changes anything.
func yesFlag(f *pflag.FlagSet, yes *bool) {
	f.BoolVarP(yes, "yes", "y", false, "do it without asking")
}

// errDeclined ends a command whose question was not answered with yes.
var errDeclined = errors.New("nothing was done")

// confirm asks whether to go on. Where nobody can be asked, that is refused.
func (c *cli) confirm(ctx context.Context, question string) error {
	if !c.app.Asks {
		return wrongUse("%s There is no terminal to ask on: add --yes if so", question)
	}
	if _, err := fmt.Fprintf(c.app.Err, "%s [y/N] ", question); err != nil {
		return err
	}
	answer := make(chan string, 1)
	go func() { // it may wait for a line until the process ends
		line, _ := bufio.NewReader(c.app.In).ReadString('\n') // an end without a line is no yes
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case text := <-answer:
		if text == "y" || text == "yes" {
			return nil
		}
		return errDeclined
	case <-ctx.Done():
		return errors.Join(errDeclined, ctx.Err())
	}
}
