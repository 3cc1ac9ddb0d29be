package confluent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// redacted stands for a secret in whatever is written or shown.
const redacted = "[redacted]"

// settings returns librdkafka's configuration with what the user gave for a client of the role. Settings of the other
// role are left out: librdkafka would ignore them and say so each time. It refuses settings that librdkafka does not know
// and those that are the engine's; whether their values are sound is for Validate.
func settings(user map[string]string, role string) (*rdk.ConfigMap, error) {
	if err := errors.Join(checkNames(user)...); err != nil {
		return nil, err
	}
	var others []string
	switch role {
	case roleProducer:
		others = consumerOnly()
	case roleGroup:
		others = producerOnly()
	default:
		return nil, fmt.Errorf("no settings for a client of the role %q", role)
	}
	cm := rdk.ConfigMap{}
	for name, value := range user {
		if !slices.Contains(others, name) {
			cm[name] = value
		}
	}
	return &cm, nil
}

// Validate returns every fault of librdkafka settings given by a user, joined: settings that the engine must own, unknown
// ones with the nearest name, values that librdkafka refuses, and combinations that do not work. It connects to nothing
// and never shows a secret.
func Validate(user map[string]string) error {
	faults := checkNames(user)
	known := settingNames()
	for _, name := range slices.Sorted(maps.Keys(user)) {
		if _, found := slices.BinarySearch(known, name); found {
			if err := checkValue(name, user[name]); err != nil {
				faults = append(faults, secretless(user, err))
			}
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	if err := checkTogether(user); err != nil {
		return secretless(user, err)
	}
	_, err := rawOpts([]string{"127.0.0.1:9092"}, user, "")
	return secretless(user, err)
}

// Redacted returns the settings with every secret replaced, for logs and banners.
func Redacted(user map[string]string) map[string]string {
	shown := maps.Clone(user)
	for name, value := range shown {
		if value != "" && (secret(name) || strings.Contains(value, "://") && strings.Contains(value, "@")) {
			shown[name] = redacted
		}
	}
	return shown
}

// secret says whether a setting's value must not be shown.
func secret(name string) bool {
	name = strings.ToLower(name) // it may be misspelt
	for _, part := range []string{"passw", "passphrase", "secret", "key.pem", "oauthbearer.config", "jaas", "kinit.cmd", "credential"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// secretless returns err with the secrets among the settings taken out of its text. An error that has none is returned as it is.
func secretless(user map[string]string, err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	clean := text
	for name, value := range user {
		if value != "" && secret(name) {
			clean = strings.ReplaceAll(clean, value, redacted)
		}
	}
	if clean == text {
		return err
	}
	return errors.New(clean)
}

// checkNames returns a fault for each setting that is not for a user to give.
func checkNames(user map[string]string) (faults []error) {
	known := settingNames()
	for _, name := range slices.Sorted(maps.Keys(user)) {
		if _, found := slices.BinarySearch(known, name); found {
			continue
		}
		if reason := ownedBecause(name); reason != "" {
			faults = append(faults, fmt.Errorf("setting %s: %s; remove it", name, reason))
			continue
		}
		hint := "see the CONFIGURATION.md of librdkafka 2.15"
		if near := nearest(name, known); near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
		faults = append(faults, fmt.Errorf("setting %s: librdkafka knows no such setting; %s", name, hint))
	}
	return faults
}

// ownedBecause says why a setting is the engine's own, or cannot be used at all; empty for any other.
func ownedBecause(name string) string {
	switch name {
	case "bootstrap.servers", "metadata.broker.list", "test.mock.num.brokers", "test.mock.broker.rtt":
		return "the brokers are given by --brokers"
	case "group.id", "group.protocol.type":
		return "the group is the topology's name"
	case "group.instance.id":
		return "it is kept in the data directory, or given by --instance-id"
	case "group.protocol", "group.remote.assignor", "partition.assignment.strategy":
		return "slots are owned through the classic protocol with cooperative-sticky assignment"
	case "transactional.id", "enable.idempotence", "enable.gapless.guarantee", "acks", "request.required.acks":
		return "the guarantee depends on it, and is chosen by --guarantee"
	case "isolation.level":
		return "the engine reads committed records only"
	case "enable.auto.commit", "auto.commit.enable", "auto.commit.interval.ms", "enable.auto.offset.store",
		"offset.store.method", "offset.store.path", "offset.store.sync.interval.ms":
		return "offsets are committed with the results of their records; the rhythm is given by --commit-interval"
	case "auto.offset.reset":
		return "where an agent starts is declared in the topology"
	case "socket.max.fails":
		return "a connection on which an answer does not come in time is closed, so that what was sent twice is known"
	case "enable.partition.eof", "delivery.report.only.error", "produce.offset.report", "consume.callback.max.messages",
		"enabled_events", "interceptors", "log.queue", "share.acknowledgement.mode", "internal.termination.signal", "enable.random.seed":
		return "the engine relies on its own value"
	case "allow.auto.create.topics":
		return "missing topics are made by the engine, source topics with --create-topics"
	case "partitioner":
		return "a topic declares its partitioner in the topology"
	case "client.software.name", "client.software.version", "builtin.features":
		return "it says what the client is"
	case "sasl.jaas.config":
		return "that is for Java clients; use sasl.mechanism, sasl.username and sasl.password"
	case "ssl.truststore.location":
		return "that is for Java clients; use ssl.ca.location with a file in PEM format"
	case "ssl.ca.certificate.stores":
		return "it works on Windows only; use ssl.ca.location"
	case "max.poll.records":
		return "that is for Java clients; librdkafka has no such limit"
	}
	switch {
	case strings.HasPrefix(name, "go."):
		return "it is one of the Go client, which the engine drives itself"
	case strings.HasSuffix(name, "_cb"):
		return "it is a function and cannot be given as text"
	}
	return ""
}

// checkValue has librdkafka look at one value. Faults that only show beside other settings are left to checkTogether.
func checkValue(name, value string) error {
	p, err := rdk.NewProducer(&rdk.ConfigMap{name: value, "go.logs.channel.enable": true})
	if err == nil {
		p.Close()
		return nil
	}
	text := err.Error()
	for _, said := range []string{"Invalid value", "Expected ", "onfiguration property"} { // those of a single value
		if strings.Contains(text, said) {
			return fmt.Errorf("setting %s=%s: %s", name, shown(name, value), text)
		}
	}
	return nil
}

// checkTogether makes a client of each role with all of the settings, and no brokers.
func checkTogether(user map[string]string) error {
	var faults []error
	for _, role := range []string{roleGroup, roleProducer} {
		cm, err := settings(user, role)
		if err != nil {
			return err
		}
		own(cm, map[string]rdk.ConfigValue{"go.logs.channel.enable": true})
		if role == roleProducer {
			own(cm, map[string]rdk.ConfigValue{"enable.idempotence": true})
			var p *rdk.Producer
			if p, err = rdk.NewProducer(cm); err == nil {
				p.Close()
			}
		} else {
			own(cm, map[string]rdk.ConfigValue{"group.id": "check"})
			var c *rdk.Consumer
			if c, err = rdk.NewConsumer(cm); err == nil {
				err = c.Close()
			}
		}
		if err != nil && !slices.ContainsFunc(faults, func(have error) bool { return strings.HasSuffix(have.Error(), err.Error()) }) {
			faults = append(faults, fmt.Errorf("settings of the %s: %w", role, err))
		}
	}
	return errors.Join(faults...)
}

func shown(name, value string) string {
	if secret(name) {
		return redacted
	}
	return value
}

// nearest returns the name that differs least from the given one, if it differs little.
func nearest(name string, names []string) string {
	best, least := "", 1+max(2, len(name)/4)
	for _, n := range names {
		if d := distance(strings.ToLower(strings.NewReplacer("_", ".", "-", ".").Replace(name)), n); d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is Levenshtein's: how many letters must be put in, taken out or replaced.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func producerOnly() []string {
	return []string{
		"transaction.timeout.ms", "queue.buffering.max.messages", "queue.buffering.max.kbytes", "queue.buffering.max.ms", "linger.ms",
		"message.send.max.retries", "retries", "queue.buffering.backpressure.threshold", "compression.codec", "compression.type",
		"compression.level", "batch.num.messages", "batch.size", "sticky.partitioning.linger.ms", "request.timeout.ms",
		"message.timeout.ms", "delivery.timeout.ms", "queuing.strategy",
	}
}

func consumerOnly() []string {
	return []string{
		"session.timeout.ms", "heartbeat.interval.ms", "coordinator.query.interval.ms", "max.poll.interval.ms", "queued.min.messages",
		"queued.max.messages.kbytes", "fetch.wait.max.ms", "fetch.queue.backoff.ms", "fetch.message.max.bytes", "max.partition.fetch.bytes",
		"fetch.max.bytes", "fetch.min.bytes", "fetch.error.backoff.ms", "check.crcs",
	}
}
