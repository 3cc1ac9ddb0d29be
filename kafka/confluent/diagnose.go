package confluent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// faults explains of each broker why it cannot be used, and says whether waiting would mend none of it. There are none if one
// of them answers now.
func (d *Driver) faults(ctx context.Context) (faults []error, lasting bool) {
	lasting = true
	told := map[string]string{} // addresses that brokers tell, and which broker that was
	for i, f := range d.diagnoseAll(ctx, d.cfg.Brokers) {
		if f.err != nil {
			faults, lasting = append(faults, f.err), lasting && f.err.lasting
			continue
		}
		for _, at := range f.told {
			if told[at] == "" && !slices.Contains(d.cfg.Brokers, at) {
				told[at] = d.cfg.Brokers[i]
			}
		}
		if len(told) == 0 {
			return nil, false
		}
	}
	if len(told) == 0 {
		return faults, lasting
	}
	var addresses []string
	for at := range told {
		addresses = append(addresses, at)
	}
	slices.Sort(addresses)
	for i, f := range d.diagnoseAll(ctx, addresses) {
		if f.err == nil {
			return nil, false
		}
		f.err.text = fmt.Sprintf("the broker at %s answers, and tells clients to go to %s, by its advertised.listeners: %s", told[addresses[i]], addresses[i], f.err.text)
		faults, lasting = append(faults, f.err), lasting && f.err.lasting
	}
	return faults, lasting
}

// diagnosis is what was found at an address.
type diagnosis struct {
	err  *fault   // nil: it answers
	told []string // the addresses of all brokers, as it knows them
}

func (d *Driver) diagnoseAll(ctx context.Context, addresses []string) []diagnosis {
	found := make([]diagnosis, len(addresses))
	var wg sync.WaitGroup
	for i, at := range addresses {
		wg.Go(func() { found[i].told, found[i].err = d.diagnose(ctx, at) })
	}
	wg.Wait()
	return found
}

// diagnose asks one broker by a client of its own, and explains why it does not answer.
func (d *Driver) diagnose(ctx context.Context, at string) (told []string, _ *fault) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diagnoseTimeout)
	defer cancel()
	s := securityOf(d.cfg.Settings)
	raw, err := rawClient([]string{at}, d.cfg.Settings, d.cfg.ClientID)
	if err != nil {
		return nil, &fault{text: at, lasting: true, err: err}
	}
	defer raw.Close()
	about := kmsg.NewPtrMetadataRequest()
	about.Topics = []kmsg.MetadataRequestTopic{}
	answer, err := raw.SeedBrokers()[0].Request(ctx, about)
	if err == nil {
		if meta, ok := answer.(*kmsg.MetadataResponse); ok {
			for _, b := range meta.Brokers {
				told = append(told, net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))))
			}
		}
		return told, nil
	}
	err = secretless(d.cfg.Settings, err)
	if f := explainDial(at, s, err, door{}); f != nil {
		f.err = err
		return nil, f
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer in time")
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("it closes the connection")
	}
	return nil, explain(at, s, err, survey(context.WithoutCancel(ctx), at))
}
