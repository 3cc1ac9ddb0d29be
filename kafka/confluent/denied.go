package confluent

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/troupe-stream/troupe/kafka"
)

// identity is who the brokers take a client for, and where they are.
type identity struct {
	principal  string
	brokers    string
	topologies []string
	user       string // of the SASL login, and by what
	mechanism  string
}

// identityOf tells who a client is by its settings: the user that logs in, or the owner of its certificate.
func identityOf(cfg Config) identity {
	s := securityOf(cfg.Settings)
	who := identity{principal: "User:ANONYMOUS", brokers: strings.Join(cfg.Brokers, ","), topologies: cfg.Topologies, user: s.user, mechanism: s.mechanism}
	switch {
	case s.login:
		who.principal = "User:" + s.user
	case s.tls && s.certificate:
		text := []byte(cfg.Settings["ssl.certificate.pem"])
		if len(text) == 0 {
			text, _ = os.ReadFile(cfg.Settings["ssl.certificate.location"])
		}
		if block, _ := pem.Decode(text); block != nil {
			if c, err := x509.ParseCertificate(block.Bytes); err == nil {
				who.principal = "User:" + c.Subject.String()
			}
		}
	}
	return who
}

// target is what a right is granted on, as arguments. What begins with the name of a topology is granted for all that does: nodes
// need the same for each of these topics, and end each other's transactions.
func (w identity) target(r kafka.Right) string {
	if r.Kind == kafka.OnCluster {
		return "--cluster"
	}
	if r.Kind == kafka.OnTopic || r.Kind == kafka.OnTransactionalID {
		for _, t := range w.topologies {
			if prefix := t + "-"; strings.HasPrefix(r.Name, prefix) {
				return "--" + r.Kind + " " + prefix + " --resource-pattern-type prefixed"
			}
		}
	}
	return "--" + r.Kind + " " + r.Name
}

// grant is the command that allows operations on a target.
func (w identity) grant(ops []string, target string) string {
	return "kafka-acls.sh --bootstrap-server " + w.brokers + " --add --allow-principal " + shellWord(w.principal) +
		" --operation " + strings.Join(ops, " --operation ") + " " + target
}

// shellWord quotes what a shell would take apart.
func shellWord(s string) string {
	if strings.ContainsAny(s, " \t,;=*'\"\\$&|<>()") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// right makes a kafka.Right.
func right(op, kind, name string) kafka.Right { return kafka.Right{Op: op, Kind: kind, Name: name} }

// deniedError says which rights are missing, and how to grant them.
type deniedError struct {
	who    identity
	rights []kafka.Right
	some   bool  // which of them is not known
	err    error // of the broker; nil: it was asked
}

// Error names each right once, and one command for each thing that rights are granted on.
func (e *deniedError) Error() string {
	var ops, names, grants collected
	for _, r := range e.rights {
		ops.add(r.Kind+" "+r.Name, r.Op)
		grants.add(e.who.target(r), r.Op)
	}
	for _, r := range e.rights {
		names.add(strings.Join(ops.values[r.Kind+" "+r.Name], ", ")+" on "+strings.ReplaceAll(r.Kind, "-", " "), r.Name)
	}
	var missing, mends []string
	for _, what := range names.keys {
		on := names.values[what]
		if len(on) > 1 {
			what += "s"
		}
		missing = append(missing, strings.TrimSpace(what+" "+strings.Join(on, ", ")))
	}
	for _, target := range grants.keys {
		mends = append(mends, "`"+e.who.grant(grants.values[target], target)+"`")
	}
	lacks := "lacks"
	if e.some {
		lacks = "lacks one of these rights:"
	}
	text := fmt.Sprintf("%s %s %s: grant with %s", e.who.principal, lacks, strings.Join(missing, "; "), strings.Join(mends, " and "))
	if e.err != nil {
		text += fmt.Sprintf(" (%v)", e.err)
	}
	return text
}

// collected are values under keys, each once, in the order in which they came.
type collected struct {
	keys   []string
	values map[string][]string
}

func (c *collected) add(key, value string) {
	if c.values == nil {
		c.values = map[string][]string{}
	}
	if c.values[key] == nil {
		c.keys = append(c.keys, key)
	}
	if !slices.Contains(c.values[key], value) {
		c.values[key] = append(c.values[key], value)
	}
}

// Unwrap returns what the broker said.
func (e *deniedError) Unwrap() error { return e.err }

// Is says that it is a kafka.ErrDenied.
func (e *deniedError) Is(target error) bool { return target == kafka.ErrDenied }

// loginError says that the brokers take a login no more that they took when the client was opened.
type loginError struct {
	who identity
	err error
}

// Error names the user, and what to look at.
func (e *loginError) Error() string {
	return fmt.Sprintf("the brokers at %s refuse the SASL login of user %q by %s: check sasl.username and sasl.password, whether the password was changed or the user deleted (%v)",
		e.who.brokers, e.who.user, e.who.mechanism, e.err)
}

// Unwrap returns what the client said.
func (e *loginError) Unwrap() error { return e.err }

// Is says that it is a kafka.ErrDenied.
func (e *loginError) Is(target error) bool { return target == kafka.ErrDenied }

// refused adds to an error of a login that is refused whose that is; another stays as it is.
func (w identity) refused(err error) error {
	switch codeOf(err) {
	case rdk.ErrAuthentication, rdk.ErrorCode(kerr.SaslAuthenticationFailed.Code):
		return &loginError{w, err}
	}
	return err
}

// denied adds to an error of want of rights which these are; another stays as it is.
func (w identity) denied(err error, needed ...kafka.Right) error {
	if d := w.judge(err, needed); d != nil {
		return d
	}
	return err
}

// judge returns what an error of want of rights may be about, nil for another.
func (w identity) judge(err error, needed []kafka.Right) *deniedError {
	if err == nil || errors.Is(err, kafka.ErrDenied) {
		return nil
	}
	kind := deniedKind(codeOf(err))
	needed = slices.DeleteFunc(slices.Clone(needed), func(r kafka.Right) bool { return kind == "" || r.Kind != kind })
	if len(needed) == 0 {
		return nil
	}
	slices.SortFunc(needed, byName)
	return &deniedError{who: w, rights: slices.Compact(needed), err: err}
}

// byName orders rights.
func byName(a, b kafka.Right) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Op, b.Op))
}

// denied adds to an error of want of rights which of these it is: the brokers are asked, since librdkafka does not say it.
func (d *Driver) denied(err error, needed ...kafka.Right) error {
	e := d.who.judge(err, needed)
	if e == nil {
		return err
	}
	if len(e.rights) > 1 {
		e.some = true
		ctx, cancel := context.WithTimeout(context.Background(), diagnoseTimeout)
		defer cancel()
		if raw, err := rawClient(d.cfg.Brokers, d.cfg.Settings, d.cfg.ClientID); err == nil {
			defer raw.Close()
			if found, _, err := lacking(ctx, raw, e.rights); err == nil && len(found) > 0 {
				e.rights, e.some = found, false
			}
		}
	}
	return e
}

// deniedKind says for what a right is missing, by the code of the error; empty: it is no such error.
func deniedKind(code rdk.ErrorCode) string {
	switch code {
	case rdk.ErrTopicAuthorizationFailed:
		return kafka.OnTopic
	case rdk.ErrGroupAuthorizationFailed:
		return kafka.OnGroup
	case rdk.ErrTransactionalIDAuthorizationFailed:
		return kafka.OnTransactionalID
	case rdk.ErrClusterAuthorizationFailed:
		return kafka.OnCluster
	}
	return ""
}
